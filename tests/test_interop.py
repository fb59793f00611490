"""Networks of scikit-learn, torch and plain arrays as points of problem (1), and their penalties as β."""

import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier, MLPRegressor

from convexnn import Network, certify, train
from convexnn.interop import (
    certify_model,
    certify_module,
    from_arrays,
    from_sklearn,
    from_torch,
    sklearn_beta,
    torch_beta,
)
from convexnn.losses import get_loss


def make_data(n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, 3))
    return X, np.sin(2 * X[:, 0]) + 0.5 * X[:, 1] + 0.7


def fitted(model: MLPRegressor | MLPClassifier, X: np.ndarray, y: np.ndarray) -> MLPRegressor | MLPClassifier:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, y)


def regressor(X: np.ndarray, y: np.ndarray, **options: object) -> MLPRegressor:
    defaults = {
        "hidden_layer_sizes": (6,),
        "alpha": 0.3,
        "solver": "lbfgs",
        "max_iter": 300,
        "random_state": 0,
    }
    return fitted(MLPRegressor(**(defaults | options)), X, y)


# ---- plain arrays and the output bias -----------------------------------------------------------------


@pytest.mark.parametrize("c", [-1.7, 0.0, 0.4])
def test_arrays_become_a_network_of_the_same_function(c: float) -> None:
    rng = np.random.default_rng(1)
    X, W1, b1, w2 = (
        rng.standard_normal((9, 3)),
        rng.standard_normal((3, 4)),
        rng.standard_normal(4),
        np.ones(4),
    )
    foreign = from_arrays(W1, b1, w2, c)
    expected = np.maximum(X @ W1 + b1, 0) @ w2 + c
    assert foreign.predict(X) == pytest.approx(expected, rel=1e-13)
    assert foreign.network.predict(np.c_[X, np.ones(9)]) == pytest.approx(expected, rel=1e-13)
    assert foreign.output_bias == c
    assert foreign.network.U.shape == (4, 4 + (c != 0))


def test_the_output_bias_costs_its_size_and_no_neuron_makes_it_cheaper() -> None:
    rng = np.random.default_rng(2)
    W1, b1, w2 = rng.standard_normal((3, 4)), rng.standard_normal(4), rng.standard_normal(4)
    without, with_bias = from_arrays(W1, b1, w2), from_arrays(W1, b1, w2, -1.3)
    assert with_bias.network.penalty() - without.network.penalty() == pytest.approx(1.3, rel=1e-12)
    last = with_bias.network.U[:, -1], with_bias.network.alpha[-1]
    assert last[1] * np.maximum(last[0][-1], 0) == pytest.approx(-1.3)
    assert not last[0][:-1].any()
    for t in (0.5, 0.9, 1.1, 2.0):  # the same constant from other lengths of u
        u = t * last[0]
        assert 0.5 * (u @ u + (last[1] / t) ** 2) > 1.3


def test_a_model_without_biases_needs_no_ones() -> None:
    X, y = make_data(12)
    foreign = from_arrays(np.eye(3), None, np.ones(3))
    assert foreign.design(X).shape == (12, 3)
    certificate = certify_model(foreign, X, y, beta=0.5, starts=100).certificate
    assert (
        certificate.lower_bound == certify(Network(np.eye(3), np.ones(3)), X, y, 0.5, starts=100).lower_bound
    )


# ---- scikit-learn -------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 0.3, 5.0])
def test_alpha_is_beta_in_the_loss_that_scikit_learn_reports(alpha: float) -> None:
    X, y = make_data()
    model = regressor(X, y, alpha=alpha)
    foreign = from_sklearn(model)
    beta = sklearn_beta(model, len(X))
    assert beta == alpha
    assert foreign.predict(X) == pytest.approx(model.predict(X), rel=1e-12)
    own = foreign.own_objective(X, y, beta)
    assert own == pytest.approx(len(X) * model.loss_, rel=1e-9)
    biases = 0.5 * float(model.intercepts_[0] @ model.intercepts_[0]) + abs(float(model.intercepts_[1][0]))
    objective = foreign.network.objective(foreign.design(X), y, beta or 1e-300)
    assert objective == pytest.approx(own + beta * biases, rel=1e-12)


