"""A dictionary that exact codes move: nearer to the truth, and the same however it is cut."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge, orthogonal_mp

from simplecell import TopKSparseAutoencoder
from simplecell.cli import run_command_line
from simplecell.data import ArraySource
from simplecell.data.planted import planted_dictionary
from simplecell.errors import UsageError
from simplecell.model.autoencoder import Autoencoder
from simplecell.model.matching import recovery
from simplecell.model.pursuit import pursued
from simplecell.reproduce.compositional import sources
from simplecell.run.recipe import Recipe
from simplecell.training.dictionary_step import improve_atoms
from simplecell.training.objective import Objective
from simplecell.training.refine import refine, refit_encoder
from simplecell.training.trainer import Trainer
from simplecell.training.weights import initialise

D, M, K = 16, 40, 3
SQUARES = Objective({"reconstruction": {"weight": 1.0}})


@pytest.fixture(scope="module")
def planted():
    return planted_dictionary(600, D, M, K)


def made(**settings):
    told = {"activation": "topk", "k": K, "output": "linear", "pre_bias": True} | settings
    model = Autoencoder(D, M, dtype=torch.float64, **told)
    initialise(model, 0, "transpose")
    return model


def trainer_of(model, **settings):
    told = {"solver": "adam", "batch_size": 100, "unit_norm": True, "learning_rate": 3e-3}
    return Trainer(model, SQUARES, **told | settings)


def nearness(model, planted):
    """Mean over true atoms of the largest cosine with an atom that was learned."""
    atoms = model.decoder.detach() / model.decoder.detach().norm(dim=1, keepdim=True)
    truth = torch.as_tensor(planted.atoms, dtype=torch.float64)
    truth = truth / truth.norm(dim=1, keepdim=True)
    return float((truth @ atoms.T).amax(1).mean())


def test_rounds_find_the_atoms_that_gradients_missed(planted):
    x = torch.as_tensor(planted.x, dtype=torch.float64)
    model, source = made(), ArraySource(planted.x)
    list(trainer_of(model).run(source, 150))
    before, lengths = nearness(model, planted), model.decoder.detach().norm(dim=1)
    for _ in range(5):
        refine(model, x)
    assert nearness(model, planted) > before + 0.25 * (1 - before)
    torch.testing.assert_close(model.decoder.detach().norm(dim=1), lengths)


def test_two_latents_that_are_one_are_parted(planted):
    """And one that is never active begins anew, its encoder with it."""
    x = torch.as_tensor(planted.x, dtype=torch.float64)
    model = made()
    with torch.no_grad():
        model.decoder.copy_(torch.as_tensor(planted.atoms, dtype=torch.float64))
        model.decoder.div_(model.decoder.norm(dim=1, keepdim=True))
        model.decoder[1] = model.decoder[0]
        model.decoder[2] = -model.decoder.sum(0) / model.decoder.sum(0).norm()
    before, lost = nearness(model, planted), model.decoder.detach().clone()
    for _ in range(3):
        refine(model, x, reseed=False)
    stuck = nearness(model, planted)
    for _ in range(6):
        refine(model, x)
    for _ in range(3):
        refine(model, x, reseed=False)
    assert nearness(model, planted) > max(before, 0.99, stuck + 0.005)
    assert float((model.decoder.detach()[2] @ lost[2]).abs()) < 0.9


@pytest.mark.parametrize(("kind", "found"), [("topk", 0), ("abstopk", 12)])
def test_signed_atoms_are_found_where_codes_have_signs(kind, found):
    """Sums of signed atoms: as many latents of at least 0 cannot stand for them."""
    draw = np.random.default_rng(0)
    atoms = draw.normal(size=(16, 10))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    codes = draw.normal(size=(800, 16)) * (draw.random((800, 16)).argsort(1) < 2)
    model = Autoencoder(10, 16, activation=kind, k=2, output="linear", dtype=torch.float64)
    initialise(model, 0, "transpose")
    for step in range(40):
        refine(model, torch.as_tensor(codes @ atoms), reseed=step % 4 == 3 and step < 30)
    cosines = np.abs(atoms @ model.decoder.detach().numpy().T).max(1)
    assert (cosines > 0.99).sum() >= found if found else (cosines > 0.99).sum() <= 8


def test_a_pursuit_is_scikit_learns():
    draw = np.random.default_rng(1)
    atoms = draw.normal(size=(20, 9))
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    x = draw.normal(size=(50, 9))
    mine = pursued(torch.as_tensor(x), torch.as_tensor(atoms), 4, positive=False).numpy()
    theirs = orthogonal_mp(atoms.T, x.T, n_nonzero_coefs=4).T
    np.testing.assert_allclose(mine, theirs, atol=1e-6)
    parts = [
        pursued(torch.as_tensor(row[None]), torch.as_tensor(atoms), 4, positive=False) for row in x
    ]
    np.testing.assert_allclose(torch.cat(parts).numpy(), mine, atol=1e-9)


def test_a_positive_pursuit_ends_where_no_atom_points():
    atoms = torch.eye(3, dtype=torch.float64)
    x = torch.tensor([[1.0, -2.0, 0.5], [-1.0, -1.0, -1.0], [0.0, 0.0, 0.0]], dtype=torch.float64)
    code = pursued(x, atoms, 3, positive=True)
    wanted = torch.tensor([[1.0, 0.0, 0.5], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(code, wanted.double(), atol=1e-8, rtol=0)


def test_the_offset_takes_the_mean_of_what_is_left():
    model = Autoencoder(4, 1, activation="topk", k=1, output="linear", dtype=torch.float64)
    with torch.no_grad():
        model.decoder[0, 0], model.encoder[0, 0] = 1.0, 1.0
    x = torch.full((50, 4), 2.0, dtype=torch.float64)
    x[:, 0] = torch.arange(50)
    refine(model, x)
    assert model.offset[1:].tolist() == pytest.approx([2.0, 2.0, 2.0])


def test_gradients_leave_the_dictionary_alone_from_half_on(planted):
    model, source = made(), ArraySource(planted.x)
    trainer = trainer_of(model, refine=2)
    seen = {}
    for record in trainer.run(source, 80):
        seen[record.step] = (model.decoder.detach().clone(), model.encoder.detach().clone())
    changed = [step for step in range(2, 81) if not torch.equal(seen[step][0], seen[step - 1][0])]
    assert changed == [*range(2, 41), 41, 51]  # before steps 41 and 51 exact codes move it
    assert all(not torch.equal(seen[step][1], seen[step - 1][1]) for step in range(2, 81))


@pytest.mark.parametrize("cut", [40, 45])
def test_cut_off_and_gone_on_with_it_is_the_same(planted, cut):
    source = ArraySource(planted.x)
    whole = trainer_of(made(), refine=2)
    list(whole.run(source, 80))
    first = trainer_of(made(), refine=2)
    for record in first.run(source, 80):
        if record.step == cut:
            break
    again = trainer_of(made(), refine=2)
    again.load_state_dict(first.state_dict())
    list(again.run(source, 80))
    assert torch.equal(again.flat, whole.flat)


def test_each_atom_takes_its_best_place():
    draw = torch.Generator().manual_seed(0)
    codes = torch.rand(200, 5, generator=draw, dtype=torch.float64)
    x = torch.randn(200, 7, generator=draw, dtype=torch.float64)
    start = torch.randn(5, 7, generator=draw, dtype=torch.float64)
    start /= start.norm(dim=1, keepdim=True)

    def error(atoms):
        return float((codes @ atoms - x).square().sum())

    errors = [
        error(improve_atoms(codes.T @ codes, codes.T @ x, start, sweeps=n)) for n in (1, 2, 5)
    ]
    assert error(start) > errors[0] >= errors[1] >= errors[2]


@pytest.mark.parametrize(
    ("settings", "more", "words"),
    [
        ({"tied": True, "pre_bias": False}, {"unit_norm": False}, "tied=False"),
        ({"output": "sigmoid"}, {}, "linear output"),
        ({"activation": "sigmoid", "k": None}, {}, "sparse codes"),
        ({}, {"solver": "lbfgs", "unit_norm": False}, "adam"),
    ],
)
def test_what_cannot_be_refined_says_so(settings, more, words):
    told = {key: value for key, value in settings.items() if value is not None}
    told = {"activation": "topk", "k": K, "output": "linear", "pre_bias": True} | told
    if settings.get("activation") == "sigmoid":
        del told["k"]
    with pytest.raises(UsageError, match=words):
        trainer_of(Autoencoder(D, M, **told), refine=1, **more)


def test_recovery_of_a_whole_training(planted):
    found = []
    for rounds in (0, 4):
        model = made()
        list(trainer_of(model, refine=rounds).run(ArraySource(planted.x), 240))
        found.append(recovery(np.asarray(planted.atoms), model.decoder.detach().numpy()))
    assert found[1].mcc > found[0].mcc


def test_from_the_command_line(planted, tmp_path, capsys):
    np.save(tmp_path / "x.npy", planted.x)
    few = ["--set", "model.n_latents=20", "--set", "model.target_l0=3", "--no-doctor"]
    words = ["train", str(tmp_path / "x.npy"), "--set", "train.steps=20", "--refine", "2"]
    run = tmp_path / "run"
    assert run_command_line([*words, *few, "--out", str(run), "--recipe", "topk"]) == 0
    assert Recipe.load(run / "recipe.toml").optim.refine == 2
    for recipe, more, said in (
        ("table", (), "leave it out, or take such a recipe"),
        ("topk", ("--set", "optim.kind=lbfgs"), "use 'adam'"),
    ):
        capsys.readouterr()
        out = ["--out", str(tmp_path / "no"), "--recipe", recipe]
        assert run_command_line([*words, *out, *more]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["topk", "abstopk", "relu"])
def test_the_encoder_is_the_ridge_regression_of_exact_codes(kind):
    """scikit-learn's, rows stretched to the variance of codes; of codes without a k it stays."""
    draw = np.random.default_rng(0)
    told = {"k": 2} if kind != "relu" else {}
    model = Autoencoder(8, 8, activation=kind, output="linear", pre_bias=True, **told)
    model.double()
    truth = np.where(draw.random((400, 8)).argsort(1) < 2, draw.uniform(1, 2, (400, 8)), 0)
    x = truth + 3  # atoms of length 1 along the inputs, an offset of 3
    with torch.no_grad():
        model.decoder.copy_(torch.eye(8))
        model.encoder.copy_(-torch.eye(8))
        model.offset.fill_(3)
        model.bias.fill_(0.5)
    before = model.encoder.detach().clone()
    refit_encoder(model, torch.as_tensor(x))
    if kind == "relu":
        assert torch.equal(model.encoder, before)
        return
    covariance = np.cov(x.T, bias=True)
    ridge = Ridge(alpha=0.1 * covariance.trace() / 8 * 400).fit(x - 3, truth)
    pre = (torch.as_tensor(x) - 3) @ model.encoder.detach().T + model.bias.detach()
    np.testing.assert_allclose(pre.mean(0), truth.mean(0), atol=1e-9)
    cosines = (model.encoder.detach().numpy() * ridge.coef_).sum(1)
    cosines /= np.linalg.norm(model.encoder.detach(), axis=1) * np.linalg.norm(ridge.coef_, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-9)
    np.testing.assert_allclose(pre.std(0, correction=0), truth.std(0), rtol=1e-9)
    active = (model.encode(torch.as_tensor(x))[1].dense != 0).numpy()
    assert (active == (truth > 0)).mean() > 0.99


