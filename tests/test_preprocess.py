"""Preparation against closed forms, scikit-learn's PCA and autograd's Jacobians."""

import copy
import pickle

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch.autograd.functional import jacobian

from simplecell.errors import DataError, RunError, UsageError
from simplecell.preprocess.chain import STEPS, Preprocess
from simplecell.preprocess.moments import Moments, rows_in_cache
from simplecell.run.recipe import Recipe

D = 6
LINEAR = [
    ["center"],
    ["standardize"],
    ["range"],
    ["pca"],
    [{"kind": "pca", "n_components": 3}],
    [{"kind": "pca_whiten", "retained": 0.9}],
    ["zca_whiten"],
    ["remove_dc"],
    ["remove_dc", {"kind": "patch_range", "low": -0.9, "high": 0.9}],
    ["remove_dc", "zca_whiten"],
    ["standardize", "remove_dc", {"kind": "pca", "retained": 0.8}, "range"],
    [],
]
INVERTIBLE = [
    ["center"],
    ["standardize"],
    ["range"],
    [{"kind": "range", "low": -1, "high": 1}],
    [{"kind": "pca", "retained": 1.0}],
    ["pca_whiten"],
    ["zca_whiten"],
    [{"kind": "zca_whiten", "epsilon": 0}],
    ["remove_dc", "zca_whiten"],
    ["standardize", "remove_dc", "pca_whiten", "range"],
    [],
]


def rows(m=500, d=D, seed=0, dtype=torch.float64):
    """Correlated rows [m, d] with unequal means and variances."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(d, d, generator=generator, dtype=torch.float64)
    x = torch.randn(m, d, generator=generator, dtype=torch.float64) @ mixing
    return (x + torch.arange(d)).to(dtype)


def fitted(steps, x):
    return Preprocess(steps).fit(lambda: [x])


def covariance(x):
    centred = x - x.mean(0)
    return centred.T @ centred / len(x)


# --- what each step computes -----------------------------------------------------------------


def test_remove_dc_subtracts_each_samples_own_mean_and_carries_it():
    x = torch.tensor([[1.0, 3.0], [10.0, 20.0]])
    prepared = fitted(["remove_dc"], x).apply(x)
    assert prepared.x.tolist() == [[-1, 1], [-5, 5]]
    assert [c.tolist() for c in prepared.carried] == [[[2], [15]]]


def test_patch_range_by_hand():
    x = torch.zeros(2, 8, dtype=torch.float64)
    x[0, 0], x[1, 3] = 8.0, -8.0
    s = 3 * np.sqrt(128 / 16)  # 8.485: nothing is clipped
    got = fitted(["patch_range"], x).apply(x).x
    torch.testing.assert_close(got, (x / s + 1) * 0.4 + 0.1)
    assert got[0, 1] == pytest.approx(0.5)


def test_patch_range_takes_the_std_over_all_entries():
    x = rows()
    s = 3 * float(x.std(correction=0))
    got = fitted(["patch_range"], x).apply(x).x
    torch.testing.assert_close(got, (x.clamp(-s, s) / s + 1) * 0.4 + 0.1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_patch_range_stays_inside_and_clips(dtype):
    x = rows(dtype=dtype)
    chain = fitted(["remove_dc", "patch_range"], x)
    got = chain.apply(1000 * x).x
    assert got.dtype == dtype
    assert (got.amin(), got.amax()) == (
        torch.tensor(0.1, dtype=dtype),
        torch.tensor(0.9, dtype=dtype),
    )
    wide = fitted([{"kind": "patch_range", "low": -0.9, "high": 0.9}], x).apply(x).x
    assert -0.9 <= wide.min() < 0 < wide.max() <= 0.9


def test_range_maps_the_ends_and_does_not_clip():
    x = torch.tensor([[-2.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    chain = fitted(["range"], x)
    want = torch.tensor([[0.1, 0.5], [0.7, 0.9]], dtype=torch.float64)
    torch.testing.assert_close(chain.apply(x).x, want)
    assert float(chain.apply(x + 4).x.max()) == pytest.approx(1.7)


def test_standardize_leaves_constant_columns_at_zero_and_says_so():
    x = rows()
    x[:, [0, 5]] = torch.tensor([0.1, 1e9], dtype=torch.float64)
    x[:, 2] = torch.where(torch.arange(500) % 2 == 0, 0.3, 0.1 + 0.2)  # rounding, not data
    chain = fitted(["standardize"], x)
    got = chain.apply(x).x
    assert (got[:, [0, 2, 5]] == 0).all()
    torch.testing.assert_close(got[:, 1].std(correction=0), torch.tensor(1.0, dtype=torch.float64))
    assert chain.report() == ["3 columns never change and are left at zero: 0, 2, 5"]
    torch.testing.assert_close(chain.invert(got), x)


def test_pca_whitening_equals_scikit_learn():
    x = rows()
    ours = fitted([{"kind": "pca_whiten", "epsilon": 0}], x).apply(x).x.numpy()
    theirs = PCA(whiten=True, svd_solver="full").fit_transform(x.numpy())
    theirs *= np.sqrt(len(x) / (len(x) - 1))  # it divides by m - 1, we divide by m
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-10)


def test_pca_keeps_the_smallest_number_that_retains_enough():
    """UFLDL's 2-D demonstration, λ = (7.29, 0.69): one component keeps 7.29 / 7.98 = 91.35 %."""
    angle = torch.linspace(0, 2 * np.pi, 1001, dtype=torch.float64)[:-1]
    x = torch.stack([(2 * 7.29) ** 0.5 * angle.cos(), (2 * 0.69) ** 0.5 * angle.sin()], 1)
    turn = torch.tensor([[0.6, 0.8], [-0.8, 0.6]], dtype=torch.float64)
    kept = {r: fitted([{"kind": "pca", "retained": r}], x @ turn).n_outputs for r in (0.91, 0.92)}
    assert kept == {0.91: 1, 0.92: 2}
    chain = fitted([{"kind": "pca", "n_components": 1}], x @ turn)
    torch.testing.assert_close(
        chain.state()["0.eigenvalues"], torch.tensor([7.29, 0.69], dtype=torch.float64)
    )
    torch.testing.assert_close(
        chain.state()["0.matrix"], torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    )
    assert chain.report() == ["PCA kept 1 of 2 components (91.4 % of the variance)"]


