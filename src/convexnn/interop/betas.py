"""The penalties of scikit-learn and torch in the units of problem (1)."""

from typing import Any, Literal

from convexnn.losses import get_loss


def sklearn_beta(model: Any, n_samples: int) -> float:
    r"""β = alpha (lbfgs), or alpha·n/B for sgd and adam with batches of B samples.

    scikit-learn minimises ½·mean (f − y)² + (alpha/2)‖coefs‖²/n over the n samples of a batch (mean log-loss
    for a classifier). Times n this is L + (alpha/2)‖coefs‖² for the full batch; over an epoch of batches of
    B it is L + (alpha·n/B/2)‖coefs‖², exactly so when B divides n. With ``early_stopping`` count the rows
    that remain for training. `model.batch_size` "auto" is min(200, n).
    """
    if n_samples < 1:
        raise ValueError(f"n_samples must be at least 1; it is {n_samples}.")
    if model.solver == "lbfgs":
        return float(model.alpha)
    batch = 200 if model.batch_size == "auto" else int(model.batch_size)
    return float(model.alpha) * n_samples / min(batch, n_samples)


def torch_beta(
    weight_decay: float,
    n_samples: int,
    loss: str = "squared",
    reduction: Literal["mean", "sum"] = "mean",
) -> float:
    r"""β of ``weight_decay`` in SGD or Adam: the penalty (weight_decay/2)‖θ‖² in units of the summed loss.

    MSELoss has no ½: mean gives (1/n)Σ(f − y)² + (λ/2)‖θ‖² = (2/n)[½Σ(f − y)² + ½(λn/2)‖θ‖²], so β = λn/2,
    and sum gives β = λ/2. BCEWithLogitsLoss and SoftMarginLoss: β = λn and β = λ, as for a hinge written as
    a mean or sum of max(0, 1 − yf), or of ½max(0, 1 − yf)².

    Parameters
    ----------
    weight_decay : float
        λ ≥ 0. The decay of AdamW is decoupled from the loss: it is no penalty and has no β.
    n_samples : int
        All training rows, also when the mean is over batches.
    loss : {"squared", "logistic", "hinge", "squared_hinge"}
    reduction : {"mean", "sum"}
        For sum over batches of B < n samples multiply by n/B.
    """
    get_loss(loss)
    if reduction not in ("mean", "sum"):
        raise ValueError(f"reduction must be 'mean' or 'sum'; it is {reduction!r}.")
    if not weight_decay >= 0 or n_samples < 1:
        raise ValueError(
            f"weight_decay must be ≥ 0 and n_samples ≥ 1; they are {weight_decay} and {n_samples}."
        )
    scale = n_samples if reduction == "mean" else 1
    return float(weight_decay) * scale * (0.5 if loss == "squared" else 1.0)
