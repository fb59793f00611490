"""Architecture search as regulariser search: what three penalties leave out, against β and against m."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from convexnn._types import Array
from convexnn.convolution import (
    circular_beta_max,
    extract_patches,
    linear_beta_max,
    train_circular,
    train_linear,
)
from convexnn.data import Scaler, load_diabetes
from convexnn.experiments import drawing
from convexnn.experiments.digits import two_digits
from convexnn.experiments.records import Part, Row, Settings, Tables, run_parts
from convexnn.experiments.runs import column, descended, pick, trained, values
from convexnn.experiments.words import number, over
from convexnn.network import Network
from convexnn.plots import BLUE, CYCLE, INK
from convexnn.pricing import beta_max

SECTION = "§ 11"
QUESTION = "Do the penalties choose the architecture: how many neurons are left?"
FULL: dict[str, Any] = {
    "shares": [0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005], "tol": 1e-3, "max_time": 40.0,
    "linear_shares": [0.9, 0.5, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001],
    "widths": [2, 5, 10, 20, 50, 100, 200], "starts": 5, "steps": 8000, "share": 0.05, "images": 200,
}  # fmt: skip
QUICK = FULL | {
    "shares": [0.9, 0.5, 0.2, 0.1, 0.05], "max_time": 3.0, "widths": [2, 5, 10, 30, 100], "starts": 3,
    "steps": 2000, "images": 60,
}  # fmt: skip
COLUMNS = {
    "path": ("form", "share", "beta", "kept", "of", "objective", "lower_bound", "kind"),
    "widths": ("m", "start", "primal", "used"),
    "reference": ("beta", "objective", "lower_bound", "kind", "neurons"),
}
RELU, NUCLEAR, SPECTRUM = "ReLU neurons (group ℓ2)", "filters (nuclear norm)", "frequencies (ℓ1)"
#: A neuron counts if ‖u‖|α| is at least this share of the largest.
_COUNTS = 1e-3


def parts(settings: Settings) -> dict[str, Part]:
    """One part for each penalty, one for the widths."""
    return {
        "ReLU": lambda: _relu(settings),
        "nuclear": lambda: _nuclear(settings),
        "spectrum": lambda: _spectrum(settings),
        "widths": lambda: _widths(settings),
    }


def run(settings: Settings) -> Tables:
    """All parts."""
    return run_parts(parts(settings))


def _diabetes() -> tuple[Array, Array]:
    raw = load_diabetes()
    return Scaler.fit(raw.X).transform(raw.X), (raw.y - raw.y.mean()) / raw.y.std()


def _relu(settings: Settings) -> Tables:
    """Global training along the path of β, each from the network before."""
    X, y = _diabetes()
    top = float(beta_max(X, y, seed=settings["seed"]))
    network: Network | None = None
    rows: list[Row] = []
    for share in settings["shares"]:
        result, row = trained(
            X, y, share * top, tol=settings["tol"], max_time=settings["max_time"], seed=settings["seed"],
            warm_start=network, certificate="estimated",
        )  # fmt: skip
        network = result.network if result.network.n_neurons else None
        kept = _used(result.network)
        rows.append(
            _row(RELU, share, share * top, kept, len(y), row["objective"], row["lower_bound"], row["kind"])
        )
    return {"path": rows}


def _nuclear(settings: Settings) -> Tables:
    images, y = two_digits(settings["images"])
    patches = extract_patches(images, (3, 3))
    top, most = linear_beta_max(patches, y), min(patches.shape[0], patches.shape[2])
    rows = []
    for share in settings["linear_shares"]:
        found = train_linear(patches, y, share * top, tol=1e-5, max_time=settings["max_time"])
        amplitude = np.linalg.norm(found.filters, axis=0) * np.linalg.norm(found.outputs, axis=1)
        kept = int((amplitude > _COUNTS * amplitude.max(initial=0.0)).sum())
        rows.append(
            _row(
                NUCLEAR,
                share,
                share * top,
                kept,
                most,
                found.objective,
                found.certificate.lower_bound,
                "exact",
            )
        )
    return {"path": rows}


def _spectrum(settings: Settings) -> Tables:
    images, y = two_digits(settings["images"])
    top, rows = circular_beta_max(images, y), []
    for share in settings["linear_shares"]:
        found = train_circular(images, y, share * top, tol=1e-5, max_time=settings["max_time"])
        size = np.abs(np.fft.fftn(found.network.weights.reshape(found.network.shape)))
        kept = int((size > _COUNTS * size.max(initial=0.0)).sum())
        bound = found.certificate.lower_bound
        rows.append(_row(SPECTRUM, share, share * top, kept, size.size, found.objective, bound, "exact"))
    return {"path": rows}


def _row(
    form: str, share: float, beta: float, kept: int, of: int, objective: float, bound: float, kind: str
) -> Row:
    return {
        "form": form, "share": share, "beta": beta, "kept": kept, "of": of, "objective": objective,
        "lower_bound": bound, "kind": kind,
    }  # fmt: skip


def _used(network: Network) -> int:
    mass = np.linalg.norm(network.U, axis=0) * np.abs(network.alpha)
    return int((mass > _COUNTS * mass.max(initial=0.0)).sum())


def _widths(settings: Settings) -> Tables:
    """Adam with m neurons: how many it uses, and what it reaches."""
    X, y = _diabetes()
    beta = settings["share"] * float(beta_max(X, y, seed=settings["seed"]))
    result, row = trained(
        X, y, beta, tol=settings["tol"], max_time=settings["max_time"], seed=settings["seed"],
        certificate="estimated",
    )  # fmt: skip
    keep = {key: row[key] for key in ("objective", "lower_bound", "kind")}
    rows = []
    for m in settings["widths"]:
        for start in range(settings["seed"], settings["seed"] + settings["starts"]):
            found = descended(
                X, y, beta, neurons=m, steps=settings["steps"], learning_rate=0.03, seed=start,
                record_every=max(1, settings["steps"] // 20),
            )  # fmt: skip
            primal = found.network.objective(X, y, beta)
            rows.append({"m": m, "start": start, "primal": primal, "used": _used(found.network.merged(X))})
    return {"widths": rows, "reference": [{"beta": beta, "neurons": _used(result.network), **keep}]}


def pictures(tables: Tables) -> dict[str, Figure]:
    """What is kept against β for the three forms; neurons used and objective against m."""
    return {"path": _path_figure(tables), "widths": _widths_figure(tables)}


def _path_figure(tables: Tables) -> Figure:
    figure, ax = drawing.single(
        "β as a share of β_max (no unit, log axis)", "kept (number, log axis)", height=4.3
    )
    series = {}
    for form in values(tables["path"], "form"):
        rows = pick(tables["path"], form=form)
        series[f"{form}, at most {rows[0]['of']}"] = (
            [row["share"] for row in rows], [max(row["kept"], 0.5) for row in rows]
        )  # fmt: skip
    drawing.draw_series(ax, series)
    drawing.plain_log_x(ax, sorted(values(tables["path"], "share")))
    ax.set_yscale("log", base=2)
    ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.tick_params(axis="x", labelrotation=45)
    drawing.legend_above(ax, 1)
    return figure


def _widths_figure(tables: Tables) -> Figure:
    labels = [
        ("neurons m (number)", "neurons used (number)"),
        ("neurons m (number)", "objective minus the\nestimated lower bound"),
    ]
    figure, (top, bottom) = drawing.panels(2, labels)
    best, widths = tables["reference"][0], values(tables["widths"], "m")
    for place, m in enumerate(widths):
        rows = pick(tables["widths"], m=m)
        for ax, key in ((top, "used"), (bottom, "primal")):
            label = "Adam, one start" if place == 0 and ax is top else None
            height = column(rows, key) - (best["lower_bound"] if ax is bottom else 0.0)
            drawing.draw_strip(ax, place, sorted(height), CYCLE[0], label)
    top.plot(range(len(widths)), widths, color=INK, linestyle=":", label="all m neurons used")
    top.axhline(best["neurons"], color=BLUE, label=f"global training: {best['neurons']}")
    drawing.plain_log_y(top)
    gap = best["objective"] - best["lower_bound"]
    drawing.draw_floor(bottom, gap, 1e-6 * best["objective"], "global training")
    for ax in (top, bottom):
        drawing.name_places(ax, [str(m) for m in widths])
        drawing.legend_above(ax, 1)
    return figure


def sentences(tables: Tables) -> dict[str, list[str]]:
    """Two sentences a picture."""
    ends, best = [], tables["reference"][0]
    for form in values(tables["path"], "form"):
        rows = pick(tables["path"], form=form)
        ends.append(f"{form} from {rows[0]['kept']} to {rows[-1]['kept']} of {rows[-1]['of']}")
    shares = sorted(values(tables["path"], "share"), reverse=True)
    widths = values(tables["widths"], "m")
    used = {m: float(np.median(column(pick(tables["widths"], m=m), "used"))) for m in widths}
    ended = {m: float(np.median(column(pick(tables["widths"], m=m), "primal"))) for m in widths}
    wide = widths[-1]
    return {
        "path": [
            f"As β falls from {number(shares[0])} to {number(shares[-1])} of β_max, what is kept grows: "
            + "; ".join(ends)
            + ".",
            "Neurons, filters and frequencies are chosen by the penalty alone; each is counted from "
            f"{_COUNTS:g} of the largest on.",
        ],
        "widths": [
            f"Given {wide} neurons Adam uses {number(used[wide])} of them (median) where global training "
            f"uses {best['neurons']}.",
            f"Its median end is {over(ended[widths[0]], best['objective'])} the global training with "
            f"{widths[0]} "
            f"neurons and {over(ended[wide], best['objective'])} it with {wide}.",
        ],
    }


def answer(tables: Tables) -> tuple[str, str]:
    """For the summary."""
    best, widths = tables["reference"][0], values(tables["widths"], "m")
    used = float(np.median(column(pick(tables["widths"], m=widths[-1]), "used")))
    rows = [pick(tables["path"], form=form) for form in values(tables["path"], "form")]
    grows = all(group[-1]["kept"] > group[0]["kept"] for group in rows)
    word = "Yes: what is kept grows as β falls." if grows else "Not for every penalty tried."
    return word, f"{best['neurons']} neurons by global training, {number(used)} of {widths[-1]} by Adam"


def lines(tables: Tables) -> list[str]:
    """The first sentence of each picture."""
    return [pair[0] for pair in sentences(tables).values()]