def test_signs_do_not_depend_on_the_order_of_the_rows():
    x = rows()
    for steps in (["pca"], ["pca_whiten"]):
        matrix = fitted(steps, x).state()["0.matrix"]
        torch.testing.assert_close(matrix, fitted(steps, x.flip(0)).state()["0.matrix"])
        assert (matrix.gather(1, matrix.abs().argmax(1, keepdim=True)) > 0).all()


@pytest.mark.parametrize("kind", ["pca_whiten", "zca_whiten"])
@pytest.mark.parametrize("epsilon", [0.0, 0.1, 10.0])
def test_whitened_covariance(kind, epsilon):
    x = rows()
    chain = fitted([{"kind": kind, "epsilon": epsilon}], x)
    values, vectors = torch.linalg.eigh(covariance(x))
    basis = vectors if kind == "zca_whiten" else torch.eye(D, dtype=torch.float64)
    got = basis.T @ covariance(chain.apply(x).x) @ basis
    want = values / (values + epsilon)
    torch.testing.assert_close(
        got, torch.diag(want if kind == "zca_whiten" else want.flip(0)), atol=1e-9, rtol=0
    )


def test_zca_is_symmetric_and_leaves_white_data_alone():
    x = rows()
    matrix = fitted(["zca_whiten"], x).state()["0.matrix"]
    assert torch.equal(matrix, matrix.T)
    white = fitted([{"kind": "zca_whiten", "epsilon": 0}], x).apply(x).x
    again = fitted([{"kind": "zca_whiten", "epsilon": 0}], white).apply(white).x
    torch.testing.assert_close(again, white)


@pytest.mark.parametrize("kind", ["pca_whiten", "zca_whiten"])
def test_whitening_does_not_depend_on_the_unit(kind):
    """Signals in volts, of 1e-5: an ε of 0.1 would leave a variance of 1e-9 of each."""
    x = rows(m=300)
    values = torch.linalg.eigvalsh(torch.cov(x.double().T, correction=0)).flip(0)
    first = fitted([kind], x).apply(x).x
    volts = fitted([kind], 1e-5 * x).apply(1e-5 * x).x
    torch.testing.assert_close(volts, first, rtol=1e-6, atol=1e-6)
    variance = torch.linalg.eigvalsh(torch.cov(first.double().T, correction=0)).flip(0)
    expected = values / (values + 0.01 * values.mean())
    torch.testing.assert_close(variance, expected, rtol=1e-4, atol=1e-6)


