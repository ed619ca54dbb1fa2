"""interop.matlab: converted weights give MATLAB's cost, written out here from its formula."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from simplecell import Objective, SparseAutoencoder
from simplecell.errors import UsageError
from simplecell.interop import matlab
from simplecell.interop.matlab import from_trainautoencoder, to_trainautoencoder
from simplecell.model.autoencoder import Autoencoder
from simplecell.training.term import Look

PAGE = (Path(__file__).parents[1] / "docs" / "matlab.md").read_text(encoding="utf-8")
RNG = np.random.default_rng(0)
D, M, N = 6, 4, 50
X = RNG.uniform(size=(N, D))


def matlab_cost(w1, w2, b1, b2, x, options, *, mean_over_inputs=False):
    """E of the documentation; w1 [M, D] and w2 [D, M] as MATLAB holds them, x [D, N]."""
    logsig = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
    code = logsig(w1 @ x + b1[:, None])
    back = w2 @ code + b2[:, None]
    if options.get("DecoderTransferFunction", "logsig") == "logsig":
        back = logsig(back)
    squares = (x - back) ** 2
    error = squares.mean() if mean_over_inputs else squares.sum() / x.shape[1]
    decay = 0.5 * ((w1**2).sum() + (w2**2).sum())
    rho, mean = options["SparsityProportion"], code.mean(axis=1)
    sparsity = rho * np.log(rho / mean) + (1 - rho) * np.log((1 - rho) / (1 - mean))
    return (
        error
        + options["L2WeightRegularization"] * decay
        + options["SparsityRegularization"] * sparsity.sum()
    )


def our_cost(w1, w2, b1, b2, x, parameters):
    """J of the converted parameters, by the package's own objective."""
    model = Autoencoder(
        D,
        M,
        activation=parameters["activation"],
        output=parameters["output"],
        dtype=torch.float64,
    )
    with torch.no_grad():
        for name, value in {"encoder": w1, "decoder": w2.T, "bias": b1, "offset": b2}.items():
            getattr(model, name).copy_(torch.from_numpy(value))
        look = Look(rows := torch.from_numpy(x.T.copy()), rows, model(rows), model)
        objective = Objective.classic(
            weight_decay=parameters["weight_decay"],
            sparsity_weight=parameters["sparsity_weight"],
            target=parameters["target"],
        )
        return sum(float(term.weight * term(look)) for term in objective.terms)


OPTIONS = {
    "defaults": {
        "L2WeightRegularization": 0.001,
        "SparsityRegularization": 1,
        "SparsityProportion": 0.05,
    },
    "digits, first layer": {
        "L2WeightRegularization": 0.004,
        "SparsityRegularization": 4,
        "SparsityProportion": 0.15,
    },
    "linear decoder": {
        "L2WeightRegularization": 0.1,
        "SparsityRegularization": 4,
        "SparsityProportion": 0.05,
        "DecoderTransferFunction": "purelin",
    },
}


@pytest.fixture
def weights():
    return (
        RNG.normal(size=(M, D)),
        RNG.normal(size=(D, M)),
        RNG.normal(size=M),
        RNG.normal(size=D),
    )


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_matlabs_cost_is_twice_ours(weights, options):
    theirs = matlab_cost(*weights, X.T, options)
    ours = our_cost(*weights, X.T, from_trainautoencoder(M, **options))
    assert theirs == pytest.approx(2 * ours, rel=1e-12)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_a_mean_over_inputs_is_another_global_factor(weights, options):
    """The usual mse of other tools: λ and β then weigh D times as much."""
    theirs = matlab_cost(*weights, X.T, options, mean_over_inputs=True)
    converted = from_trainautoencoder(M, error_is_mean_over=D, **options)
    assert theirs == pytest.approx(2 / D * our_cost(*weights, X.T, converted), rel=1e-12)
    plain = from_trainautoencoder(M, **options)
    assert converted["weight_decay"] == pytest.approx(D * plain["weight_decay"])
    assert theirs != pytest.approx(2 / D * our_cost(*weights, X.T, plain), rel=1e-3)


def test_what_is_not_said_is_matlabs_default():
    assert from_trainautoencoder() == from_trainautoencoder(10, **matlab.DEFAULTS)
    found = from_trainautoencoder()
    assert (found["n_latents"], found["max_iter"], found["target"]) == (10, 1000, 0.05)
    assert (found["weight_decay"], found["sparsity_weight"]) == (0.0005, 0.5)
    assert found["preprocess"] == [{"kind": "range", "low": 0.0, "high": 1.0}]


def test_scaled_data_fill_the_decoders_range():
    rows = 100 + 50 * X
    for decoder, low in (("logsig", 0.0), ("purelin", -1.0)):
        parameters = from_trainautoencoder(M, DecoderTransferFunction=decoder, MaxEpochs=2)
        model = SparseAutoencoder(**{**parameters, "verbose": False}, random_state=0).fit(rows)
        scaled, _ = model._trained.reconstruct(rows)
        assert scaled.min() == pytest.approx(low, abs=1e-6)
        assert scaled.max() == pytest.approx(1, abs=1e-6)
    raw = from_trainautoencoder(M, ScaleData=False, MaxEpochs=2, ShowProgressWindow=False)
    model = SparseAutoencoder(**raw, random_state=0).fit(X)
    np.testing.assert_array_equal(model._trained.reconstruct(X)[0], X)


def test_training_falls_to_a_lower_cost_than_it_began_with():
    parameters = from_trainautoencoder(M, MaxEpochs=40, ShowProgressWindow="off", UseGPU="off")
    model = SparseAutoencoder(**parameters, random_state=0).fit(X)
    assert model.cost_curve_[-1] < model.cost_curve_[0]