def test_alpha_is_beta_for_a_classifier() -> None:
    X, y = make_data()
    labels = np.where(y > 0.7, "up", "down")
    model = fitted(MLPClassifier((5,), alpha=0.2, solver="lbfgs", max_iter=200, random_state=0), X, labels)
    foreign = from_sklearn(model)
    assert foreign.loss == "logistic"
    assert foreign.targets(labels).tolist() == np.where(labels == "up", 1.0, -1.0).tolist()
    assert foreign.own_objective(X, labels, 0.2, "logistic") == pytest.approx(len(X) * model.loss_, rel=1e-9)
    result = certify_model(model, X, labels, starts=100)
    assert (result.loss, result.beta) == ("logistic", 0.2)
    with pytest.raises(ValueError, match="labels other than"):
        certify_model(model, X, np.where(labels == "up", "up", "left"))


def test_batches_multiply_alpha() -> None:
    """With X = 0 only the penalty moves the first weights: (1 − ηα/B) for each of the n/B batches."""
    n, batch, rate, alpha = 40, 8, 0.01, 3.0
    model = MLPRegressor(
        hidden_layer_sizes=(4,), solver="sgd", momentum=0.0, nesterovs_momentum=False, batch_size=batch,
        alpha=alpha, learning_rate_init=rate, random_state=0, shuffle=False,
    )  # fmt: skip
    X, y = np.zeros((n, 3)), np.zeros(n)
    model.partial_fit(X, y)
    before = model.coefs_[0].copy()
    model.partial_fit(X, y)
    beta = sklearn_beta(model, n)
    assert beta == pytest.approx(alpha * n / batch)
    shrink = (1 - rate * (beta / n)) ** (n // batch)
    assert model.coefs_[0] == pytest.approx(shrink * before, rel=1e-6)
    model.batch_size = "auto"
    assert sklearn_beta(model, 1000) == pytest.approx(alpha * 5)
    assert sklearn_beta(model, 100) == pytest.approx(alpha)


def test_a_trained_regressor_is_above_the_bound_and_the_bound_is_that_of_training() -> None:
    X, y = make_data()
    model = regressor(X, y, alpha=1.0)
    result = certify_model(model, X, y, starts=500)
    best = train(np.c_[X, np.ones(len(X))], y, 1.0, tol=1e-5)
    assert result.certificate.lower_bound <= best.certificate.primal <= result.certificate.primal
    assert result.bias_cost == pytest.approx(abs(float(model.intercepts_[1][0])))
    assert "penalised biases" in str(result)
    balanced = certify_model(model, X, y, balance=True, starts=500)
    assert balanced.certificate.primal < result.certificate.primal
    assert balanced.network.penalty() < result.network.penalty()
    assert balanced.network.predict(np.c_[X, np.ones(len(X))]) == pytest.approx(model.predict(X), rel=1e-9)


def test_models_of_another_kind_are_refused_in_a_sentence() -> None:
    X, y = make_data()
    with pytest.raises(ValueError, match="not fitted"):
        from_sklearn(MLPRegressor())
    with pytest.raises(ValueError, match="2 hidden layers; a certificate is for one"):
        from_sklearn(regressor(X, y, hidden_layer_sizes=(3, 3), max_iter=5))
    with pytest.raises(ValueError, match="0 hidden layers; a certificate is for one"):
        from_sklearn(regressor(X, y, hidden_layer_sizes=(), max_iter=5))
    with pytest.raises(ValueError, match="activation is 'tanh'"):
        from_sklearn(regressor(X, y, activation="tanh", max_iter=5))
    with pytest.raises(ValueError, match="2 outputs"):
        from_sklearn(regressor(X, np.c_[y, y], max_iter=5))
    three = fitted(MLPClassifier((3,), max_iter=5), X, np.arange(len(X)) % 3)
    with pytest.raises(ValueError, match=r"3 outputs \(or classes\)"):
        from_sklearn(three)
    with pytest.raises(ValueError, match="not a Network"):
        certify_model(Network.zero(3), X, y, beta=1.0)
    with pytest.raises(ValueError, match="not a dict"):
        from_sklearn({})
    with pytest.raises(ValueError, match="Give beta"):
        certify_model((np.eye(3), np.zeros(3), np.ones(3), 0.0), X, y)
    with pytest.raises(ValueError, match="without a penalty"):
        certify_model(regressor(X, y, alpha=0.0), X, y)
    with pytest.raises(ValueError, match="2 outputs"):
        from_arrays(np.eye(3), np.zeros(3), np.ones((3, 2)))
    with pytest.raises(ValueError, match="W1 must be d×m"):
        from_arrays(np.eye(3), np.zeros(2), np.ones(3))
    with pytest.raises(ValueError, match="finite"):
        from_arrays(np.eye(3), np.full(3, np.nan), np.ones(3))


# ---- torch --------------------------------------------------------------------------------------------


def module(bias: bool = True, output_bias: bool = True):  # type: ignore[no-untyped-def]
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(3, 5, bias=bias), torch.nn.ReLU(), torch.nn.Linear(5, 1, bias=output_bias)
    ).double()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("output_bias", [True, False])
