"""Every statistic of `explain` over sparse codes is SciPy's, scikit-learn's or its definition."""

from __future__ import annotations

import itertools
import tracemalloc

import numpy as np
import pytest
from scipy import stats
from scipy.sparse import csc_array, random_array
from sklearn.metrics import roc_auc_score

from simplecell.explain.answer import corrected
from simplecell.explain.association import FEWEST_ACTIVE, associations
from simplecell.explain.clusters import correlations, errors
from simplecell.explain.probes import beyond_chance, score_of
from simplecell.explain.ranks import Ranks
from simplecell.explain.target import Target

N, M = 240, 9


@pytest.fixture(scope="module")
def codes():
    """Codes [N, M] with ties and negative values; one is never 0, one never varies, one is rare."""
    rng = np.random.default_rng(0)
    dense = random_array((N, M), density=0.4, rng=rng, format="csc").toarray()
    dense = np.round(dense * 6 - 2 * (dense > 0))
    dense[:, 3] = rng.normal(size=N)
    dense[:, 4] = 0.1
    dense[:, 5] = 0
    dense[:3, 5] = 1.0
    return dense


@pytest.fixture(scope="module")
def numbers(codes):
    return np.round(np.random.default_rng(1).normal(size=N) + codes[:, 0] / 3, 1)


@pytest.fixture(scope="module")
def classes(codes):
    return (np.random.default_rng(2).integers(0, 3, N) + (codes[:, 1] > 0)) % 3


def sparse(dense):
    found = csc_array(dense)
    found.eliminate_zeros()
    return found


def test_ranks_equal_scipys(codes):
    ranks = Ranks.of(sparse(codes))
    whole = ranks.shifted.toarray() + ranks.of_zeros
    np.testing.assert_allclose(whole, stats.rankdata(codes, axis=0))
    for j, latent in enumerate(codes.T):
        assert ranks.tied[j] == sum(t**3 - t for t in np.unique(latent, return_counts=True)[1])
        best = ranks.top(j, 3)
        assert latent[best].tolist() == sorted(latent[latent != 0], reverse=True)[:3]


def test_effects_on_numbers_equal_scipys(codes, numbers):
    found = associations(sparse(codes), Target("y", numbers))
    for j in (0, 1, 2, 3, 6, 7, 8):
        latent, on = codes[:, j], codes[:, j] != 0
        plain, ranked = stats.pearsonr(latent, numbers), stats.spearmanr(latent, numbers)
        interval = plain.confidence_interval()
        expected = {
            "correlation": plain.statistic,
            "correlation_low": interval.low,
            "correlation_high": interval.high,
            "rank_correlation": ranked.statistic,
            "p": ranked.pvalue,
        }
        if not on.all():
            welch = stats.ttest_ind(numbers[on], numbers[~on], equal_var=False)
            interval = welch.confidence_interval()
            expected["difference"] = numbers[on].mean() - numbers[~on].mean()
            expected |= {"difference_low": interval.low, "difference_high": interval.high}
        for name, value in expected.items():
            assert found[name][j, 0] == pytest.approx(value, rel=1e-9), (name, j)


def test_what_cannot_be_tested_has_no_figures(codes, numbers):
    found = associations(sparse(codes), Target("y", numbers))
    assert (codes[:, 5] != 0).sum() < FEWEST_ACTIVE
    assert np.isnan(found["p"][[4, 5], 0]).all()
    assert np.isnan(found["difference"][[3, 4, 5], 0]).all()
    assert np.isfinite(found["p"][[0, 1, 2, 3, 6, 7, 8], 0]).all()


def test_effects_on_classes_equal_scipys_and_scikit_learns(codes, classes):
    found = associations(sparse(codes), Target("y", classes.astype(float), ("a", "b", "c")))
    for j, k in itertools.product((0, 1, 2, 3, 6, 7, 8), range(3)):
        latent, inside = codes[:, j], classes == k
        test = stats.mannwhitneyu(latent[inside], latent[~inside], method="asymptotic")
        assert found["auc"][j, k] == pytest.approx(roc_auc_score(inside, latent))
        assert found["p"][j, k] == pytest.approx(test.pvalue, rel=1e-9)
        on = latent != 0
        if on.all():
            continue
        table = [[(a & b).sum() for b in (inside, ~inside)] for a in (on, ~on)]
        ratio = stats.contingency.odds_ratio(np.array(table), kind="sample")
        interval = ratio.confidence_interval()
        assert found["odds_ratio"][j, k] == pytest.approx(ratio.statistic)
        assert found["odds_ratio_low"][j, k] == pytest.approx(interval.low)
        assert found["odds_ratio_high"][j, k] == pytest.approx(interval.high)
        assert found["lift"][j, k] == pytest.approx(inside[on].mean() / inside.mean())


def test_the_interval_of_an_auc_is_delongs(codes, classes):
    found = associations(sparse(codes), Target("y", classes.astype(float), ("a", "b", "c")))
    for j, k in itertools.product((0, 3, 7), range(3)):
        mine, others = codes[classes == k, j], codes[classes != k, j]
        wins = (mine[:, None] > others) + (mine[:, None] == others) / 2
        variance = wins.mean(1).var(ddof=1) / len(mine) + wins.mean(0).var(ddof=1) / len(others)
        ends = wins.mean() + np.array([-1, 1]) * stats.norm.ppf(0.975) * np.sqrt(variance)
        assert found["auc_low"][j, k] == pytest.approx(ends[0])
        assert found["auc_high"][j, k] == pytest.approx(ends[1])