def test_on_digits_the_encoder_is_worth_no_less_after_refining():
    pictures = load_digits().data.astype(np.float32)
    scores = []
    for rounds in (0, 8):
        sae = TopKSparseAutoencoder(
            64, k=8, max_samples=60_000, random_state=0, settings={"optim.refine": rounds}
        )
        scores.append(sae.fit(pictures[:1400]).score(pictures[1400:]))
    assert scores[1] > scores[0] - 0.03


def test_from_poor_atoms_loose_rounds_find_what_rounds_of_k_do_not():
    """60 sources in 28 numbers, 6 active: from random atoms."""
    data = sources(60, 6, 0, n_inside=1600, n_outside=1)
    x = torch.as_tensor(data.train, dtype=torch.float32)
    found = {}
    for loose in (True, False):
        model = Autoencoder(x.shape[1], 60, activation="topk", k=6, output="linear", pre_bias=True)
        initialise(model, 0, "transpose")
        for done in range(12):
            refine(model, x, progress=done / 12 if loose else 1.0, reseed=done in (3, 7))
        unit = model.decoder.detach() / model.decoder.detach().norm(dim=1, keepdim=True)
        found[loose] = float((torch.as_tensor(data.atoms).float() @ unit.T).amax(1).mean())
    assert found[True] > 0.98
    assert found[False] < found[True] - 0.05