def test_an_epsilon_of_the_notes_is_taken_as_it_is():
    with pytest.raises(UsageError, match="zca_whiten takes relative or epsilon, not both"):
        Preprocess([{"kind": "zca_whiten", "epsilon": 0.1, "relative": 0.1}])
    assert Recipe.load("color").preprocess.steps == [{"kind": "zca_whiten", "epsilon": 0.1}]


def test_pca_whitening_without_epsilon_leaves_out_what_has_no_variance():
    x = rows()
    chain = fitted(["remove_dc", {"kind": "pca_whiten", "epsilon": 0}], x)
    assert chain.n_outputs == D - 1
    torch.testing.assert_close(
        covariance(chain.apply(x).x), torch.eye(D - 1, dtype=torch.float64), atol=1e-9, rtol=0
    )
    prepared = chain.apply(x)
    torch.testing.assert_close(chain.invert(*prepared), x)


# --- the chain ---------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", INVERTIBLE, ids=str)
def test_invert_undoes_apply(steps):
    x = rows()
    chain = fitted(steps, x)
    new = rows(40, seed=1)
    torch.testing.assert_close(chain.invert(*chain.apply(new)), new, atol=1e-10, rtol=0)


def test_invert_without_carried_takes_dc_as_zero():
    x = rows()
    chain = fitted(["remove_dc"], x)
    torch.testing.assert_close(chain.invert(chain.apply(x).x), x - x.mean(1, keepdim=True))


def test_invert_projects_when_components_were_dropped():
    x = rows()
    for kind in ("pca", "pca_whiten"):
        chain = fitted([{"kind": kind, "retained": 0.8}], x)
        y = chain.apply(x).x
        assert chain.n_outputs == y.shape[1] < D
        back = chain.invert(y)
        torch.testing.assert_close(chain.apply(back).x, y)
        assert 0 < (x - back).square().sum() / (x - x.mean(0)).square().sum() <= 0.2


@pytest.mark.parametrize("steps", LINEAR, ids=str)
def test_pixels_and_atoms_are_autograds_jacobians(steps):
    x = rows()
    chain = fitted(steps, x)
    point = x.mean(0, keepdim=True)  # well inside the clipping
    directions = rows(4, chain.n_outputs, seed=2)
    forward = jacobian(lambda p: chain.apply(p).x[0], point)[:, 0]
    torch.testing.assert_close(chain.pixels(directions), directions @ forward)
    y, carried = chain.apply(point)
    backward = jacobian(lambda p: chain.invert(p, carried)[0], y)[:, 0]
    torch.testing.assert_close(chain.atoms(directions), directions @ backward.T)


def test_pixels_is_times_the_whitening_matrix_and_not_its_inverse():
    x = rows()
    chain = fitted(["zca_whiten"], x)
    encoder = rows(4, seed=3)
    torch.testing.assert_close(chain.pixels(encoder), encoder @ chain.state()["0.matrix"])
    torch.testing.assert_close(chain.atoms(encoder), encoder @ chain.state()["0.inverse"])


@pytest.mark.parametrize("steps", LINEAR, ids=str)
@pytest.mark.parametrize("size", [1, 7, 499])
def test_streaming_equals_whole(steps, size):
    x = rows()
    whole = fitted(steps, x).state()
    streamed = Preprocess(steps).fit(lambda: [x[:0], *x.split(size)]).state()
    assert list(whole) == list(streamed)
    for name in whole:
        torch.testing.assert_close(streamed[name], whole[name], atol=1e-11, rtol=1e-11)


def test_one_pass_for_each_step_that_learns():
    passes = []
    Preprocess(["remove_dc", "center", "pca", "range"]).fit(lambda: passes.append(1) or [rows()])
    assert len(passes) == 2  # of pca the ends are read; centred rows have their own moments
    Preprocess(["remove_dc"]).fit(lambda: passes.append(1) or iter([rows()]))
    assert len(passes) == 3