@given(
    st.integers(1, 500),
    st.floats(0, 10),
    st.floats(0, 10),
    st.floats(0.001, 0.999),
    st.sampled_from(["logsig", "purelin"]),
    st.booleans(),
    st.integers(1, 784),
)
def test_back_again_is_what_it_was(size, decay, sparsity, target, decoder, scale, width):
    options = {
        "DecoderTransferFunction": decoder,
        "L2WeightRegularization": decay,
        "SparsityRegularization": sparsity,
        "SparsityProportion": target,
        "ScaleData": scale,
    }
    ours = from_trainautoencoder(size, error_is_mean_over=width, **options)
    back = to_trainautoencoder(error_is_mean_over=width, **ours)
    assert back.pop("hiddenSize") == size
    assert back == {**matlab.DEFAULTS, **{k: pytest.approx(v) for k, v in options.items()}}


def test_an_estimator_says_itself_in_matlabs_words():
    back = to_trainautoencoder(**SparseAutoencoder(n_latents=25).get_params())
    assert back["L2WeightRegularization"] == pytest.approx(2e-4)
    assert back["SparsityRegularization"] == 6
    assert back["ScaleData"] is True
    linear = SparseAutoencoder(output="linear").get_params()
    assert to_trainautoencoder(**linear)["ScaleData"] is False


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"SparsityProportoin": 0.1}, "did you mean 'SparsityProportion'"),
        ({"maxepochs": 3}, "did you mean 'MaxEpochs'"),
        ({"EncoderTransferFunction": "satlin"}, "EncoderTransferFunction: satlin.*take 'logsig'"),
        ({"DecoderTransferFunction": "satlin"}, "DecoderTransferFunction: satlin"),
        ({"DecoderTransferFunction": "pureline"}, "did you mean 'purelin'"),
        ({"EncoderTransferFunction": "purelin"}, "unknown EncoderTransferFunction"),
        ({"TrainingAlgorithm": "trainlm"}, "L-BFGS minimises the same objective"),
        ({"LossFunction": "mse"}, "did you mean 'msesparse'"),
        ({"ScaleData": "yes"}, "ScaleData is 'yes'"),
        ({"UseGPU": 2}, "UseGPU is 2"),
        ({"SparsityRegularization": "4"}, "a number of at least 0 is needed"),
        ({"L2WeightRegularization": -1}, "at least 0 is needed"),
        ({"error_is_mean_over": 0}, "a whole number of at least 1"),
        ({"EncoderTransferFunction": ["logsig"]}, "unknown EncoderTransferFunction"),
        ({"LossFunction": np.array(["msesparse"])}, "unknown LossFunction"),
        *[({"MaxEpochs": wrong}, "MaxEpochs is .* whole number") for wrong in (0, np.nan, "a")],
        *[({"SparsityProportion": wrong}, "above 0 and below 1") for wrong in (0, 1, 2, np.nan)],
        ({"ScaleData": np.array([True, False])}, "it is True or False"),
    ],
)
def test_what_has_no_counterpart_is_answered(options, words):
    with pytest.raises(UsageError, match=words):
        from_trainautoencoder(5, **options)


@pytest.mark.parametrize("size", [0, -1, 1.5, True, "a", [3, 2], 10**12])
def test_a_size_that_is_none_is_answered(size):
    with pytest.raises(UsageError, match=r"hiddenSize is .*a whole number of at"):
        from_trainautoencoder(size)


def test_switches_of_numpy_are_switches():
    assert from_trainautoencoder(ScaleData=np.False_)["preprocess"] is None
    parameters = {**SparseAutoencoder().get_params(), "tied": np.False_}
    assert to_trainautoencoder(**parameters)["ScaleData"] is True


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"output": []}, r"output=\[\]"),
        ({"activation": np.array(["sigmoid", "tanh"])}, "no activation="),
        ({"preprocess": np.array([1, 2])}, "prepare the data beforehand"),
        ({"n_latents": [3, 2]}, "n_latents is .*whole number"),
        ({"n_latents": "auto"}, "n_latents is 'auto'"),
        ({"max_iter": 1.5}, "max_iter is 1.5"),
        ({"target": 2}, "target is 2; a number above 0 and below 1"),
        ({"activation": "tanh"}, "no activation='tanh'"),
        ({"output": "tanh"}, "output='tanh'"),
        ({"tied": True}, "tied=True"),
        ({"preprocess": ["standardize"]}, "prepare the data beforehand"),
        ({"preprocess": [{"kind": "range", "low": 0.1, "high": 0.9}]}, "no counterpart"),
    ],
)
def test_what_matlab_cannot_do_is_answered(change, words):
    with pytest.raises(UsageError, match=words):
        to_trainautoencoder(**{**SparseAutoencoder().get_params(), **change})


def test_missing_parameters_are_named():
    with pytest.raises(UsageError, match=r"target, sparsity_weight.*get_params"):
        to_trainautoencoder(n_latents=3)


def test_the_page_names_every_option_with_its_default():
    for option, default in matlab.DEFAULTS.items():
        row = re.search(rf"^\| `{option}` \|(.*)\|$", PAGE, re.MULTILINE)
        assert row, option
        word = (
            str(default).lower() if isinstance(default, bool) else f"{default}".removesuffix(".0")
        )
        assert f"`{word}`" in row[1].split("|")[0], option
    for method in ("encode", "decode", "predict", "stack", "plotWeights", "view"):
        assert re.search(rf"^\| `{method}\(", PAGE, re.MULTILINE), method