def test_two_classes_are_tested_once(codes, classes):
    two = Target("y", (classes == 1).astype(float), ("no", "yes"))
    assert two.tested == ("yes",)
    assert associations(sparse(codes), two)["auc"].shape == (M, 1)


def test_errors_of_groups_are_those_of_a_clustered_regression(codes, numbers):
    groups = np.arange(N) // 8
    error, p = errors(sparse(codes), numbers[:, None], groups)
    y = numbers - numbers.mean()
    for j in (0, 3, 7):
        x = codes[:, j] - codes[:, j].mean()
        slope = x @ y / (x @ x)
        meat = sum(((x * (y - slope * x))[groups == g].sum()) ** 2 for g in range(30))
        by_hand = np.sqrt(30 / 29 * (N - 1) / (N - 2) * meat) / (x @ x)
        assert error[j, 0] == pytest.approx(by_hand * np.sqrt((x @ x) / (y @ y)))
        assert p[j, 0] == pytest.approx(2 * stats.t.sf(abs(slope / by_hand), 29))


def test_with_groups_p_does_not_mind_that_rows_are_copied():
    # 40 samples, each copied 25 times: what copies add is no evidence.
    rng = np.random.default_rng(3)
    counted, clustered = [], []
    for _ in range(40):
        latent, y = rng.normal(size=(2, 40)).repeat(25, axis=1)
        groups = np.arange(40).repeat(25)
        target = Target("y", y)
        counted.append(associations(sparse(latent[:, None]), target)["p"][0, 0])
        clustered.append(associations(sparse(latent[:, None]), target, groups)["p"][0, 0])
    assert np.mean(np.array(counted) < 0.05) > 0.4
    assert np.mean(np.array(clustered) < 0.05) < 0.2


@pytest.mark.parametrize("is_number", [True, False])
def test_groups_of_one_give_nearly_the_intervals_of_rows(codes, numbers, classes, is_number):
    two = Target("y", (classes == 1).astype(float), ("no", "yes"))
    target = Target("y", numbers) if is_number else two
    rows = associations(sparse(codes), target)
    groups = associations(sparse(codes), target, np.arange(N))
    for name in (name for name in groups if name.endswith(("_low", "_high"))):
        for j in (0, 7):
            main = name.rsplit("_", 1)[0]
            width = rows[name][j, 0] - rows[main][j, 0]
            assert groups[name][j, 0] - groups[main][j, 0] == pytest.approx(width, rel=0.25)


def test_correction_is_scipys_over_what_was_tested():
    p = np.array([0.01, np.nan, 0.04, 0.03])
    q = corrected(p)
    np.testing.assert_allclose(q[[0, 2, 3]], stats.false_discovery_control([0.01, 0.04, 0.03]))
    assert np.isnan(q[1])


@pytest.mark.parametrize("width", [1, 3])
def test_chance_is_that_of_permutations(width):
    rng = np.random.default_rng(4)
    guess = rng.normal(size=(60, width))
    actual = 0.25 * guess / width + rng.normal(size=(60, width))
    ranked = [stats.rankdata(part, axis=0) for part in (guess, actual)]
    observed = (ranked[0] * ranked[1]).sum()
    drawn = [(ranked[0] * rng.permutation(ranked[1])).sum() for _ in range(4000)]
    share = np.mean(np.array(drawn) >= observed)
    assert 0.0005 < share < 0.4
    assert beyond_chance(guess, actual) == pytest.approx(share, abs=0.02)


@pytest.mark.slow
def test_a_hundred_thousand_rows_take_no_dense_codes():
    rng = np.random.default_rng(5)
    codes = random_array((100_000, 4096), density=32 / 4096, rng=rng, format="csc")
    y = rng.normal(size=100_000) + np.asarray(codes[:, [7]].todense())[:, 0] * 3
    tracemalloc.start()
    found = associations(codes, Target("y", y))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100_000 * 4096 * 8 / 4
    assert found["p"][:, 0].argmin() == 7


def test_correlations_keep_their_sense_far_from_zero(numbers):
    latent = 1e6 + numbers * 1e-3
    assert correlations(sparse(latent[:, None]), numbers[:, None])[0, 0] == pytest.approx(1.0)


def test_the_score_of_classes_is_scikit_learns(classes):
    guess = np.round(np.random.default_rng(6).normal(size=(N, 3)), 1)
    target = Target("y", classes.astype(float), ("a", "b", "c"))
    expected = roc_auc_score(np.eye(3)[classes], guess, average="macro")
    assert score_of(guess, target) == pytest.approx(expected)
    lacking = Target("y", np.minimum(classes, 1).astype(float), ("a", "b", "c"))
    expected = np.mean([roc_auc_score(lacking.values == c, guess[:, c]) for c in (0, 1)])
    assert score_of(guess, lacking) == pytest.approx(expected)