@pytest.mark.parametrize("kind", ["standardize", "pca", "zca_whiten", "patch_range"])
def test_a_huge_mean_does_not_drown_the_variance(kind):
    x = 1e-3 * rows()
    steps = ["center", kind] if kind == "patch_range" else [kind]
    want, got = fitted(steps, x), Preprocess(steps).fit(lambda: (x + 1e6).split(33))
    name = f"{len(steps) - 1}.inverse"
    torch.testing.assert_close(got.state()[name], want.state()[name], rtol=1e-5, atol=1e-9)


def test_moments_match_numpy():
    x = rows()
    moments = Moments(x.split(17), full=True)
    torch.testing.assert_close(moments.mean, x.mean(0))
    np.testing.assert_allclose(moments.covariance, np.cov(x.T, bias=True), atol=1e-12)
    np.testing.assert_allclose(moments.variance, x.var(0, correction=0), atol=1e-12)
    assert moments.ends == (x.min(), x.max())


def test_moments_are_the_same_bits_in_whatever_batches_rows_come():
    """Whole pieces: a first reading, a fit and an estimator agree."""
    x = torch.randn(3000, 500, generator=torch.Generator().manual_seed(0))
    piece = rows_in_cache(500)
    assert piece == 256
    whole = Moments([x])
    for size in (piece, 4 * piece, 1024):
        other = Moments(x.split(size))
        assert torch.equal(other.mean, whole.mean)
        assert torch.equal(other.variance, whole.variance)
    np.testing.assert_allclose(whole.variance, x.double().var(0, correction=0), rtol=1e-13)
    column = 2.0**30 + torch.randint(0, 2, (3000, 1)).double() * 2.0**-20
    exact = (column - 2.0**30).var(0, correction=0)
    torch.testing.assert_close(Moments([column]).variance, exact, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "steps", [["center", "scale"], ["standardize", "pca"], ["scale", "zca_whiten", "center"]]
)
def test_moments_that_follow_are_not_read(steps):
    x, passes = rows(), []
    chain = Preprocess(steps).fit(lambda: passes.append(1) or [x])
    assert len(passes) == 1
    for i, step in enumerate(steps):  # the slow way: each from a pass of its own
        prepared = Preprocess.from_state(
            chain.steps[:i], {k: v for k, v in chain.state().items() if k[0] in "n012"[: i + 1]}
        )
        alone = fitted([step], prepared.apply(x).x).state()
        for name in ("mean", "matrix"):
            torch.testing.assert_close(
                chain.state()[f"{i}.{name}"], alone[f"0.{name}"], atol=1e-11, rtol=1e-10
            )
    if "pca" not in steps[1]:
        known = Preprocess(steps).raw_moments()
        assert (known is None) == ("zca_whiten" in steps)


@pytest.mark.parametrize("steps", LINEAR, ids=str)
def test_state_round_trip_is_bit_exact(steps):
    x = rows()
    chain = fitted(steps, x)
    state = chain.state()
    other = Preprocess.from_state(chain.steps, state)
    assert other.steps == chain.steps
    assert (other.n_inputs, other.n_outputs) == (chain.n_inputs, chain.n_outputs)
    assert other.report() == chain.report()
    assert torch.equal(other.apply(x).x, chain.apply(x).x)
    assert all(torch.equal(state[name], value) for name, value in other.state().items())
    assert all(t.dtype == torch.float64 and t.is_contiguous() for t in state.values())
    assert len({t.untyped_storage().data_ptr() for t in state.values()}) == len(state)