def test_a_torch_module_becomes_a_network_of_the_same_function(bias: bool, output_bias: bool) -> None:
    net = module(bias, output_bias)
    import torch

    X, _ = make_data()
    foreign = from_torch(net)
    assert foreign.has_ones == (bias or output_bias)
    with torch.no_grad():
        expected = net(torch.tensor(X))[:, 0].numpy()
    assert foreign.predict(X) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("loss", ["squared", "logistic"])
@pytest.mark.parametrize("output_bias", [False, True])
def test_weight_decay_is_beta_in_the_loss_of_torch(reduction: str, loss: str, output_bias: bool) -> None:
    net = module(output_bias=output_bias)
    import torch

    X, y = make_data()
    y = np.where(y > 0.7, 1.0, -1.0) if loss == "logistic" else y
    decay, n = 0.03, len(X)
    f = net(torch.tensor(X))[:, 0]
    if loss == "squared":
        value = torch.nn.MSELoss(reduction=reduction)(f, torch.tensor(y))
    else:
        value = torch.nn.BCEWithLogitsLoss(reduction=reduction)(f, torch.tensor((y + 1) / 2))
    own = value + decay / 2 * sum((p**2).sum() for p in net.parameters())
    scale = (n if reduction == "mean" else 1) * (0.5 if loss == "squared" else 1.0)
    beta = torch_beta(decay, n, loss, reduction)
    foreign = from_torch(net)
    assert foreign.own_objective(X, y, beta, loss) == pytest.approx(scale * own.item(), rel=1e-12)
    c = foreign.output_bias
    objective = foreign.network.objective(foreign.design(X), y, beta, loss)
    assert objective == pytest.approx(scale * own.item() + beta * (abs(c) - c**2 / 2), rel=1e-12)
    assert (c != 0) == output_bias


