"""Every row of the family table: it trains, is kept, goes on with the same bits, and holds l0."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from simplecell import estimators
from simplecell.data.planted import planted_dictionary
from simplecell.run.begin import begin, resume
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe
from simplecell.training.prepared import to_model

D, M, WANTED, STEPS, BATCH, SEED = 16, 32, 3, 70, 128, 7
MODERN = [
    f"model.n_latents={M}",
    f"model.target_l0={WANTED}",
    f"train.max_samples={STEPS * BATCH}",
    f"optim.batch_size={BATCH}",
]
WIDTHS = "objective.nested.widths=[8, 32]"


@dataclass(frozen=True)
class Row:
    """A recipe with settings, and the least that so few steps must do."""

    recipe: str
    settings: tuple[str, ...] = ()
    fvu: float = 0.4
    cost: float = 0.6
    """Last over first."""
    l0: tuple[float, float] | None = (0.85, 1.15)
    """Bounds of l0 over the wanted one."""

    @property
    def all_settings(self) -> list[str]:
        common = MODERN if self.l0 else []
        return [*common, "data.held_out=0", f"train.seed={SEED}", *self.settings]

    @property
    def fixed(self) -> bool:
        """Whether exactly so many latents are active of each sample."""
        return self.l0 == (1.0, 1.0)


EXACT = (1.0, 1.0)
STEERED = (0.7, 2.0)
"""A controller needs more steps than these: this says that it works, not how well."""
NO_L0 = None
FAST = (f"train.steps={STEPS}", "optim.learning_rate=0.01")
ROWS = {
    "topk": Row("topk", l0=EXACT),
    "batchtopk": Row("batchtopk"),
    "jumprelu": Row("jumprelu", l0=(0.7, 1.4)),
    "l1, scaled": Row("l1", cost=0.8, l0=STEERED),
    "l1, unit norm": Row("l1", ("optim.unit_norm=true",), l0=STEERED),
    "gated": Row("gated", l0=STEERED),
    "matryoshka": Row("matryoshka", (WIDTHS,)),
    "nested topk": Row("matryoshka", (WIDTHS, "model.activation=topk"), l0=EXACT),
    "nested jumprelu": Row(
        "matryoshka",
        (WIDTHS, "model.activation=jumprelu", "objective.l0.weight=1.0"),
        l0=(0.7, 1.4),
    ),
    "nested relu": Row(
        "matryoshka",
        (WIDTHS, "model.activation=relu", "objective.l1.weight=1.0"),
        fvu=0.5,
        l0=STEERED,
    ),
    "abstopk": Row("abstopk", l0=EXACT),
    "abstopk, revived": Row(
        "abstopk",
        ("model.n_latents=128", f"optim.dead_after={BATCH}", "objective.preact.weight=0.25"),
        l0=EXACT,
    ),
    "abstopk, refined": Row("abstopk", ("optim.refine=2",), l0=EXACT),
    "topk, drawn anew": Row(
        "topk",
        ("model.n_latents=128", "optim.resample=2", f"optim.dead_after={BATCH}"),
        l0=EXACT,
    ),
    "batchtopk, refined": Row("batchtopk", ("optim.refine=3",)),
    "jumprelu, refined": Row("jumprelu", ("optim.refine=2",), l0=(0.5, 1.6)),
    "table": Row("table", ("train.steps=40", f"model.n_latents={M}"), 0.5, 0.6, NO_L0),
    "pca": Row("pca", ("model.n_latents=12", "optim.batch_size=100"), 0.3, 0.3, NO_L0),
    "compress": Row("compress", ("train.steps=40", "model.n_latents=8"), 0.7, 0.6, NO_L0),
    "denoise": Row("denoise", (*FAST, f"model.n_latents={M}"), 0.6, 0.5, NO_L0),
    "variational": Row(  # most of a cross-entropy is the data's own entropy
        "variational",
        (*FAST, "model.n_latents=[16, 4]", "objective.gaussian_kl.weight=0.001"),
        fvu=0.8,
        cost=0.97,
        l0=NO_L0,
    ),
}
MODERN_ROWS = [name for name, row in ROWS.items() if row.l0]
every = pytest.mark.parametrize("name", ROWS)


@dataclass(frozen=True)
class Kept:
    """A finished run, and what the live model said when it ended."""

    run: Run
    result: dict[str, Any]
    costs: list[float]
    tensors: dict[str, torch.Tensor]
    codes: np.ndarray
    recon: np.ndarray


@pytest.fixture(scope="module")
def samples():
    x = planted_dictionary(2500, D, 32, WANTED).x
    return x[:2000], x[2000:]


@pytest.fixture(scope="module")
def path(tmp_path_factory, samples):
    path = tmp_path_factory.mktemp("data") / "x.npy"
    np.save(path, samples[0])
    return path


@pytest.fixture(scope="module")
def kept(tmp_path_factory, path, samples):
    """Each row trained once, when first asked for."""
    folder, found = tmp_path_factory.mktemp("runs"), {}

    def train(name):
        if name not in found:
            found[name] = trained(folder / name, path, ROWS[name], samples[1])
        return found[name]

    return train


def started(out, path, row):
    return begin(path, out, Recipe.load(row.recipe), settings=row.all_settings)


def trained(out, path, row, x):
    one = started(out, path, row)
    costs = [float(record.cost) for record in one.records()]
    result, model = one.finish(), one.trainer.model
    with torch.no_grad():
        prepared = to_model(x, one.trainer.preprocess, model.like)
        output = model(prepared)
        recon = model.decode(model.encode(prepared)[1])
    tensors = {name: tensor.clone() for name, tensor in model.tensors().items()}
    assert torch.equal(recon, output.recon)
    code = output.code.dense.cpu().numpy()
    return Kept(Run(out), result, costs, tensors, code, recon.cpu().numpy())


def weights(run):
    return (run.path / "model.safetensors").read_bytes()


@every
def test_trains_and_falls(kept, name):
    row, one = ROWS[name], kept(name)
    assert np.isfinite(one.costs).all()
    assert one.costs[-1] < row.cost * one.costs[0]
    assert one.result["fvu"] < row.fvu
    if row.l0:
        assert len(one.costs) == STEPS
        assert one.result["dead"] <= (0.2 if len(one.tensors["encoder"]) == M else 0.8)


@every
def test_what_is_loaded_says_what_was_trained(kept, samples, name):
    one, x = kept(name), samples[1]
    loaded = one.run.load()
    for tensor, value in loaded.model.tensors().items():
        assert torch.equal(value, one.tensors[tensor]), tensor
    assert set(loaded.model.tensors()) == set(one.tensors)
    codes = loaded.encode(x)
    np.testing.assert_array_equal(codes, one.codes)
    prepared, recon = loaded.reconstruct(x)
    np.testing.assert_array_equal(recon, one.recon)
    # Through raw rows and dense codes: the same sums in another order.
    raw = loaded.preprocess.invert(torch.from_numpy(recon)).numpy()
    np.testing.assert_allclose(loaded.decode(codes), raw, rtol=1e-4, atol=1e-4)
    assert prepared.shape == recon.shape == x.shape
    # Each sample alone has the code that it has among others.
    alone = np.concatenate([loaded.encode(row[None]) for row in x[:5]])
    np.testing.assert_allclose(alone, codes[:5], rtol=1e-4, atol=1e-5)


@every
def test_resumed_is_uninterrupted(kept, path, tmp_path, name):
    one = started(tmp_path / "cut", path, ROWS[name])
    stop = 29 if ROWS[name].l0 else 11
    for record in one.records():
        if record.step == stop:
            break
    assert one.finish("interrupted")["n_iter"] == stop
    assert weights(one.run) != weights(kept(name).run)
    again = resume(tmp_path / "cut")
    assert again.trainer.n_steps == stop
    for _ in again.records():
        pass
    result = again.finish()
    assert weights(again.run) == weights(kept(name).run)
    for figure in ("cost", "fvu", "l0", "dead", "n_iter", "terms"):
        assert result[figure] == kept(name).result[figure], figure


# A model that follows from the data must follow from them again where no checkpoint was reached.
@pytest.mark.parametrize(
    "name",
    [
        "jumprelu",
        "l1, scaled",
        "variational",
    ],
)
def test_killed_before_the_first_checkpoint_is_uninterrupted(kept, path, tmp_path, name):
    one = started(tmp_path / "killed", path, ROWS[name])
    for record in one.records():
        if record.step == 3:
            break
    one.lock.release()
    del one
    again = resume(tmp_path / "killed")
    for _ in again.records():
        pass
    again.finish()
    assert weights(again.run) == weights(kept(name).run)


@pytest.mark.parametrize("name", MODERN_ROWS)
def test_l0_is_held(kept, samples, name):
    row, one = ROWS[name], kept(name)
    counts = (one.codes != 0).sum(1)
    if row.fixed:
        assert counts.max() == WANTED
        assert (counts == WANTED).mean() > 0.99
        assert one.result["l0"] == pytest.approx(WANTED, rel=0.01)
        return
    low, high = (bound * WANTED for bound in row.l0)
    assert low <= one.result["l0"] <= high
    assert 0.9 * low <= counts.mean() <= 1.1 * high  # samples that it has not seen
    assert counts.std() > 0.2
    codes = one.run.load().encode(samples[0])
    assert one.result["l0"] == pytest.approx((codes != 0).sum(1).mean(), rel=1e-6)


@pytest.mark.parametrize("name", MODERN_ROWS)
def test_atoms_have_length_one_where_that_is_asked(kept, name):
    lengths = kept(name).tensors["decoder"].norm(dim=1)
    if kept(name).run.recipe().optim.unit_norm:
        torch.testing.assert_close(lengths, torch.ones(len(lengths)), rtol=1e-5, atol=1e-5)
    else:
        assert name == "l1, scaled"
        assert lengths.std() > 0.05


HOW: dict[str, Any] = {"max_samples": STEPS * BATCH, "batch_size": BATCH, "random_state": 0}
ESTIMATORS = {
    "topk": ("TopKSparseAutoencoder", {"k": WANTED}),
    "batchtopk": ("TopKSparseAutoencoder", {"k": WANTED, "batchwise": True}),
    "jumprelu": ("JumpReLUSparseAutoencoder", {"target_l0": WANTED}),
    "l1, scaled": ("L1SparseAutoencoder", {"target_l0": WANTED}),
    "l1, unit norm": ("L1SparseAutoencoder", {"target_l0": WANTED, "form": "unit_norm"}),
    "gated": ("GatedSparseAutoencoder", {"target_l0": WANTED}),
    "matryoshka": ("MatryoshkaSparseAutoencoder", {"target_l0": WANTED, "widths": (8, M)}),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_the_estimator_is_the_run(path, samples, tmp_path, name):
    kind, settings = ESTIMATORS[name]
    row = ROWS[name]
    one = begin(
        path,
        tmp_path / "run",
        Recipe.load(row.recipe),
        settings=[*row.all_settings, "train.seed=0", "train.max_samples=1280"],
    )
    for _ in one.records():
        pass
    result = one.finish()
    sae = getattr(estimators, kind)(M, **HOW | {"max_samples": 1280}, **settings)
    codes = sae.fit(samples[0]).transform(samples[1])
    loaded = one.run.load()
    for tensor, value in loaded.model.tensors().items():
        assert torch.equal(sae.model_.tensors()[tensor], value), tensor
    np.testing.assert_array_equal(codes, loaded.encode(samples[1]))
    assert sae.l0_ == pytest.approx(result["l0"], rel=1e-12)
    assert sae.fvu_ == pytest.approx(result["fvu"], rel=1e-12)
    assert sae.n_iter_ == result["n_iter"] == 10


@pytest.mark.parametrize("recipe", ["batchtopk", "gated", "jumprelu", "l1", "matryoshka", "topk"])
def test_latents_that_fire_for_no_sample_come_alive(path, tmp_path, recipe):
    """Where they cannot by themselves: `auxk` sees nothing of a latent that is below 0."""
    dead = {}
    for weight in (0.0, 0.25):
        settings = [
            *MODERN,
            f"train.max_samples={100 * BATCH}",
            f"optim.dead_after={2 * BATCH}",
            "data.held_out=0",
            "train.seed=1",
            f"objective.preact.weight={weight}",
            "optim.learning_rate=0.02",
        ]
        session = begin(path, tmp_path / f"{weight}", Recipe.load(recipe), settings=settings)
        model = session.trainer.model
        with torch.no_grad():
            gated = model.activation.kind == "gated"
            (model.activation.gate_bias if gated else model.bias)[: M // 2] -= 5
        for _ in session.records():
            pass
        x = to_model(np.load(path), session.trainer.preprocess, model.like)
        code = model.encode(x)[1].dense
        dead[weight] = int((code[:, : M // 2] == 0).all(0).sum())
    assert dead[0.0] >= M // 2 - 1
    assert dead[0.25] <= 1
