"""`simplecell.load(run).model`: preparation and autoencoder as one torch module, without NumPy."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch

import simplecell
from family_runs import KINDS, OUTPUTS, D, samples
from simplecell import SparseAutoencoder, StackedAutoencoder, TopKSparseAutoencoder
from simplecell.errors import DataError
from simplecell.interop.onnx import left_behind
from simplecell.run.whole import WholeModel

every = pytest.mark.parametrize("kind", KINDS)


def close(found, wanted, share):
    """Within a share of the largest number wanted."""
    found, wanted = (np.asarray(one, dtype=np.float64) for one in (found, wanted))
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= share * np.abs(wanted).max()


@every
def test_it_says_what_the_run_says(run_of, kind):
    run, x = run_of(kind), samples(50, seed=5)
    trained, model = run.load(), simplecell.load(run.path).model
    codes = model.encode(torch.from_numpy(x))
    close(codes, trained.encode(x), 1e-6)
    close(model.decode(codes), trained.decode(trained.encode(x)), 1e-6)
    close(model(torch.from_numpy(x)), trained.decode(trained.encode(x)), 1e-6)
    close(model.atoms(), trained.atoms(), 1e-6)
    assert (model.n_inputs, model.n_latents) == (D, trained.model.n_latents)
    assert model.n_outputs == (OUTPUTS if kind == "transcoder" else D)
    exact = copy.deepcopy(model).double()
    far = x.astype(np.float64)
    close(exact.encode(torch.from_numpy(far)), trained.encode(far), 1e-12)
    close(exact(torch.from_numpy(far)), trained.decode(trained.encode(far)), 1e-12)


@every
def test_gradients_are_those_of_small_differences(run_of, kind):
    model = run_of(kind).load().module(torch.float64)
    # Where the slope is no slope: a code that begins or ends within the difference.
    x = torch.from_numpy(samples(3, seed=8)).double().requires_grad_()
    assert torch.autograd.gradcheck(model.encode, x, eps=1e-7, atol=1e-5)
    assert torch.autograd.gradcheck(model, x, eps=1e-7, atol=1e-5)
    codes = model.encode(x.detach()).requires_grad_()
    assert torch.autograd.gradcheck(model.decode, codes, eps=1e-6, atol=1e-5)


@every
def test_in_single_precision_too(run_of, kind):
    """By hand, along one direction, against the float64 answer."""
    trained = run_of(kind).load()
    x, along = torch.from_numpy(samples(20, seed=8)), torch.from_numpy(samples(20, seed=9)) - 0.5
    single = x.clone().requires_grad_()
    recon = trained.module()(single)
    weights = torch.arange(recon.numel()).reshape(recon.shape).sin()
    (recon * weights).sum().backward()
    exact, step = trained.module(torch.float64), 1e-7
    near, far = (exact(x.double() + sign * step * along) for sign in (-1, 1))
    slope = ((far - near) * weights).sum() / (2 * step)
    found = (single.grad.double() * along).sum()
    assert found == pytest.approx(float(slope), rel=2e-3, abs=1e-3)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_what_comes_back_has_the_precision_of_what_went_in(run_of, dtype):
    model = simplecell.load(run_of("topk").path).model
    x = torch.from_numpy(samples(6, seed=3)).to(dtype).requires_grad_()
    codes = model.encode(x)
    recon = model(x)
    assert codes.dtype == recon.dtype == model.decode(codes).dtype == dtype
    # Computed in float32: only what comes in and goes out is rounded.
    wanted = model.encode(x.detach().float())
    close(codes.detach().double(), wanted, 2 * torch.finfo(dtype).eps + 1e-7)
    recon.float().square().sum().backward()
    assert x.grad.dtype == dtype
    assert bool((x.grad != 0).any())


def test_a_module_in_half_precision_still_prepares_finely(run_of):
    run, x = run_of("sigmoid"), torch.from_numpy(samples(40, seed=3))
    half = run.load().module(torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.encode(x.bfloat16()).dtype == torch.bfloat16
    assert half.encode(x).dtype == torch.float32
    close(half.encode(x), run.load().module().encode(x), 0.02)


@pytest.mark.parametrize("shape", [(D,), (1, D), (0, D), (2, 3, D), (2, 0, D), (2, 1, 3, D)])
def test_any_leading_shape(run_of, shape):
    for kind in ("topk", "sigmoid, patches", "deep"):
        model = run_of(kind).load().module()
        x = torch.from_numpy(samples(12, seed=4)).flatten()[: int(np.prod(shape))].reshape(shape)
        codes = model.encode(x)
        assert codes.shape == (*shape[:-1], model.n_latents)
        assert model.decode(codes).shape == model(x).shape == shape
        flat = model.encode(x.reshape(-1, D))
        assert torch.equal(codes.reshape(flat.shape), flat)
        turned = x.transpose(0, -2) if x.ndim > 2 else x  # not contiguous
        assert model.encode(turned).shape == (*turned.shape[:-1], model.n_latents)


def test_a_column_far_from_zero_is_prepared_in_its_own_precision():
    random = np.random.default_rng(0)
    X = random.standard_normal((300, 8))
    X[:, 0] += 1.7e9
    sae = TopKSparseAutoencoder(16, k=2, max_samples=3000, random_state=0).fit(X)
    # In float64 the estimator computes in float64 throughout; here the model itself is float32.
    close(sae.model.encode(torch.from_numpy(X)), sae.transform(X), 1e-4)


def test_its_weights_are_its_own(run_of):
    sae = simplecell.load(run_of("topk").path)
    x = samples(5)
    before, model = sae.transform(x), sae.model
    assert sae.model is model
    assert isinstance(model, WholeModel)
    assert not any(p.requires_grad for p in model.parameters())
    assert not model.encode(torch.from_numpy(x)).requires_grad
    model.requires_grad_(True)
    model(torch.from_numpy(x)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())
    with torch.no_grad():
        for p in model.double().parameters():
            p.zero_()
    np.testing.assert_array_equal(sae.transform(x), before)
    assert torch.equal(sae.model_.encoder, run_of("topk").load().model.encoder)


def test_its_codes_are_the_encoder_s_where_transform_gives_exact_ones():
    X = samples(200)
    how = {"k": 2, "max_samples": 2000, "random_state": 0}
    exact = TopKSparseAutoencoder(16, codes="exact", **how).fit(X)
    plain = TopKSparseAutoencoder(16, **how).fit(X)
    close(exact.model.encode(torch.from_numpy(X)), plain.transform(X), 1e-6)
    assert np.abs(exact.transform(X) - plain.transform(X)).max() > 1e-3
    assert left_behind(exact._trained, "both") == [
        "exact codes: those of the file are the encoder's"
    ]
    assert left_behind(plain._trained, "both") == []


def test_every_estimator_that_is_fitted_has_it():
    X = samples(60)
    for estimator in (
        SparseAutoencoder(n_latents=5, max_iter=3),
        StackedAutoencoder((6, 4), max_iter=3, fine_tune_iter=2),
    ):
        assert not hasattr(estimator, "model")
        first = estimator.fit(X).model
        close(first.encode(torch.from_numpy(X)), estimator.transform(X), 1e-6)
        again = pickle.loads(pickle.dumps(estimator))  # noqa: S301
        close(again.model.encode(torch.from_numpy(X)), estimator.transform(X), 1e-6)
        assert estimator.fit(X[:50]).model is not first


def test_what_does_not_fit_is_one_sentence(run_of):
    model = run_of("topk").load().module()
    for wrong in (torch.zeros(2, D - 1), torch.zeros(()), torch.zeros(2, D, dtype=torch.int64)):
        with pytest.raises(
            DataError, match=rf"this model has {D} inputs: .* \(…, {D}\) are needed"
        ):
            model.encode(wrong)
    with pytest.raises(DataError, match="this model has 30 latents"):
        model.decode(torch.zeros(2, D))
    with pytest.raises(DataError, match=r"are on meta and this model is on cpu; move one of them"):
        model.encode(torch.zeros(2, D, device="meta"))


def test_it_works_inside_inference_mode_and_autocast(run_of):
    model = run_of("tanh, whitened").load().module()
    x = torch.from_numpy(samples(5))
    with torch.inference_mode():
        codes = model.encode(x)
    later = x.clone().requires_grad_()
    model(later).sum().backward()
    close(model.encode(x), codes, 1e-7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        close(model.encode(x).float(), codes, 0.05)