def test_the_gradient_step_of_torch_is_that_of_the_objective() -> None:
    """SGD with weight_decay moves along the gradient of our objective times rate·(scale of the loss)."""
    net = module(output_bias=False)
    import torch

    X, y = make_data()
    decay, rate, n = 0.3, 1e-6, len(X)
    before, beta = from_torch(net), torch_beta(0.3, len(X))
    optimiser = torch.optim.SGD(net.parameters(), lr=rate, weight_decay=decay)
    torch.nn.MSELoss()(net(torch.tensor(X))[:, 0], torch.tensor(y)).backward()
    optimiser.step()
    after = from_torch(net)
    Z = before.design(X)
    fell = before.network.objective(Z, y, beta) - after.network.objective(Z, y, beta)
    moved = np.sum((after.network.U - before.network.U) ** 2)
    moved += np.sum((after.network.alpha - before.network.alpha) ** 2)
    assert fell == pytest.approx(moved / rate * n / 2, rel=1e-3)


def test_a_torch_module_is_certified_with_labels_of_either_kind() -> None:
    net = module()
    X, y = make_data()
    labels = (y > 0.7).astype(float)
    options = {"weight_decay": 0.05, "loss": "logistic", "starts": 200}
    first = certify_model(net, X, labels, **options)
    second = certify_model(net, X, 2 * labels - 1, **options)
    assert first.beta == pytest.approx(0.05 * len(X))
    assert first.certificate.primal == second.certificate.primal
    assert first.certificate.lower_bound == second.certificate.lower_bound
    assert 0 < first.certificate.relative_gap < 1


def test_other_torch_modules_are_refused_in_a_sentence() -> None:
    torch = pytest.importorskip("torch")
    nn = torch.nn
    deep = nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    with pytest.raises(ValueError, match="2 hidden layers; a certificate is for one"):
        from_torch(deep)
    with pytest.raises(ValueError, match=r"Sequential\(Linear, Tanh, Linear\); .* Linear, ReLU, Linear"):
        from_torch(nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 1)))
    with pytest.raises(ValueError, match="2 outputs"):
        from_torch(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)))
    with pytest.raises(ValueError, match="not a Linear: pass its weights to from_arrays"):
        from_torch(nn.Linear(3, 1))
    with pytest.raises(ValueError, match="takes a torch module, not a list"):
        from_torch([1])
    with pytest.raises(ValueError, match="reduction must be"):
        torch_beta(0.1, 10, reduction="none")
    with pytest.raises(ValueError, match="weight_decay must be"):
        torch_beta(-0.1, 10)


# ---- torch modules with their loaders -------------------------------------------------------------------


def loader(X: np.ndarray, y: np.ndarray, batch: int = 8, **options: object):  # type: ignore[no-untyped-def]
    torch = pytest.importorskip("torch")
    data = torch.utils.data.TensorDataset(torch.tensor(X), torch.tensor(y))
    return torch.utils.data.DataLoader(data, batch_size=batch, **options)


