r"""Cross-validated comparison of the convex network with the usual methods, on one table.

score of a method = mean over k folds of (accuracy or R² on the fold left out); differences are paired by
fold, d = mean of (ours − theirs), with the standard error s/√k of the k differences.

All methods get the same standardised columns and the same folds, choose one setting out of `CANDIDATES` by
the same inner cross-validation on the training rows, and are timed with that choice.
"""

import pickle
from collections.abc import Callable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from convexnn._types import Array
from convexnn.comparison_methods import (
    CANDIDATES,
    INNER_FOLDS,
    OURS,
    Setup,
    made,
    methods,
    score_name,
    scorer,
)
from convexnn.data import TableEncoder
from convexnn.status import Status
from convexnn.table_losses import choose_loss, in_words, with_number
from convexnn.table_model import Pipeline, reading_notes

if TYPE_CHECKING:
    import pandas as pd

PROTOCOL = (
    "The rows are split into folds once; each is left out in turn, and every method is fitted on the rest.",
    "Encoding and scaling of the columns are learnt from the training rows of each fold, the same for all.",
    "All run on one thread of BLAS and OpenMP.",
    f"Every method chooses one setting out of {CANDIDATES} by {INNER_FOLDS}-fold cross-validation on the "
    "training rows; the seconds are the mean over the folds, with that choice and the fit on all of them.",
    "Settings: beta = beta_max/2 … beta_max/100 (convex network); alpha = 1e-4 … 1 (MLP, 100 neurons, Adam, "
    "at most 500 epochs); learning rate 0.02 … 0.4 (gradient boosting); alpha = 0.1 … 1000 or C = 0.01 … 100 "
    "(ridge, logistic regression), 1e-4 … 1 (quantile and Poisson regression); C = 0.1 … 1000 (SVM, Gaussian "
    "kernel).",
    "With the quantile or the poisson loss gradient boosting and the linear method have it too, and the MLP "
    "the poisson loss where scikit-learn offers that. The score is then D², the share of the loss of the "
    "best constant that is saved; for counts a prediction below a thousandth of the mean is raised to it.",
    "Size: what prediction needs, pickled; for gradient boosting the fitted object.",
    "± is the standard deviation over the folds. Folds share training rows, so a standard error from them is "
    "a guide, not a test.",
)

Task = Literal["auto", "regression", "classification"]
Tell = Callable[[str], None]


def compare(
    frame: "pd.DataFrame",
    target: str,
    *,
    task: Task = "auto",
    kinds: Mapping[str, str] | None = None,
    loss: str | None = None,
    negative_slope: float = 0.0,
    intercept: bool = False,
    folds: int = 5,
    tol: float = 1e-2,
    max_time: float | None = None,
    seed: int = 0,
    tell: Tell | None = None,
) -> dict[str, Any]:
    """Fit every method on every fold; the record is plain data.

    Parameters
    ----------
    frame, target, task, kinds
        As `TableEncoder.fit` takes them.
    loss : str, optional
        Of the convex network, as `convexnn.table_losses` names it.
    negative_slope, intercept
        Of the convex network, as `convexnn.train` takes them.
    folds : int
    tol : float
        Relative gap at which the convex network's trainings stop.
    max_time : float, optional
        Seconds: no fold is begun later, and the convex network's trainings get max_time/folds a fold.
    tell : callable, optional
        Receives one line a fit.

    Returns
    -------
    dict
        ``rows`` (one a fold and method: fold, method, score, seconds, size, setting, status), ``summary``
        (one a method, best mean first), ``sentences``, ``score`` (its name), ``loss``, ``folds`` (finished),
        ``interrupted``, ``notes``. On Ctrl-C the finished folds, if there is one.

    Raises
    ------
    ValueError
        As `TableEncoder.fit`, or if there are too few rows for the folds or the loss does not fit.
    """
    chosen, loss = choose_loss(frame, target, task, loss)
    whole = TableEncoder.fit(frame, target, chosen, kinds)
    labels = whole.encode_target(frame)
    splits = _splits(whole, labels, folds, seed)
    _warm_up()
    rows: list[dict[str, Any]] = []
    begin, interrupted = perf_counter(), False
    try:
        for fold, (inside, outside) in enumerate(splits):
            if fold and max_time is not None and perf_counter() - begin >= max_time:
                break
            is_rate = loss == "poisson"
            pipeline = Pipeline.fit(frame.iloc[inside], target, whole.task, whole.kinds, is_rate=is_rate)
            share = None if max_time is None else max_time / folds
            own = with_number(loss, pipeline.target_scale)
            setup = Setup(whole.task, own, pipeline.target_scale, tol, share, seed, negative_slope, intercept)
            rows += _fold(setup, pipeline, frame, (inside, outside), (fold, folds), tell)
    except KeyboardInterrupt:
        if not rows:
            raise
        interrupted = True
    record: dict[str, Any] = {
        "target": target,
        "task": whole.task,
        "score": score_name(whole.task, loss),
        "loss": loss,
        "asked_folds": folds,
        "folds": len({row["fold"] for row in rows}),
        "interrupted": interrupted,
        "notes": [*reading_notes(frame), *whole.notes],
        "rows": rows,
        "summary": _summary(rows),
    }
    return record | {"sentences": sentences(record)}


