"""Run by a peer's own Python: reads a program from an npz file, solves it, writes blocks and seconds.

Nothing of this package is imported here. Scalings: pyscnn and adelie divide the squared loss by n, so their
penalty is β/n; pyscnn would also scale the columns of X, which would change the problem, so that is off.
"""

import json
import resource
import sys
from time import perf_counter

import numpy as np

_PYSCNN_ITERATIONS = (30, 100, 300, 1000, 3000, 10_000)  # the last is its default
_GROWTH = 5.0  # seconds of the next limit over those of the last one, at most
_ADELIE_TOLERANCES = (1e-7, 1e-9, 1e-11, 1e-13)  # the first is its default


def run_pyscnn(data, gated, cap):
    """Its default tolerance; the largest iteration limit up to its default that should end before the cap."""
    from scnn.metrics import Metrics
    from scnn.models import ConvexGatedReLU, ConvexReLU
    from scnn.optimize import optimize_model
    from scnn.regularizers import NeuronGL1
    from scnn.solvers import AL, RFISTA

    X, y, G = data["X"], data["y"], data["generators"]
    penalty = NeuronGL1(float(data["beta"]) / len(X))

    def attempt(iterations):
        model = ConvexGatedReLU(G.copy()) if gated else ConvexReLU(G.copy())
        solver = RFISTA(model, max_iters=iterations) if gated else AL(model, max_primal_iters=iterations)
        begin = perf_counter()
        found, _ = optimize_model(
            model, solver, Metrics(metric_freq=10**9), X, y, regularizer=penalty,
            return_convex=True, unitize_data=False, dtype="float32",
        )  # fmt: skip
        return found, perf_counter() - begin

    found, done, seconds = None, 0, 0.0
    for iterations in _PYSCNN_ITERATIONS:
        if seconds * _GROWTH > cap:
            break
        found, seconds, done = *attempt(iterations), iterations
    blocks = [np.asarray(block[0], dtype=np.float64).T for block in found.parameters]
    v, w = in_order(blocks[0], found.G, G), in_order(blocks[1], found.G, G) if not gated else None
    word = "R-FISTA" if gated else "augmented Lagrangian"
    status = "ended" if done == _PYSCNN_ITERATIONS[-1] else "time_limit"
    yield (
        f"{word}, at most {done:,} iterations, float32",
        v,
        np.zeros_like(v) if w is None else w,
        seconds,
        status,
    )


def in_order(block, found, wanted):
    """Columns of a block as the generators were given: pyscnn drops equal patterns and sorts them."""
    out = np.zeros(wanted.shape)
    for k, direction in enumerate(np.asarray(found, dtype=np.float64).T):
        distance = np.linalg.norm(wanted - direction[:, None], axis=0)
        out[:, int(np.argmin(distance))] = block[:, k]
    return out


def run_adelie(data, gated, cap):
    """The value at λ = β/n alone, at tolerances from its default down."""
    import adelie

    if not gated:
        raise SystemExit("adelie has no cones: gated programs only")
    X, y, masks, beta = data["X"], data["y"], data["masks"], float(data["beta"])
    n, d = X.shape
    for warm_up, tolerances in ((True, _ADELIE_TOLERANCES[:1]), (False, _ADELIE_TOLERANCES)):
        for tol in tolerances:
            begin = perf_counter()
            A = np.asfortranarray(np.concatenate([masks[:, [i]] * X for i in range(masks.shape[1])], axis=1))
            state = adelie.grpnet(
                X=A, glm=adelie.glm.gaussian(y=y), groups=np.arange(masks.shape[1]) * d,
                penalty=np.ones(masks.shape[1]), intercept=False, lmda_path=np.array([beta / n]), tol=tol,
                early_exit=False, progress_bar=False, n_threads=2, max_iters=10**7,
            )  # fmt: skip
            seconds = perf_counter() - begin
            if warm_up or not state.betas.shape[0]:
                continue
            v = np.asarray(state.betas.todense()).reshape(masks.shape[1], d).T
            yield f"tol {tol:g}", v, np.zeros_like(v), seconds, "ended"
            if seconds > cap:
                return


def main():
    name, given, answer, options = sys.argv[1:]
    gated, cap = json.loads(options)
    out, count = {}, 0
    with np.load(given) as data:
        for setting, v, w, seconds, status in {"pyscnn": run_pyscnn, "adelie": run_adelie}[name](
            data, gated, cap
        ):
            parts = {"setting": setting, "v": v, "w": w, "seconds": seconds, "status": status}
            out |= {f"{key}{count}": value for key, value in parts.items()}
            count += 1
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    np.savez(answer, runs=count, peak_mib=peak, **out)


if __name__ == "__main__":
    main()
