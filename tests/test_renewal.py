"""Which latents begin anew, and where; and the path of a training that does so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from simplecell import SparseCoding
from simplecell.data import ArraySource
from simplecell.errors import UsageError
from simplecell.reproduce.compositional import correlation, sources
from simplecell.sparse_coding import L1, Alternation, Path, Smooth, random_dictionary, torus
from simplecell.training.renewal import samples_of, shared_directions, spent

PATH = Path(0.4, 40)


def moments(codes):
    return codes.square().sum(0), (codes**4).sum(0)


def test_the_number_of_samples_that_activity_is_spread_over_by_hand():
    codes = torch.tensor([[2.0, 1, 3, 0], [2, 1, 0, 0], [2, 1, 0, 0], [2, 0, 1, 0]])
    # (9 + 1)² / (81 + 1) for the third; a latent that is never active stands for none.
    assert samples_of(*moments(codes)).tolist() == pytest.approx([4, 3, 100 / 82, 0])


def test_latents_without_a_part_of_their_own_are_spent():
    atoms = torch.eye(9)[[0, 1, 2, 3, 3, 4, 5, 6, 7]]
    codes = torch.ones(20, 9)
    codes[:, 4] = 1.1  # takes over what 3 does, whose atom it shares
    codes[:, 1] = 0  # never active
    codes[1:, 2], codes[0, 2] = 0, 9  # for one sample alone
    codes[:, 5] = 0.4  # 0.16 of what the others do
    found = spent(atoms, *moments(codes), one_sided=True)
    assert found.tolist() == [False, True, True, True, False, True] + 3 * [False]


def test_opposite_atoms_are_two_only_where_codes_have_one_sign():
    atoms, codes = torch.tensor([[1.0, 0], [-1, 0], [0, 1]]), torch.ones(10, 3)
    codes[:, 0] = 2
    assert spent(atoms, *moments(codes), one_sided=True).tolist() == [False, False, False]
    assert spent(atoms, *moments(codes), one_sided=False).tolist() == [False, True, False]


def test_of_equal_ones_the_first_goes_and_one_stays():
    atoms, codes = torch.eye(3)[[0, 0, 0, 1, 2]], torch.ones(10, 5)
    assert spent(atoms, *moments(codes), one_sided=True).tolist() == [True, True] + 3 * [False]


@pytest.mark.parametrize("one_sided", [True, False])
def test_directions_are_those_that_samples_share(one_sided):
    generator = torch.Generator().manual_seed(0)
    truth = torch.linalg.qr(torch.randn(30, 30, generator=generator))[0][:3]
    rest = 0.05 * torch.randn(300, 30, generator=generator)
    for i, atom in enumerate(truth):
        rest[20 * i : 20 * i + 20] += (1 + 0.1 * i) * atom
    if not one_sided:
        rest[:60:2] *= -1
    rest[-1] = 50 * torch.randn(30, generator=generator)  # the largest, and like no other
    found = shared_directions(rest, 5, one_sided=one_sided)
    cosines = found @ truth.T if one_sided else (found @ truth.T).abs()
    assert cosines.amax(0).min() > 0.98
    assert found.norm(dim=1).tolist() == pytest.approx([1] * len(found))
    assert ((found @ found.T).fill_diagonal_(0) <= 0.5).all()
    largest = rest[-1] / rest[-1].norm()
    assert (found @ largest).abs().max() < 0.9


def test_nothing_shared_is_nothing_found():
    assert len(shared_directions(torch.zeros(5, 4), 3, one_sided=True)) == 0
    assert len(shared_directions(torch.eye(8), 3, one_sided=True)) == 0


def test_alpha_falls_evenly_on_a_logarithmic_scale_and_memory_grows():
    path = Path(0.4, 1000)
    alphas = [path.alpha(0.1, step) for step in range(1000)]
    assert alphas[0] == 0.4
    assert alphas[400] == pytest.approx(0.2)
    assert alphas[200] == pytest.approx(math.sqrt(0.4 * 0.2))
    assert alphas[750] == alphas[999] == path.alpha(0.1, 5000) == pytest.approx(0.1)
    assert sorted(alphas, reverse=True) == alphas
    memories = [path.memory(10, step) for step in range(1000)]
    assert memories[0] == pytest.approx(1)
    assert memories[400] == pytest.approx(2)
    assert memories[800] == memories[999] == pytest.approx(10)
    assert sorted(memories) == memories


@pytest.mark.parametrize("steps", [1, 4, 40, 1000, 1001])
def test_latents_begin_anew_evenly_and_no_more_near_the_end(steps):
    path = Path(1.0, steps)
    renewals = [step for step in range(2 * steps) if path.renews(step)]
    assert len(renewals) == min(6, int(0.8 * steps))
    assert all(0 < step < 0.8 * steps + 1 for step in renewals)


def test_sources_in_fewer_inputs_are_found_along_the_path():
    """100 sources in 47 inputs: .56 without the path."""
    data = sources(100, 10, 0)
    settings = {"penalty": "l1", "positive": True, "alpha": 0.02, "max_iter": 120}
    settings |= {"batch_size": 250, "code_iter": 80, "random_state": 0, "device": "cpu"}
    coder = SparseCoding(100, alpha_start=0.2, **settings).fit(data.train.astype(np.float32))
    atoms = coder.components_ / np.linalg.norm(coder.components_, axis=1, keepdims=True)
    assert (data.atoms @ atoms.T).max(1).mean() > 0.98
    truth, x = data.outside
    assert correlation(truth[:1000], coder.transform(x[:1000].astype(np.float32))) > 0.97


def training(**more):
    told = {"path": PATH, "batch_size": 50, "seed": 3, "code_iter": 20} | more
    return Alternation(random_dictionary(30, 12, 0), L1(0.05, positive=True), **told)


@pytest.fixture(scope="module")
def planted():
    draw = np.random.default_rng(0)
    codes = np.where(draw.random((300, 20)) < 0.1, draw.random((300, 20)), 0)
    return ArraySource(codes @ random_dictionary(20, 12, 5).numpy())


@pytest.mark.parametrize("cut", [5, 6, 15])
def test_a_training_goes_on_bit_for_bit_along_its_path(planted, cut):
    whole, first, second = training(), training(), training()
    costs = [float(record.cost) for record in whole.run(planted, 40)]
    before = [float(record.cost) for record in first.run(planted, cut)]
    second.load_state_dict(first.state_dict())
    after = [float(record.cost) for record in second.run(planted, 40)]
    assert before + after == costs
    assert torch.equal(whole.dictionary, second.dictionary)


def test_renewed_latents_are_used_and_the_others_stay(planted):
    alternation = training()
    list(alternation.run(planted, 4))
    alternation.dictionary[7] = alternation.dictionary[8]
    before = alternation.dictionary.clone()
    count = alternation.renew(planted)
    changed = (alternation.dictionary != before).any(1)
    assert count == int(changed.sum()) > 0
    assert bool(changed[7]) != bool(changed[8])
    assert not alternation.gram[changed].any()
    assert not alternation.gram[:, changed].any()
    assert alternation.dictionary.norm(dim=1).max() < 1 + 1e-12


def test_where_all_is_explained_nobody_begins_anew():
    alternation = Alternation(torch.eye(4).double(), L1(0.1, positive=True), path=PATH)
    assert alternation.renew(ArraySource(np.tile(np.eye(4), (10, 1)))) == 0


def test_smooth_codes_follow_a_path_as_well(planted):
    alternation = Alternation(random_dictionary(30, 12, 0), Smooth(0.05), path=PATH, batch_size=50)
    records = list(alternation.run(planted, 40))
    assert alternation.penalty.alpha == pytest.approx(0.05)
    assert float(records[-1].terms["reconstruction"]) < 0.1 * float(
        records[0].terms["reconstruction"]
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alpha_start": 0.05}, "alpha falls from alpha_start"),
        ({"alpha_start": 0}, "alpha_start is 0; a number above 0"),
        ({"alpha_start": -1.0}, "alpha_start is -1.0; a number above 0"),
        ({"alpha_start": "high"}, "alpha_start is 'high'; a number above 0"),
        ({"alpha_start": 1.0, "alpha": 0}, "must be above 0"),
        ({"alpha_start": 1.0, "gamma": 0.1}, "gamma"),
        ({"alpha_start": 1.0, "neighbourhood": 3}, "neighbourhood"),
    ],
)
def test_a_path_that_cannot_be_taken_is_named(changes, words):
    with pytest.raises(UsageError, match=words):
        SparseCoding(9, max_iter=2, **changes).fit(np.random.default_rng(0).random((20, 5)))


def test_a_neighbourhood_is_refused_by_the_training_itself():
    near = Smooth(0.1, groups=torus(16, 3))
    with pytest.raises(UsageError, match="neighbourhood"):
        Alternation(random_dictionary(16, 12, 0), near, path=PATH)