def test_state_names():
    names = list(fitted(["remove_dc", "zca_whiten"], rows()).state())
    assert names == ["n_inputs", "1.mean", "1.matrix", "1.inverse", "1.eigenvalues"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steps", LINEAR, ids=str)
def test_dtype_is_kept_and_the_argument_is_not_changed(steps, dtype):
    x = rows(dtype=dtype)
    before = x.clone()
    chain = fitted(steps, x)
    prepared = chain.apply(x)
    assert {prepared.x.dtype, *(c.dtype for c in prepared.carried)} == {dtype}
    assert chain.invert(*prepared).dtype == chain.pixels(prepared.x).dtype == dtype
    assert torch.equal(x, before)


def test_float32_is_near_float64():
    x = rows()
    chain = fitted(["remove_dc", "zca_whiten"], x)
    torch.testing.assert_close(
        chain.apply(x.float()).x.double(), chain.apply(x).x, atol=1e-4, rtol=0
    )


def test_inference_mode_does_not_spoil_later_gradients():
    x = rows(dtype=torch.float32)
    with torch.inference_mode():
        chain = fitted(["zca_whiten"], x.clone())
        chain.apply(x)
    leaf = x.clone().requires_grad_()
    chain.apply(leaf).x.sum().backward()
    assert leaf.grad is not None
    assert fitted(["pca"], leaf).state()["0.matrix"].requires_grad is False


def test_copies_and_pickles():
    x = rows()
    chain = fitted(["remove_dc", "pca_whiten"], x)
    chain.apply(x.float())
    for other in (copy.deepcopy(chain), pickle.loads(pickle.dumps(chain))):  # noqa: S301
        assert torch.equal(other.apply(x).x, chain.apply(x).x)


def test_steps_are_explicit_and_survive_a_second_reading():
    chain = Preprocess(["remove_dc", "pca", {"kind": "zca_whiten", "epsilon": 1}])
    assert chain.steps == [
        {"kind": "remove_dc"},
        {"kind": "pca", "retained": 0.99},
        {"kind": "zca_whiten", "epsilon": 1.0},
    ]
    assert Preprocess(chain.steps).steps == chain.steps
    counted = {"kind": "pca_whiten", "n_components": np.int64(3)}
    assert Preprocess([counted]).steps == [
        {"kind": "pca_whiten", "relative": 0.01, "n_components": 3}
    ]
    assert counted == {"kind": "pca_whiten", "n_components": 3}
    for kind in STEPS:
        assert None not in Preprocess([kind]).steps[0].values()


def test_report_says_what_was_found():
    x = torch.tensor([[-2.0, 0.0], [1.0, 2.0]])
    assert fitted(["range"], x).report() == ["range: values from -2 to 2 are mapped to [0.1, 0.9]"]
    assert fitted(["range"], x * 0).report() == ["range: every value is the same, and becomes 0.1"]
    assert fitted(["zca_whiten"], 0.1 * x).report() == [
        "ZCA whitening damps 1 of 2 directions: their variance is below epsilon=0.0001625"
    ]
    still = fitted(["standardize"], torch.zeros(3, 12)).report()
    assert still == [
        "12 columns never change and are left at zero: 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"
    ]


@pytest.mark.parametrize("kind", STEPS)
def test_rows_that_are_all_the_same_give_finite_numbers(kind):
    x = torch.full((3, 4), 2.5)
    chain = fitted([kind], x)
    assert torch.isfinite(chain.apply(x).x).all()
    want = 0 * x if kind == "patch_range" else x
    torch.testing.assert_close(chain.invert(*chain.apply(x)), want)


def test_parameters_follow_the_rows_to_their_device():
    chain = fitted(["remove_dc", "pca_whiten", "range"], rows())
    prepared = chain.apply(torch.empty(2, D, device="meta"))
    assert {prepared.x.device.type, prepared.carried[0].device.type} == {"meta"}
    assert chain.invert(*prepared).device.type == "meta"


# --- errors ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "sentence"),
    [
        (["zca_whitten"], "unknown preparation step 'zca_whitten'; did you mean 'zca_whiten'?"),
        (
            [{"kind": "pca", "retain": 1}],
            "unknown option of pca 'retain'; did you mean 'retained'?",
        ),
        ([{"kind": "center", "epsilon": 1}], "unknown option of center 'epsilon'; (known: kind)"),
        ([{"kind": "zca_whiten", "n_components": 1}], "unknown option of zca_whiten"),
        ([{"kind": "pca", "retained": 0}], "pca needs a fraction above 0 and up to 1 as retained"),
        ([{"kind": "pca", "n_components": 2.0}], "pca needs a whole number of at least 1"),
        ([{"kind": "pca", "n_components": True}], "got True"),
        (
            [{"kind": "pca", "n_components": 2, "retained": 0.9}],
            "retained or n_components, not both",
        ),
        ([{"kind": "zca_whiten", "epsilon": -1}], "a number of at least 0 as epsilon; got -1"),
        ([{"kind": "zca_whiten", "epsilon": "x"}], "a number of at least 0 as epsilon; got 'x'"),
        ([{"kind": "range", "low": 1}], "range needs low < high; got 1.0 and 0.9"),
        ([{"kind": "range", "low": float("nan")}], "range needs a finite number as low; got nan"),
        ([{"epsilon": 1}], "a step is a name or a table with a kind"),
        ([3], "a step is a name or a table with a kind"),
        ("center", "steps is a list, such as ['center']; got 'center'"),
    ],
)
def test_wrong_steps(steps, sentence):
    with pytest.raises(UsageError) as error:
        Preprocess(steps)
    assert sentence in str(error.value)


