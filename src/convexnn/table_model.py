"""A network with everything that turns a table into its input and its output into predictions.

`prepare` reads a frame into training and test rows (encoder, scaler and target scale fitted on the training
rows only); `TableModel` holds the trained network with these and goes to one file: weights as safetensors,
all else as JSON in its header. Nothing is pickled.
"""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from convexnn._types import Array, IntArray
from convexnn.certificate import Certificate, CertificateKind, certify
from convexnn.data import Scaler, TableEncoder, split_rows
from convexnn.losses import LossLike, get_loss
from convexnn.network import Network, load_metadata
from convexnn.report import count
from convexnn.table_losses import parse_loss, scaled

if TYPE_CHECKING:
    import pandas as pd

FORMAT = "table-model-1"


@dataclass(frozen=True)
class Pipeline:
    """Encoder, scaler and, for a regression, (y − target_mean)/target_scale.

    With the Poisson loss (`is_rate`) the target stays as it is, and the network's output is log of a rate.
    """

    encoder: TableEncoder
    scaler: Scaler
    target_mean: float
    target_scale: float
    is_rate: bool = False

    @classmethod
    def fit(
        cls,
        frame: "pd.DataFrame",
        target: str,
        task: Literal["auto", "regression", "classification"],
        kinds: Mapping[str, str] | None = None,
        *,
        is_rate: bool = False,
    ) -> "Pipeline":
        """Learn everything from the rows of `frame`; arguments and errors as in `TableEncoder.fit`."""
        encoder = TableEncoder.fit(frame, target, task, kinds)
        scaler = Scaler.fit(encoder.transform(frame))
        if encoder.task == "classification":
            return cls(encoder, scaler, 0.0, 1.0)
        y = encoder.encode_target(frame)
        if is_rate:
            return cls(encoder, scaler, 0.0, 1.0, is_rate=True)
        with np.errstate(over="ignore"):
            spread = float(y.std())
        if not np.isfinite(spread) or (spread == 0 and np.ptp(y) > 0):
            raise ValueError(
                f"Target {target!r} goes from {y.min():g} to {y.max():g}, and the squares of such numbers "
                "leave the range of float64: give it in another unit."
            )
        return cls(encoder, scaler, float(y.mean()), spread if spread > 0 else 1.0)

    def features(self, frame: "pd.DataFrame") -> Array:
        """The network's input, (n, d+1) with the column of ones last."""
        return self.scaler.transform(self.encoder.transform(frame))

    def target(self, frame: "pd.DataFrame") -> Array:
        """What the network is trained on: the classes as numbers, or the standardised target."""
        return (self.encoder.encode_target(frame) - self.target_mean) / self.target_scale

    def unscale(self, y: Array) -> Array:
        """The inverse of `target` for a regression: in the unit of the target."""
        return y * self.target_scale + self.target_mean

    def predicted(self, f: Array) -> Array:
        """The network's output in the unit of the target; exp(f) if that is a rate; a score for classes."""
        if not self.is_rate:
            return self.unscale(f)
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(f))

    def to_json(self) -> dict[str, Any]:
        """Plain data for the model's header."""
        return {
            "encoder": self.encoder.to_json(),
            "scaler": self.scaler.to_json(),
            "target_mean": self.target_mean,
            "target_scale": self.target_scale,
        } | ({"is_rate": True} if self.is_rate else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Pipeline":
        """The inverse of `to_json`."""
        encoder, scaler = TableEncoder.from_json(data["encoder"]), Scaler.from_json(data["scaler"])
        mean, scale = float(data["target_mean"]), float(data["target_scale"])
        return cls(encoder, scaler, mean, scale, bool(data.get("is_rate", False)))


@dataclass(frozen=True)
class Prepared:
    """A table ready for training: pipeline, training and test rows, and how they were split.

    `notes` are sentences for the user: what was done with the columns, and what test rows hold that the
    training rows did not. `decimal_commas` are the columns read so.
    """

    pipeline: Pipeline
    Z_train: Array
    y_train: Array
    Z_test: Array
    y_test: Array
    split: dict[str, Any]
    notes: tuple[str, ...] = ()
    decimal_commas: tuple[str, ...] = ()


def prepare(
    frame: "pd.DataFrame",
    target: str,
    *,
    task: Literal["auto", "regression", "classification"] = "auto",
    kinds: Mapping[str, str] | None = None,
    test_fraction: float = 0.0,
    seed: int = 0,
    is_rate: bool = False,
) -> Prepared:
    """Split the rows (classes in proportion), fit the pipeline on the training rows, encode both parts.

    Only the kind of each column, number, date and so on, is found from all rows. With `is_rate` the target
    is not standardised.
    """
    whole = TableEncoder.fit(frame, target, task, kinds)
    y = whole.encode_target(frame)
    split: dict[str, Any] = {"rows": len(frame), "test_fraction": test_fraction, "seed": seed}
    labels = y if whole.task == "classification" else None
    train, test = _split(len(frame), test_fraction, seed, labels)
    pipeline = Pipeline.fit(frame.iloc[train], target, whole.task, whole.kinds, is_rate=is_rate)
    Z, targets = pipeline.features(frame), pipeline.target(frame)
    split |= {"training_rows": len(train), "fingerprint": fingerprint(Z[train], targets[train])}
    new = [f"Test rows: {line}" for line in map(unseen_sentence, pipeline.encoder.unseen(frame.iloc[test]))]
    commas = tuple(frame.attrs.get("decimal_commas", ()))
    notes = (*reading_notes(frame), *pipeline.encoder.notes, *new)
    return Prepared(pipeline, Z[train], targets[train], Z[test], targets[test], split, notes, commas)


def reading_notes(frame: "pd.DataFrame") -> tuple[str, ...]:
    """What `read_table` did with the cells that the user should know, in sentences."""
    commas = frame.attrs.get("decimal_commas", [])
    if not commas:
        return ()
    names = ", ".join(map(repr, commas))
    return (f"Decimal commas (3,5 is 3.5) were read in {count(len(commas), 'column')}: {names}.",)


def unseen_sentence(found: Mapping[str, Any]) -> str:
    """An entry of `TableEncoder.unseen` in words."""
    values, rows = found["values"], found["rows"]
    shown = ", ".join(map(repr, values[:5])) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
    return (
        f"column {found['column']!r} has {count(rows, 'row')} with a value that the training rows did not "
        f"have, taken as none of the known ones: {shown}."
    )


def _split(n: int, fraction: float, seed: int, labels: Array | None) -> tuple[IntArray, IntArray]:
    if fraction == 0:
        return np.arange(n), np.empty(0, dtype=np.int64)
    return split_rows(n, fraction, seed, stratify=labels)


def fingerprint(Z: Array, y: Array) -> str:
    """SHA-256 of the training rows as the network sees them."""
    digest = hashlib.sha256()
    for array in (Z, y):
        digest.update(repr(array.shape).encode())
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class TableModel:
    """A trained network, its pipeline and the record of its training.

    Attributes
    ----------
    loss : str
        As `convexnn.table_losses` names it, a δ or ε in the unit of the target: ``huber:25.0``.
    record : dict
        Plain data: ``table``, ``target``, ``kinds`` (of columns, as they were given), ``drop``,
        ``decimal_comma`` (whether the table had any), ``notes``, ``negative_slope``, ``free_intercept``,
        ``beta_max`` (None where it was not needed), ``tol``, ``seed``, ``split``, ``settings``, ``status``,
        ``certificate``, ``scores``, ``version``.
    nu : (n,)
        The dual point of the training's certificate, one number a training row, or (n, c) for c > 2
        classes, for `certify` to try.
    """

    network: Network
    pipeline: Pipeline
    loss: str
    beta: float
    record: dict[str, Any]
    nu: Array

    @property
    def trained_loss(self) -> LossLike:
        """The loss on the standardised target, as `certify` takes it."""
        return scaled(self.loss, self.pipeline.target_scale)

    @property
    def free_intercept(self) -> bool:
        """Whether the training problem has an output bias b₀ that β does not count."""
        return bool(self.record.get("free_intercept", False))

    def outputs(self, frame: "pd.DataFrame") -> Array:
        """For each row: a number in the target's unit (a rate for the Poisson loss), or scores of classes."""
        return self.pipeline.predicted(self.network.predict(self.pipeline.features(frame)))

    def predictions(self, frame: "pd.DataFrame") -> dict[str, NDArray[Any]]:
        """Columns of a prediction file: ``prediction``, and for classes ``output`` and ``probability_…``."""
        f = self.outputs(frame)
        columns: dict[str, NDArray[Any]] = {"prediction": self.pipeline.encoder.decode(f)}
        classes = self.pipeline.encoder.classes
        if len(classes) > 2:
            names = [f"probability_{name}" for name in classes]
            return columns | dict(zip(names, softmax(f, axis=1).T, strict=True))
        if classes:
            columns["output"] = f
            if self.loss == "logistic":
                columns[f"probability_{classes[1]}"] = expit(f)
        return columns

    @property
    def words(self) -> list[str]:
        """Columns of a text file to be read as text: what was text in training is text again."""
        words = [
            c.name
            for c in self.pipeline.encoder.columns
            if c.kind in ("text", "date")
            or (c.kind == "category" and not {"True", "False"}.issuperset(c.categories))
        ]
        target = self.pipeline.encoder.target
        return [*words, target] if self.record.get("kinds", {}).get(target) == "category" else words

    def certify(
        self, frame: "pd.DataFrame", max_time: float | None = None, kind: CertificateKind = "auto"
    ) -> tuple[Certificate, bool]:
        """The certificate on the training rows of `frame`, computed anew; False if it is another table."""
        Z, y, same = self.training_rows(frame)
        nu = self.nu if same else None
        certificate = certify(
            self.network, Z, y, self.beta, loss=self.trained_loss, max_time=max_time, nu=nu, certificate=kind,
            intercept=self.free_intercept,
        )  # fmt: skip
        return certificate, same

    def training_rows(self, frame: "pd.DataFrame") -> tuple[Array, Array, bool]:
        """(Z, y, same): the training rows of the model's own table, else all rows and False."""
        Z, y = self.pipeline.features(frame), self.pipeline.target(frame)
        split = self.record["split"]
        train = np.arange(len(y))
        if len(y) == split["rows"] and split["test_fraction"] > 0:
            labels = y if self.pipeline.encoder.task == "classification" else None
            train, _ = _split(len(y), split["test_fraction"], split["seed"], labels)
        if fingerprint(Z[train], y[train]) == split["fingerprint"]:
            return Z[train], y[train], True
        return Z, y, fingerprint(Z, y) == split["fingerprint"]

    def save(self, path: Path) -> Path:
        """Write one safetensors file, atomically."""
        metadata = {
            "kind": FORMAT,
            "pipeline": self.pipeline.to_json(),
            "loss": self.loss,
            "beta": self.beta,
            "record": self.record,
            "nu": base64.b64encode(self.nu.astype("<f8").tobytes()).decode("ascii"),
        }
        return self.network.save(path, metadata)

    @classmethod
    def load(cls, path: Path) -> "TableModel":
        """Read what `save` wrote; FileNotFoundError, or ValueError with one sentence for a damaged file."""
        network, data = Network.load(path), load_metadata(path)
        if data.get("kind") != FORMAT:
            raise ValueError(f"{path} holds a network without its table: 'convexnn fit' writes one with it.")
        try:
            pipeline = Pipeline.from_json(data["pipeline"])
            record = dict(data["record"])
            nu = np.frombuffer(base64.b64decode(data["nu"]), dtype="<f8").astype(np.float64)
            nu = nu.reshape(-1, *network.alpha.shape[1:])
            model = cls(network, pipeline, str(data["loss"]), float(data["beta"]), record, nu)
            complete = {"rows", "test_fraction", "seed", "fingerprint", "training_rows"} <= set(
                record["split"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path} is damaged: its header is incomplete ({error}).") from error
        if not complete or network.n_features != len(pipeline.scaler.mean) + 1:
            raise ValueError(f"{path} is damaged: its weights and its header do not fit together.")
        parse_loss(model.loss)
        return model


def scores(pipeline: Pipeline, network: Network, Z: Array, y: Array, loss: str = "") -> dict[str, float]:
    """Scores on rows as the network sees them; empty without rows.

    Classification: ``accuracy`` and ``larger_class``, the share of the more frequent class. Regression, in
    the unit of the target: ``r2`` (1 − squared error/squared deviation from the mean), ``rmse``, ``mae``;
    for a quantile loss ``below``, the share of targets at or below the prediction; for a rate ``deviance``,
    the mean Poisson deviance.
    """
    if not len(y):
        return {}
    f = network.predict(Z)
    if pipeline.encoder.task == "classification":
        right = f.argmax(axis=1) == y if f.ndim == 2 else (f > 0) == (y > 0)
        largest = np.unique(y, return_counts=True)[1].max()
        return {"accuracy": float(np.mean(right)), "larger_class": float(largest / len(y))}
    error = pipeline.predicted(f) - pipeline.unscale(y)
    spread = float(np.sum((y - y.mean()) ** 2)) * pipeline.target_scale**2
    square = float(np.sum(error**2))
    result = {"rmse": float(np.sqrt(square / len(y))), "mae": float(np.mean(np.abs(error)))}
    if loss.startswith("quantile"):
        result["below"] = float(np.mean(error >= 0))
    if pipeline.is_rate:
        result["deviance"] = 2.0 * get_loss("poisson").value(f, y) / len(y)
    return result | ({"r2": 1.0 - square / spread} if spread > 0 else {})


def certificate_record(certificate: Certificate) -> dict[str, Any]:
    """The numbers of a certificate as plain data (without the dual point)."""
    return {
        "kind": certificate.kind,
        "primal": certificate.primal,
        "lower_bound": certificate.lower_bound if np.isfinite(certificate.lower_bound) else None,
        "gap": certificate.gap if np.isfinite(certificate.gap) else None,
        "relative_gap": certificate.relative_gap if np.isfinite(certificate.relative_gap) else None,
        "rho": certificate.rho,
        "starts": certificate.starts,
        "seconds": certificate.seconds,
    }
