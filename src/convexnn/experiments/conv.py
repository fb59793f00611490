"""Three convolutional networks on small images: the convex program against descent, and the filters."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy.optimize import minimize

from convexnn import plots
from convexnn._types import Array
from convexnn.convolution import (
    CircularCNN,
    LinearCNN,
    circular_beta_max,
    extract_patches,
    linear_beta_max,
    separable_beta_max,
    train_circular,
    train_linear,
    train_separable,
)
from convexnn.experiments import drawing
from convexnn.experiments.digits import two_digits
from convexnn.experiments.records import Part, Row, Settings, Tables, run_parts
from convexnn.experiments.runs import column, curves, descended, pick, reached, values
from convexnn.experiments.words import KINDS, listed, number, over, share
from convexnn.plots import INK

SECTION = "§ 5"
QUESTION = "Are convolutional networks convex programs too: separable ReLU, linear, circular?"
FULL: dict[str, Any] = {
    "images": 200,
    "share": 0.05,
    "starts": 8,
    "steps": 500,
    "adam_steps": 3000,
    "max_time": 60.0,
    "tol": 1e-3,
}
QUICK = FULL | {"images": 30, "starts": 4, "steps": 120, "adam_steps": 400, "max_time": 3.0, "tol": 1e-2}
COLUMNS = {
    "cases": ("case", "beta", "objective", "program", "lower_bound", "kind", "gap", "filters", "seconds"),
    "histories": ("case", "start", "iteration", "seconds", "primal"),
    "ends": ("case", "start", "primal", "seconds"),
    "filters": ("case", "filter", "amplitude", "row", "column", "value"),
    "spectrum": ("case", "index", "value"),
}
SEPARABLE, LINEAR, CIRCULAR = "separable ReLU", "linear", "circular linear"
_KERNEL, _SHOWN = (3, 3), 4
Objective = Callable[[Array], tuple[float, Array]]


def parts(settings: Settings) -> dict[str, Part]:
    """One part for each case."""
    return {
        SEPARABLE: lambda: _separable(settings),
        LINEAR: lambda: _linear(settings),
        CIRCULAR: lambda: _circular(settings),
    }


def run(settings: Settings) -> Tables:
    """All parts."""
    return run_parts(parts(settings))


def _case(case: str, beta: float, result: Any, seconds: float) -> Tables:
    """Row, filters and spectrum of a trained network."""
    filters, outputs = result.filters, result.outputs
    weight = np.linalg.norm(outputs, axis=1) if outputs.ndim == 2 else np.abs(outputs)
    amplitude = np.linalg.norm(filters, axis=0) * weight
    order = np.argsort(-amplitude)
    side = round(len(filters) ** 0.5)
    certificate = result.certificate
    spectrum = amplitude[order]
    if case == CIRCULAR:
        spectrum = np.sort(np.abs(np.fft.fftn(result.network.weights.reshape(side, side))).ravel())[::-1]
    shown = [
        {
            "case": case, "filter": k, "amplitude": amplitude[j], "row": i // side, "column": i % side,
            "value": filters[i, j],
        }
        for k, j in enumerate(order[:_SHOWN])
        for i in range(len(filters))
    ]  # fmt: skip
    row = {
        "case": case, "beta": beta, "objective": result.objective, "program": result.program_value,
        "lower_bound": certificate.lower_bound, "kind": certificate.kind, "gap": certificate.relative_gap,
        "filters": len(order), "seconds": seconds,
    }  # fmt: skip
    lines = [{"case": case, "index": k + 1, "value": value} for k, value in enumerate(spectrum)]
    return {"cases": [row], "filters": shown, "spectrum": lines}


def _separable(settings: Settings) -> Tables:
    images, y = two_digits(settings["images"])
    patches = extract_patches(images, _KERNEL)
    beta = settings["share"] * separable_beta_max(patches, y)
    begin = perf_counter()
    result = train_separable(
        patches, y, beta, tol=settings["tol"], max_time=settings["max_time"], seed=settings["seed"]
    )
    tables = _case(SEPARABLE, beta, result, perf_counter() - begin)
    X, targets = patches.reshape(-1, patches.shape[2]), np.tile(y, len(patches))
    scale = float(np.sqrt(np.mean(np.sum(X**2, axis=1))))
    steps = settings["adam_steps"]
    histories: list[Row] = []
    for start in _seeds(settings):
        found = descended(
            X, targets, beta, neurons=30, steps=steps, learning_rate=0.03 / scale, seed=start,
            record_every=max(1, steps // 60),
        )  # fmt: skip
        keys = ("iteration", "seconds", "primal")
        histories += [{"start": start, **{key: row[key] for key in keys}} for row in found.history]
    return tables | _descents(SEPARABLE, histories)


def _linear(settings: Settings) -> Tables:
    images, y = two_digits(settings["images"])
    patches = extract_patches(images, _KERNEL)
    beta = settings["share"] * linear_beta_max(patches, y)
    begin = perf_counter()
    result = train_linear(patches, y, beta, tol=1e-8, max_time=settings["max_time"])
    seconds = perf_counter() - begin
    K, _, h = patches.shape
    m = min(h, K)

    def objective(theta: Array) -> tuple[float, Array]:
        net = LinearCNN(theta[: h * m].reshape(h, m), theta[h * m :].reshape(m, K))
        residual = net.predict(patches) - y
        slope = np.einsum("knh,n->hk", patches, residual)
        grad = [slope @ net.outputs.T + beta * net.filters, net.filters.T @ slope + beta * net.outputs]
        return net.objective(patches, y, beta), np.concatenate([g.ravel() for g in grad])

    histories = _all_starts(objective, h * m + m * K, settings)
    return _case(LINEAR, beta, result, seconds) | _descents(LINEAR, histories)


def _circular(settings: Settings) -> Tables:
    images, y = two_digits(settings["images"])
    shape, X = images.shape[1:], images.reshape(len(images), -1)
    beta, d = settings["share"] * circular_beta_max(images, y), X.shape[1]
    begin = perf_counter()
    result = train_circular(images, y, beta, tol=1e-8, max_time=settings["max_time"])
    seconds = perf_counter() - begin

    def objective(theta: Array) -> tuple[float, Array]:
        net = CircularCNN(theta[:d].reshape(-1, 1), theta[d:].reshape(1, -1), shape)
        slope = np.fft.fftn((X.T @ (net.predict(images) - y)).reshape(shape))
        u, alpha = (np.conj(np.fft.fftn(part.reshape(shape))) for part in (theta[:d], theta[d:]))
        grad = [np.fft.ifftn(slope * other).real.ravel() for other in (alpha, u)]
        return net.objective(images, y, beta), np.concatenate(grad) + beta * theta

    histories = _all_starts(objective, 2 * d, settings)
    return _case(CIRCULAR, beta, result, seconds) | _descents(CIRCULAR, histories)


def _seeds(settings: Settings) -> range:
    return range(settings["seed"], settings["seed"] + settings["starts"])


def _all_starts(objective: Objective, size: int, settings: Settings) -> list[Row]:
    """L-BFGS on the filters and output weights themselves, from small random starts."""
    rows: list[Row] = []
    for start in _seeds(settings):
        theta = 0.1 * np.random.default_rng(start).standard_normal(size)
        rows += [{"start": start, **row} for row in _lbfgs(objective, theta, settings["steps"])]
    return rows


def _lbfgs(objective: Objective, theta: Array, steps: int) -> list[Row]:
    begin = perf_counter()
    history: list[Row] = [{"iteration": 0, "seconds": 0.0, "primal": objective(theta)[0]}]

    def after(intermediate_result: Any) -> None:
        value = float(intermediate_result.fun)
        history.append({"iteration": len(history), "seconds": perf_counter() - begin, "primal": value})

    solve: Any = minimize
    solve(objective, theta, jac=True, method="L-BFGS-B", callback=after, options={"maxiter": steps})
    return history


def _descents(case: str, histories: list[Row]) -> Tables:
    ends = []
    for run_rows in curves(histories):
        best = min(run_rows, key=lambda row: float(row["primal"]))
        ends.append(
            {
                "case": case,
                "start": best["start"],
                "primal": best["primal"],
                "seconds": run_rows[-1]["seconds"],
            }
        )
    return {"histories": [{"case": case, **row} for row in histories], "ends": ends}


def pictures(tables: Tables) -> dict[str, Figure]:
    """Descent against the program for each case; the filters; the spectra."""
    shown = {}
    for row in tables["cases"]:
        method = "Adam" if row["case"] == SEPARABLE else "L-BFGS"
        runs = {method: curves(pick(tables["histories"], case=row["case"]))}
        shown["objective_" + row["case"].replace(" ", "_").lower()] = drawing.starts_figure(
            runs, optimum=row["objective"], bound=row["lower_bound"], kind=row["kind"], name="convex program"
        )
    return shown | {"filters": _filters_figure(tables), "spectrum": _spectrum_figure(tables)}


def _filters_figure(tables: Tables) -> Figure:
    cases = values(tables["cases"], "case")
    figure = Figure(figsize=(plots.SIZE[0], 1.75 * len(cases)), layout="constrained")
    figure.patch.set_alpha(0.0)
    for i, case in enumerate(cases):
        rows = pick(tables["filters"], case=case)
        for k in range(_SHOWN):
            ax = figure.add_subplot(len(cases), _SHOWN, i * _SHOWN + k + 1)
            ax.set_xticks([])
            ax.set_yticks([])
            ax.patch.set_alpha(0.0)
            chosen = pick(rows, filter=k)
            if not chosen:
                ax.set_axis_off()
                continue
            side = 1 + max(row["row"] for row in chosen)
            image = column(chosen, "value").reshape(side, side)
            limit = float(np.abs(image).max()) or 1.0
            ax.imshow(image, cmap="PuOr", vmin=-limit, vmax=limit)
            title = f"{case}\n{chosen[0]['amplitude']:.3g}" if k == 0 else f"\n{chosen[0]['amplitude']:.3g}"
            ax.set_title(title, fontsize=9.5, color=INK, loc="left")
    return figure


def _spectrum_figure(tables: Tables) -> Figure:
    figure, ax = drawing.single("place in order (number, log axis)", "size, largest = 1 (log axis)")
    series = {}
    for row in tables["cases"]:
        size = column(pick(tables["spectrum"], case=row["case"]), "value")
        size = size[size > 1e-6 * size.max(initial=0.0)]
        series[f"{row['case']}: {len(size)}"] = (list(range(1, len(size) + 1)), list(size / size[0]))
    drawing.draw_series(ax, series)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    ax.set_yscale("log")
    drawing.legend_above(ax, 1)
    return figure


def sentences(tables: Tables) -> dict[str, list[str]]:
    """Two sentences a picture."""
    said = {}
    for row in tables["cases"]:
        ends = pick(tables["ends"], case=row["case"])
        near, total = reached(ends, row["objective"])
        lowest = min(end["primal"] for end in ends)
        said["objective_" + row["case"].replace(" ", "_").lower()] = [
            f"{_title(row['case'])}: {share(near, total)} starts of descent end within 0.1 % of the "
            f"program's {number(row['objective'])}, the best {over(lowest, row['objective'])} it.",
            f"The bound is {KINDS[row['kind']]}, with a relative gap of {row['gap']:.1e}; the network "
            "that the "
            f"program gives has the program's value to {abs(row['objective'] / row['program'] - 1.0):.1g}.",
        ]
    counts = [f"{row['filters']} ({row['case']})" for row in tables["cases"]]
    sizes = []
    for row in tables["cases"]:
        size = column(pick(tables["spectrum"], case=row["case"]), "value")
        sizes.append(f"{int((size > 1e-3 * size.max()).sum())} of {len(size)} for {row['case']}")
    said["filters"] = [
        f"The programs choose the number of filters: {listed(counts)}; the largest up to {_SHOWN} of each "
        "are drawn.",
        "The number over a filter is its weight in the penalty, ‖u‖‖α‖; purple is positive, orange negative.",
    ]
    said["spectrum"] = [
        f"Above a thousandth of the largest are {listed(sizes)}.",
        "What is small is left out by the penalty: singular values by the nuclear norm, frequencies by "
        "the ℓ1 "
        "norm; for the separable network the weights of its filters are drawn.",
    ]
    return said


def _title(case: str) -> str:
    return case[0].upper() + case[1:]


def answer(tables: Tables) -> tuple[str, str]:
    """For the summary."""
    gaps = [f"{row['case']} {row['gap']:.1e}" for row in tables["cases"]]
    below = [
        row["case"]
        for row in tables["cases"]
        if min(e["primal"] for e in pick(tables["ends"], case=row["case"])) < row["objective"] * (1.0 - 1e-6)
    ]
    word = (
        "Yes: no descent ended below a program." if not below else f"Descent ended lower for {listed(below)}."
    )
    return word, "relative gaps: " + ", ".join(gaps)


def lines(tables: Tables) -> list[str]:
    """The first sentence of each case."""
    return [pair[0] for name, pair in sentences(tables).items() if name.startswith("objective")]
