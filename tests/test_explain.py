"""`explain`: planted truth is found, noise is called noise, and what is found holds elsewhere."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image
from scipy.sparse import csr_array, random_array
from sklearn.datasets import load_diabetes

import simplecell
from simplecell.cli import run_command_line
from simplecell.data import ArraySource, as_source
from simplecell.data.rows import Meta
from simplecell.errors import DataError, UsageError
from simplecell.explain.answer import Samples, corrected, explain
from simplecell.explain.asked import of_values
from simplecell.explain.association import associations
from simplecell.explain.probes import predicted
from simplecell.explain.splits import folds, hold_out
from simplecell.explain.target import Target, groups_of, target_of
from simplecell.explain.told import values_of


def samples_with(codes, inputs=None, on_off=True):
    inputs = codes.toarray() if inputs is None else inputs
    return Samples(
        csr_array(codes),
        lambda rows: inputs[rows],
        lambda rows: [f"row {row}" for row in rows],
        [f"latent{j}" for j in range(codes.shape[1])],
        on_off,
    )


def planted(seed, n=600, n_latents=200, n_true=10, effect=0.55):
    """True codes, those of an encoder that sees them through noise, and what ten of them make."""
    rng = np.random.default_rng(seed)
    truth = random_array((n, n_latents), density=0.1, rng=rng, format="csc")
    truth.data = 1 + truth.data
    y = effect * truth[:, :n_true].sum(1) + rng.normal(size=n)
    seen = truth.copy()
    seen.data = np.maximum(seen.data + rng.normal(scale=0.3, size=seen.nnz), 0.01)
    seen.data[rng.random(seen.nnz) < 0.1] = 0
    seen.eliminate_zeros()
    return truth, seen, y


def discoveries(codes, y):
    """(false ones among all that are called so, share of the ten true ones that are found)."""
    q = corrected(associations(codes, Target("y", y))["p"][:, 0])
    found = np.nan_to_num(q, nan=1.0) <= 0.05
    return found[10:].sum() / max(1, found.sum()), found[:10].mean()


def check_planted(repetitions):
    told = [planted(seed) for seed in range(repetitions)]
    found = [discoveries(seen, y) for _, seen, y in told]
    false, power = np.mean(found, axis=0)
    _, of_truth = np.mean([discoveries(truth, y) for truth, _, y in told], axis=0)
    assert 0.4 < of_truth < 0.999  # neither hopeless nor easy
    assert power > 0.8 * of_truth
    return false, np.std([share for share, _ in found]) / np.sqrt(repetitions)


def test_false_discoveries_are_held_and_power_is_near_that_of_the_true_codes():
    false, error = check_planted(30)
    assert false <= 0.05 + 2 * error


@pytest.mark.slow
def test_false_discoveries_over_200_repetitions():
    false, error = check_planted(200)
    assert error < 0.006
    assert false <= 0.05 + 2 * error


def noise(seed, is_number, n=240):
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(n, 6))
    codes = csr_array(np.maximum(inputs @ rng.normal(size=(6, 24)) - 1.5, 0))
    values = rng.normal(size=n) if is_number else rng.integers(0, 2, n).astype(float)
    return inputs, codes, Target("noise", values, () if is_number else ("no", "yes"))


def said_to_be_noise(seed, is_number):
    inputs, codes, target = noise(seed, is_number)
    return "do not predict" in predicted(inputs, codes, target, None, 0).words("noise")


def test_a_target_of_noise_is_called_that():
    assert sum(said_to_be_noise(seed, seed % 2 == 0) for seed in range(6)) >= 5


@pytest.mark.slow
@pytest.mark.parametrize("is_number", [True, False])
def test_noise_is_called_that_in_95_of_100(is_number):
    assert sum(said_to_be_noise(seed, is_number) for seed in range(100)) >= 95


def test_noise_of_groups_is_called_that_by_groups_alone():
    # Samples of one donor share their inputs and their target, and donors have nothing in common.
    rng = np.random.default_rng(1)
    wrong, right = 0, 0
    for seed in range(3):
        donors = np.arange(30).repeat(20)
        own = rng.normal(size=(30, 6))[donors]
        inputs = own + 0.1 * rng.normal(size=(600, 6))
        codes = csr_array(np.maximum(inputs @ rng.normal(size=(6, 24)) - 1.5, 0))
        target = Target("y", rng.normal(size=30)[donors])
        wrong += predicted(inputs, codes, target, None, seed).yes
        right += not predicted(inputs, codes, target, donors, seed).yes
    assert wrong == 3
    assert right >= 2


def test_what_is_found_is_told_with_its_held_out_effect():
    _, seen, y = planted(0, n=900, n_latents=40, n_true=3, effect=1.0)
    answer = of_values(samples_with(seen), "price", y.tolist())
    assert answer.predicted.yes
    assert answer.verdict.startswith("the data predict 'price': R²")
    table = answer.columns
    assert sorted(table["latent"][:3].tolist()) == [0, 1, 2]
    assert table["holds"][:3].all()
    assert (np.sign(table["held_out_rank_correlation"][:3]) == 1).all()
    assert (np.diff(table["p"]) >= 0).all()
    assert answer.n_seen + answer.n_held_out == 900
    # Figures are those of the samples looked at, and of the others, apart.
    split = hold_out(Target("price", y), None, 0)
    for part, name in zip(split, ("correlation", "held_out_correlation"), strict=True):
        latent = seen.toarray()[part][:, table["latent"][0]]
        assert table[name][0] == pytest.approx(np.corrcoef(latent, y[part])[0, 1])


def test_a_sparse_probe_chooses_its_latents_on_training_samples():
    # 500 latents of noise and 100 samples: the best of them would look good where it was chosen.
    rng = np.random.default_rng(0)
    codes = csr_array(np.maximum(rng.normal(size=(100, 500)) - 1, 0))
    y = rng.normal(size=100)
    answer = predicted(codes.toarray(), codes, Target("y", y), None, 0)
    best = next(probe for probe in answer.probes if probe.name == "the best 16 latents")
    chosen = np.argsort(-np.abs(np.corrcoef(codes.toarray().T, y)[-1, :-1]))[:16]
    there = np.linalg.lstsq(codes.toarray()[:, chosen], y - y.mean())[0]
    dishonest = 1 - np.var(y - y.mean() - codes.toarray()[:, chosen] @ there) / np.var(y)
    assert dishonest > 0.5
    assert best.score < 0.1
    assert not answer.yes


@pytest.mark.parametrize("is_number", [True, False])
def test_groups_are_never_parted(is_number):
    groups = np.arange(90) // 3
    values = np.random.default_rng(0).integers(0, 2, 30).repeat(3).astype(float)
    target = Target("y", values, () if is_number else ("no", "yes"))
    for split in folds(target, groups, 5, 0):
        assert not set(groups[split.seen]) & set(groups[split.held_out])
        assert len(split.seen) + len(split.held_out) == 90


def test_the_split_is_a_function_of_the_seed():
    target = Target("y", np.arange(60.0))
    first, again, other = (hold_out(target, None, seed) for seed in (0, 0, 1))
    assert first.held_out.tolist() == again.held_out.tolist() != other.held_out.tolist()


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        ([1.5, 2.5, 3.5] * 20, ()),
        ([3, 4, 5, 6, 7] * 10, ()),
        ([0, 1, 2] * 20, ("0", "1", "2")),
        ([True, False] * 20, ("False", "True")),
        (["b", "a"] * 20, ("a", "b")),
        ([5, 9] * 20, ("5", "9")),
        (["a", "b"] * 20 + ["rare"] * 3 + [None, "", float("nan")], ("a", "b")),
    ],
)
def test_numbers_and_classes_are_told_apart(values, classes):
    target, rows, notes = target_of("y", values)
    assert target.classes == classes
    told = [values[i] for i in rows]
    assert None not in told
    assert "rare" not in told
    assert len(notes) >= (len(told) < len(values))
    if classes:
        assert [target.classes[int(v)] for v in target.values] == [str(value) for value in told]


def test_as_number_and_as_classes_are_said():
    assert target_of("y", [0, 1, 2] * 20, "number")[0].is_number
    assert target_of("y", [3, 4, 5] * 20, "classes")[0].classes == ("3", "4", "5")
    with pytest.raises(UsageError, match="kind of target"):
        target_of("y", [3, 4, 5] * 20, "numbers")
    with pytest.raises(DataError, match="'b' is none"):
        target_of("y", ["b", 4, 5] * 20, "number")


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(DataError, match="known of 3 samples; at least 30"):
        target_of("y", [1.0, 2.0, 3.0])
    with pytest.raises(DataError, match="fewer than two values"):
        target_of("y", [1.0] * 50)
    with pytest.raises(DataError, match="makes 2 groups"):
        groups_of("donor", ["a", "b"] * 20, 9)
    with pytest.raises(DataError, match="sample 1 has no 'donor'"):
        groups_of("donor", ["a", None], 1)
    codes = random_array((40, 5), density=0.5, rng=np.random.default_rng(0), format="csr")
    with pytest.raises(UsageError, match="39 values of y came for 40 samples"):
        of_values(samples_with(codes), "y", [1.0] * 39)


def test_codes_that_are_never_0_have_no_on_and_off():
    codes = csr_array(np.random.default_rng(0).normal(size=(90, 4)))
    y = np.random.default_rng(1).normal(size=90)
    rows = np.arange(90)
    answer = explain(samples_with(codes, on_off=False), Target("y", y), rows)
    assert "correlation" in answer.columns
    assert "active" not in answer.columns
    assert "difference" not in answer.columns


def write_houses(path):
    """A table with an identifier, a price in dollars, a street with several houses, and inputs."""
    data = load_diabetes(scaled=False)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", *data.feature_names, "price", "kind", "patient"])
        for i, (row, price) in enumerate(zip(data.data, data.target, strict=True)):
            kind = "dear" if price > 140 else "cheap"
            told = [f"H{i:03d}", *row, f"${price * 10:,.0f}", kind, f"p{i // 4}"]
            writer.writerow(told)


@pytest.fixture(scope="module")
def houses(tmp_path_factory):
    folder = tmp_path_factory.mktemp("houses")
    write_houses(folder / "houses.csv")
    told = ["--set", 'data.records=["price", "kind", "patient"]', "--set", "model.n_latents=24"]
    told += ["--set", "preprocess.steps=['standardize']", "--set", "model.target_l0=4"]
    words = ["train", str(folder / "houses.csv"), "--out", str(folder / "run"), "--recipe", "topk"]
    assert run_command_line([*words, *told, "--set", "train.steps=300"]) == 0
    return folder


def asked(folder, capsys, *words):
    """Exit code, standard output and standard error of `explain`."""
    capsys.readouterr()
    told = ["explain", str(folder / "run"), str(folder / "houses.csv"), *words]
    code = run_command_line(told)
    return code, *capsys.readouterr()


def test_what_goes_with_the_price_is_answered_with_held_out_effects(houses, capsys, tmp_path):
    code, out, err = asked(houses, capsys, "--target", "price", "--out", str(tmp_path / "a.csv"))
    assert code == 0
    assert out.startswith("the data predict 'price': R² 0.")
    assert "samples share 111 values of 'patient'" in err
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 24
    assert float(rows[0]["p"]) < 1e-4
    assert rows[0]["holds"] == "True"
    assert abs(float(rows[0]["held_out_rank_correlation"])) > 0.1
    assert "H" in rows[0]["top"]
    assert any(name in " ".join(row["inputs"] for row in rows[:5]) for name in ("bmi", "s5"))


def test_one_json_object_of_classes_with_groups(houses, capsys):
    code, out, err = asked(houses, capsys, "--target", "kind", "--group", "patient", "--json")
    assert code == 0
    told = json.loads(out)
    assert told["command"] == "explain"
    assert told["classes"] == ["cheap", "dear"]
    assert told["n_groups"] == 111
    assert told["predicted"] is True
    assert {row["class"] for row in told["latents"]} == {"dear"}
    assert "odds_ratio_low" not in told["latents"][0]
    assert "share 111 values" not in err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["--target", "bmi"], 2, "'bmi' is an input of this run"),
        (["--target", "prize"], 2, "no record of the data tells 'prize'"),
        (["--target", "id"], 3, "'id' has fewer than two values"),
        (["--target", "price", "--as", "numbr"], 2, "did you mean 'number'?"),
        (["--target", "price", "--out", "a.xlsx"], 2, "unknown suffix of --out '.xlsx'"),
        (["--target", "price", "--group", "kind"], 3, "'kind' makes 2 groups"),
    ],
)
def test_a_wrong_question_is_one_sentence(houses, capsys, words, code, sentence):
    found, out, err = asked(houses, capsys, *words)
    assert found == code
    assert out == ""
    assert sentence in err


def test_an_estimator_explains_as_the_command_does(houses, capsys):
    _, out, _ = asked(houses, capsys, "--target", "price", "--json")
    model = simplecell.load(houses / "run")
    data = load_diabetes(scaled=False, as_frame=True)
    prices = np.round(data.target * 10)
    answer = model.explain(data.data, prices)
    assert answer.target.name == "target"
    first = json.loads(out)["latents"][0]
    assert answer.columns["name"][0] == first["name"]
    assert answer.columns["rank_correlation"][0] == pytest.approx(first["rank_correlation"])
    frame = answer.frame()
    assert list(frame.columns) == list(answer.columns)
    assert len(frame) == 24
    assert json.loads(answer.to_json())["n_held_out"] == answer.n_held_out
    page = answer._repr_html_()
    assert page.count("<tr>") == 7 + 1 + int(np.isfinite(answer.columns["p"]).sum())
    with pytest.raises(UsageError, match="one value a sample"):
        model.explain(data.data, prices.to_numpy()[:, None])


def test_the_codes_of_an_answer_are_those_of_transform():
    x = load_diabetes().data
    told = {"k": 3, "preprocess": ["standardize"], "max_samples": 3000, "random_state": 0}
    model = simplecell.TopKSparseAutoencoder(16, codes="exact", **told).fit(x)
    answer = model.explain(x, load_diabetes().target)
    active = (model.transform(x) != 0).sum(0)
    assert answer.columns["active"].tolist() == active[answer.columns["latent"]].tolist()


def test_names_in_a_page_are_text():
    _, seen, y = planted(0, n=120, n_latents=10, n_true=2)
    page = of_values(samples_with(seen), "<b>price</b>", y.tolist()).to_html()
    assert "<b>price" not in page
    assert "&lt;b&gt;price" in page


def test_one_value_of_a_record_is_a_question_of_its_own(houses, capsys):
    _, whole, _ = asked(houses, capsys, "--target", "kind", "--json")
    code, out, _ = asked(houses, capsys, "--target", "kind=dear", "--json")
    assert code == 0
    told, other = json.loads(out), json.loads(whole)
    assert told["classes"] == ["False", "True"]
    assert [row["auc"] for row in told["latents"]] == [row["auc"] for row in other["latents"]]
    code, _, err = asked(houses, capsys, "--target", "kin=dear")
    assert code == 2
    assert "no record of the data tells 'kin=dear'" in err


def test_entries_of_lists_are_asked_for_one_by_one():
    n = 90
    topics = [["grain", "wheat"] if i % 3 == 0 else ["oil"] if i % 3 == 1 else [] for i in range(n)]
    source = ArraySource(
        np.random.default_rng(0).normal(size=(n, 3)),
        meta=Meta(n, lambda i: {"topics": topics[i]}),
    )
    found = values_of(source, ["topics=wheat"])["topics=wheat"]
    assert found == [i % 3 == 0 for i in range(n)]
    target, rows, _ = target_of("topics=wheat", found)
    assert target.tested == ("True",)
    assert len(rows) == n
    whole, _, _ = target_of("topics", values_of(source, ["topics"])["topics"])
    assert whole.tested == ("grain", "oil", "wheat")
    np.testing.assert_array_equal(whole.columns[:, 2], target.columns[:, 0])


def test_a_picture_has_the_surest_effects_with_what_is_held_out(houses, capsys, tmp_path):
    for name in ("a.png", "a.svg"):
        code, _, _ = asked(houses, capsys, "--target", "price", "--out", str(tmp_path / name))
        assert code == 0
    with Image.open(tmp_path / "a.png") as picture:
        assert picture.width > 600
    assert "<svg" in (tmp_path / "a.svg").read_text()
    _, seen, y = planted(0, n=300, n_latents=30)
    for answer in (
        of_values(samples_with(seen), "y", y.tolist()),
        of_values(samples_with(seen), "$y$", ["dear" if v > y.mean() else "cheap" for v in y]),
    ):
        (panel,) = answer.plot(4).axes
        main = "correlation" if answer.target.is_number else "auc"
        dots = [line for line in panel.lines if line.get_marker() == "o"]
        bars = [line for line in panel.lines[1:] if line.get_marker() != "o"]
        for i in range(4):
            drawn = [dots[2 * i].get_xdata()[0], dots[2 * i + 1].get_xdata()[0]]
            drawn += [*bars[i].get_xdata()]
            names = [main, f"held_out_{main}", f"{main}_low", f"{main}_high"]
            np.testing.assert_equal(drawn, [answer.columns[name][i] for name in names])
        assert len(panel.get_yticklabels()) == 4
    inputs = np.random.default_rng(1).normal(size=(60, 2))
    silent = of_values(samples_with(csr_array((60, 2)), inputs), "y", inputs[:, 0].tolist())
    with pytest.raises(UsageError, match="at least one"):
        silent.plot()


def test_a_column_that_is_no_input_is_said_in_one_word(tmp_path, capsys):
    write_houses(tmp_path / "houses.csv")
    words = ["train", str(tmp_path / "houses.csv"), "--out", str(tmp_path / "run")]
    words += ["--records", "price", "--records", "kind", "--set", "train.steps=3"]
    assert run_command_line(words) == 0
    names = simplecell.load(tmp_path / "run").feature_names_in_.tolist()
    assert "bmi" in names
    assert not {"price", "kind=cheap", "kind=dear"} & {*names}
    capsys.readouterr()
    assert run_command_line([*words, "--set", 'data.records=["bmi"]']) == 2
    assert "--records is data.records said twice" in capsys.readouterr().err
    assert run_command_line([*words[:4], "--records", "prise"]) == 2
    assert "prise" in capsys.readouterr().err


def test_numbers_of_a_csv_of_records_are_numbers_however_they_are_written(tmp_path):
    prices = ["12.50", "9.1", "7", "1200.00", ""] * 20
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(100, 3)))
    rows = [f"{price},{'dear' if i % 2 else 'cheap'}" for i, price in enumerate(prices)]
    (tmp_path / "meta.csv").write_text("price,kind\n" + "\n".join(rows))
    source = as_source(tmp_path / "x.npy", meta=tmp_path / "meta.csv")
    found = values_of(source, ["price", "kind"])
    known = [value for value in found["price"] if value == value]
    assert sorted({*known}) == [7, 9.1, 12.5, 1200]
    assert {*found["kind"]} == {"cheap", "dear"}
    target, among, _ = target_of("price", found["price"])
    assert target.is_number
    assert len(among) == 80