@pytest.mark.parametrize(
    ("steps", "batches", "sentence"),
    [
        (["center"], [], "there are no rows to fit the preparation on"),
        (["remove_dc"], [torch.zeros(0, 3)], "there are no rows"),
        (["range"], [torch.zeros(3, 0)], "x has samples but no inputs; x.shape is (3, 0)"),
        (
            ["center"],
            [torch.ones(2, 3), torch.ones(2, 4)],
            "4 inputs per sample, but the rows before had 3",
        ),
        (
            ["center"],
            [torch.ones(2, 3), torch.tensor([[1, 2, float("nan")]])],
            "row 2, column 2 (from 0) is nan",
        ),
        (["range"], [torch.tensor([[1, float("inf")]])], "row 0, column 1 (from 0) is inf"),
        (
            ["center"],
            [torch.ones(2, 3, dtype=torch.uint8)],
            "floating-point numbers, but is torch.uint8",
        ),
        (["center"], [torch.ones(3)], "x must have two axes, samples and inputs; x.shape is (3,)"),
        (["center"], [1e200 * rows()], "too large for a variance in float64"),
        (
            [{"kind": "pca", "n_components": 9}],
            [rows()],
            "pca was asked for n_components=9, but the rows have 6",
        ),
        ([{"kind": "pca_whiten", "epsilon": 0}], [torch.ones(3, 4)], "every row is the same"),
        (
            ["remove_dc", {"kind": "zca_whiten", "epsilon": 0}],
            [rows()],
            "1 of 6 directions have no variance",
        ),
    ],
)
def test_data_that_cannot_be_fitted(steps, batches, sentence):
    chain = Preprocess(steps)
    with pytest.raises(DataError) as error:
        chain.fit(lambda: batches)
    assert sentence in str(error.value)
    assert not chain.fitted


def test_singular_zca_says_what_to_do():
    with pytest.raises(DataError, match="use epsilon > 0, or pca_whiten"):
        fitted([{"kind": "zca_whiten", "epsilon": 0}], rows(m=4))


def test_wrong_width_and_use_before_fit():
    chain = fitted(["remove_dc", {"kind": "pca", "n_components": 3}], rows(d=16))
    with pytest.raises(DataError) as error:
        chain.apply(torch.zeros(2, 5))
    assert str(error.value) == (
        "x has 5 inputs per sample, but this model was built for 16; x.shape is (2, 5)"
    )
    for method in (chain.invert, chain.pixels, chain.atoms):
        with pytest.raises(DataError, match="x has 16 inputs per sample, but prepared rows have 3"):
            method(torch.zeros(2, 16))
    with pytest.raises(UsageError, match="carried has 2 statistics a row; the chain takes 1"):
        chain.invert(torch.zeros(2, 3), (torch.zeros(2, 1),) * 2)
    with pytest.raises(UsageError, match=r"not fitted yet: call fit\(batches\) first"):
        Preprocess([]).apply(torch.zeros(2, 5))
    with pytest.raises(UsageError, match="not fitted yet"):
        Preprocess(["center"]).report()


def test_damaged_state():
    chain = fitted(["remove_dc", "zca_whiten"], rows())
    state = chain.state()
    bad = [
        ({"1.matrix": torch.zeros(3, 6)}, "'1.matrix' has shape (3, 6), but its step needs (6, 6)"),
        ({"n_inputs": torch.tensor(5.0)}, "has shape (6,), but its step needs (5,)"),
        ({"1.mean": state["1.mean"] * torch.nan}, "'1.mean' holds values that are not finite"),
        ({"2.mean": state["1.mean"]}, "do not fit its steps: 2.mean"),
    ]
    for change, sentence in bad:
        with pytest.raises(RunError) as error:
            Preprocess.from_state(chain.steps, {**state, **change})
        assert sentence in str(error.value)
    with pytest.raises(RunError, match="n_inputs"):
        Preprocess.from_state([], {})
