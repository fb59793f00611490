"""Progress of a fit: lines for ``verbose``, and scikit-learn's callbacks where its version has them (1.9)."""

from collections.abc import Callable
from typing import Any

try:
    from sklearn.callback import CallbackSupportMixin, with_callbacks
except ImportError:  # before scikit-learn 1.9

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Nothing: this scikit-learn has no callbacks."""

    def with_callbacks(method: Callable[..., Any]) -> Callable[..., Any]:
        """The method itself."""
        return method


__all__ = ["CallbackSupportMixin", "FitProgress", "print_row", "with_callbacks"]


def print_row(row: dict[str, Any]) -> None:
    """One line of a history."""
    neurons = f"  neurons {row['neurons']}" if "neurons" in row else ""
    print(
        f"iteration {row['iteration']:4d}  {row['seconds']:8.2f} s  objective {row['primal']:.6g}  "
        f"bound {row['bound']:.6g}{neurons}"
    )


class FitProgress:
    """Hands the iterations of one `fit` to ``verbose`` and to the estimator's callbacks.

    Attributes
    ----------
    wanted : bool
        Whether anyone listens.
    stopped : bool
        Whether a callback asked to stop.
    """

    def __init__(self, model: Any, X: Any, y: Any, sample_weight: Any) -> None:
        self._model, self._data = model, {"X": X, "y": y, "metadata": {"sample_weight": sample_weight}}
        self._context: Any = None
        if getattr(model, "_skl_callbacks", None):
            self._context = model._init_callback_context(max_subtasks=None)
            self._context.call_on_fit_task_begin(estimator=model, **self._data)
        self.wanted = bool(model.verbose) or self._context is not None
        self.stopped = False

    def step(self, row: dict[str, Any]) -> None:
        """Print a row and tell the callbacks of it; KeyboardInterrupt if one of them asks to stop."""
        if self._model.verbose and (row["bound"] > 0 or not row["iteration"]):  # few of the first descent
            print_row(row)
        if self._context is None:
            return
        task = self._context.subcontext(task_name="iteration")
        task.call_on_fit_task_begin(estimator=self._model, **self._data)
        if task.call_on_fit_task_end(estimator=self._model, **self._data):
            self.stopped = True
            raise KeyboardInterrupt

    def end(self) -> None:
        """Tell the callbacks that the estimator is fitted."""
        if self._context is not None:
            self._context.call_on_fit_task_end(
                estimator=self._model, reconstruction_attributes={}, **self._data
            )