def _splits(
    encoder: TableEncoder, y: Array, folds: int, seed: int
) -> list[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    from sklearn.model_selection import KFold, StratifiedKFold

    if folds < 2:
        raise ValueError(f"A comparison takes at least 2 folds; it is {folds}.")
    need = max(folds, -(-INNER_FOLDS * folds // (folds - 1)))
    if encoder.task == "classification":
        smallest = int(np.unique(y, return_counts=True)[1].min())
        if smallest < need:
            raise ValueError(
                f"{folds} folds take {need} rows of each class at least; a class has {smallest}: take fewer."
            )
        return list(StratifiedKFold(folds, shuffle=True, random_state=seed).split(y, y))
    if len(y) < need:
        raise ValueError(f"{folds} folds take {need} rows at least; the table has {len(y)}.")
    return list(KFold(folds, shuffle=True, random_state=seed).split(y))


def _warm_up() -> None:
    """Compile the kernels on a tiny problem, so that no figure contains it."""
    from convexnn.training import train

    rng = np.random.default_rng(0)
    train(rng.standard_normal((24, 3)), np.resize([1.0, -1.0], 24), 0.5, tol=1e-2, max_time=1.0)


def _fold(
    setup: Setup,
    pipeline: Pipeline,
    frame: "pd.DataFrame",
    split: tuple[NDArray[np.intp], NDArray[np.intp]],
    place: tuple[int, int],
    tell: Tell | None,
) -> list[dict[str, Any]]:
    """One row a method, all on the same rows and columns; `place` is (fold, folds)."""
    from threadpoolctl import threadpool_limits

    fold, folds = place
    score = scorer(setup)

    X = pipeline.features(frame)[:, :-1] * np.sqrt(len(pipeline.scaler.mean) + 1)
    y = pipeline.target(frame)
    inside, outside = split
    rows = []
    for name, make in methods(setup).items():
        start = perf_counter()
        with threadpool_limits(1):
            model, setting = made(make, X[inside], y[inside])
        row = {"fold": fold, "method": name, "score": float(score(model, X[outside], y[outside]))}
        row |= {"seconds": perf_counter() - start, "size": _size(model), "setting": setting}
        rows.append(row | {"status": str(getattr(model, "status_", ""))})
        if tell is not None:
            tell(f"fold {fold + 1} of {folds}, {name}: score {row['score']:.4f}, {row['seconds']:.1f} s")
    return rows


def _size(model: Any) -> int:
    """Bytes of what prediction needs, pickled."""
    names = (
        ("network_",), ("coefs_", "intercepts_"), ("support_vectors_", "dual_coef_", "intercept_"),
        ("coef_", "intercept_"),
    )  # fmt: skip
    for parts in names:
        if all(hasattr(model, part) for part in parts):
            return len(pickle.dumps([getattr(model, part) for part in parts]))
    return len(pickle.dumps(model))


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Mean and standard deviation of the scores, mean seconds and size of each method; best mean first."""
    summary = []
    for name in dict.fromkeys(row["method"] for row in rows):
        mine = [row for row in rows if row["method"] == name]
        scores = np.array([row["score"] for row in mine])
        spread = float(scores.std(ddof=1)) if len(scores) > 1 else None
        entry = {"method": name, "mean": float(scores.mean()), "deviation": spread}
        entry |= {key: float(np.mean([row[key] for row in mine])) for key in ("seconds", "size")}
        summary.append(entry | {"settings": sorted({row["setting"] for row in mine if row["setting"]})})
    return sorted(summary, key=lambda entry: -entry["mean"])


def sentences(record: Mapping[str, Any]) -> list[str]:
    """Who has the best mean score, whether the folds decide it, time and size; all computed."""
    summary, rows, score = record["summary"], record["rows"], record["score"]
    best, mine = summary[0], next(entry for entry in summary if entry["method"] == OURS)
    other = summary[1] if best is mine else best
    found = [f"Best mean {score} over {_folds(record['folds'])}: {best['method']}, {best['mean']:.4g}."]
    mean, error = paired(rows, other["method"])
    words = f"The {OURS} is {abs(mean):.2g} {'above' if mean > 0 else 'below'} {other['method']}"
    if mean == 0:
        words = f"The {OURS} equals {other['method']}"
    if error is None:
        found.append(f"{words}; one fold decides nothing.")
    elif abs(mean) <= 2 * error:
        found.append(f"{words} (paired standard error {error:.1g}): these folds do not tell them apart.")
    else:
        winner = OURS if mean > 0 else other["method"]
        found.append(f"{words} (paired standard error {error:.1g}): by score, {winner} wins here.")
    real = [entry for entry in summary if entry["settings"]]
    fast, small = (min(real, key=lambda entry: entry[key]) for key in ("seconds", "size"))
    found.append(
        f"Fastest: {fast['method']}, {fast['seconds']:.2g} s a fold; smallest: {small['method']}, "
        f"{kib(small['size'])}. The {OURS}: {mine['seconds']:.2g} s and {kib(mine['size'])}."
    )
    if record["loss"] not in ("squared", "logistic", "softmax"):
        found.append(f"The {OURS} was trained on the {in_words(record['loss'])}.")
    if score == "D²":
        found.append("D² is the share of that loss of the best constant that a method saves.")
    cut = sum(row["method"] == OURS and row["status"] == str(Status.TIME_LIMIT) for row in rows)
    if cut:
        found.append(f"The {OURS} was cut short by the time limit in {cut} of {_folds(record['folds'])}.")
    if record["folds"] < record["asked_folds"]:
        found.append(f"Finished: {record['folds']} of {_folds(record['asked_folds'])}.")
    return found


def paired(rows: list[dict[str, Any]], other: str) -> tuple[float, float | None]:
    """(mean, standard error) over the folds of our score minus the other method's; None for one fold."""
    ours, theirs = (
        np.array([row["score"] for row in rows if row["method"] == name]) for name in (OURS, other)
    )
    difference = ours - theirs
    error = float(difference.std(ddof=1) / np.sqrt(len(difference))) if len(difference) > 1 else None
    return float(difference.mean()), error


def comparison_rows(record: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """(header, rows) of the table of methods, best mean score first."""
    rows = []
    for entry in record["summary"]:
        spread = "" if entry["deviation"] is None else f" ± {entry['deviation']:.3f}"
        settings = "varies" if len(entry["settings"]) > 1 else "".join(entry["settings"])
        score = f"{entry['mean']:.4f}{spread}"
        rows.append([entry["method"], score, f"{entry['seconds']:.2f}", kib(entry["size"]), settings])
    return ["method", record["score"], "seconds", "size", "setting"], rows


def kib(size: float) -> str:
    """Bytes in KiB with three digits."""
    return f"{size / 1024:.3g} KiB"


def _folds(n: int) -> str:
    return f"{n} fold{'' if n == 1 else 's'}"