@pytest.mark.parametrize("loss", ["squared", "logistic"])
def test_a_module_with_its_loader_is_certified_as_with_its_arrays(loss: str) -> None:
    X, y = make_data()
    y = (y > 0.7).astype(float) if loss == "logistic" else y
    net = module()
    options = {"loss": loss, "tighten": False, "starts": 100}
    by_loader = certify_module(net, loader(X, y), 0.03, **options)
    by_arrays = certify_model(net, X, y, weight_decay=0.03, loss=loss, starts=100)
    assert by_loader.certificate.primal == by_arrays.certificate.primal
    assert by_loader.certificate.lower_bound == by_arrays.certificate.lower_bound
    assert by_loader.beta == by_arrays.beta
    shuffled = certify_module(net, loader(X, y[:, None], shuffle=True), 0.03, **options)
    assert shuffled.certificate.primal == pytest.approx(by_arrays.certificate.primal, rel=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_beta_is_that_of_an_epoch_of_batches(reduction: str) -> None:
    """One epoch minimises Σ over batches of (loss of the batch + decay/2 ‖θ‖²)."""
    net = module(output_bias=False)
    import torch

    X, y = make_data()
    batches = loader(X, y)
    criterion = torch.nn.MSELoss(reduction=reduction)
    decay = 0.03 / 2 * sum((p**2).sum() for p in net.parameters())
    epoch = sum((criterion(net(a)[:, 0], b) + decay).item() for a, b in batches)
    scale = 8 / 2 if reduction == "mean" else 1 / 2  # ½Σ(f − y)² of a batch is B/2 times its mean
    result = certify_module(net, batches, 0.03, reduction=reduction, tighten=False, starts=50)
    assert result.certificate.primal == pytest.approx(scale * epoch, rel=1e-12)


def test_a_trained_dual_point_tightens_the_bound() -> None:
    """A little off the optimum: the network's own bound is far below, that of a trained one is not."""
    X, y = make_data()
    Z = np.c_[X, np.ones(len(X))]
    best = train(Z, y, 1.0, tol=1e-4)
    off = best.network.U * 1.03
    arrays = (off[:-1], off[-1], best.network.alpha)
    loose = certify_model(arrays, X, y, beta=1.0, starts=500)
    tight = certify_model(arrays, X, y, beta=1.0, tighten=True, starts=500)
    assert tight.certificate.primal == loose.certificate.primal
    assert loose.certificate.lower_bound < tight.certificate.lower_bound <= best.certificate.primal
    assert tight.certificate.relative_gap < 0.01 < 0.05 < loose.certificate.relative_gap
    assert loose.reached is None
    assert tight.reached == pytest.approx(best.certificate.primal, rel=2e-3)
    assert "tighten=True trains for a better one" in str(loose)
    assert f"reached the objective {tight.reached:.8g}" in str(tight)


def test_batches_of_images_are_flattened() -> None:
    net = module()
    import torch

    X, y = make_data()
    images = X[:, None, :, None]
    flat = torch.nn.Sequential(torch.nn.Flatten(), *net)
    by_images = certify_module(flat, loader(images, y), 0.03, tighten=False, starts=50)
    pairs = [(X[:25].tolist(), y[:25]), (X[25:], y[25:].tolist())]  # any iterable of pairs will do
    by_rows = certify_module(net, pairs, 0.03, tighten=False, starts=50)
    assert by_images.certificate.primal == by_rows.certificate.primal


def test_loaders_of_another_kind_are_refused_in_a_sentence() -> None:
    X, y = make_data()
    net = module()
    cases = [
        (loader(X, y), {}, 0.0, "without a penalty"),
        (loader(X[:, :2], y), {}, 0.1, "The module takes 3 columns; the loader gives 2 a sample"),
        ([], {}, 0.1, "gave no batch"),
        ([X], {}, 0.1, r"must give batches \(X, y\); this one gives a ndarray"),
        ([(X, y, y)], {}, 0.1, "gives a tuple of length 3"),
        ([(X, y[:-1])], {}, 0.1, r"the shapes are \(40, 3\) and \(39,\)"),
        ([(X, y), (X[:, :2], y)], {}, 0.1, "different numbers of columns"),
        (loader(X, y), {"reduction": "none"}, 0.1, "reduction must be"),
    ]
    for batches, options, decay, why in cases:
        with pytest.raises(ValueError, match=why) as caught:
            certify_module(net, batches, decay, **options)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="takes a torch module, not a MLPRegressor"):
        certify_module(MLPRegressor(), loader(X, y), 0.1)


def test_the_module_imports_neither_library() -> None:
    code = "import sys, convexnn.interop; print('torch' in sys.modules, 'sklearn' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", "False"]


def test_the_loss_of_labels_is_the_logistic_one() -> None:
    """Binary log-loss of probabilities σ(f) is Σ log(1 + e^{−yf})."""
    f, y = np.array([0.3, -2.0, 1.0]), np.array([1.0, 1.0, -1.0])
    p = 1 / (1 + np.exp(-f))
    cross = -np.sum(np.where(y > 0, np.log(p), np.log(1 - p)))
    assert get_loss("logistic").value(f, y) == pytest.approx(cross, rel=1e-12)
