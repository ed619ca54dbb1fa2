"""`explain` where a sample is of several classes, and where several rows are one sample."""

from __future__ import annotations

import json
import re
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.metrics import roc_auc_score

from simplecell import TopKSparseAutoencoder
from simplecell.cli import run_command_line
from simplecell.errors import DataError, UsageError
from simplecell.explain.asked import of_values
from simplecell.explain.pooling import largest_of, owners_of, pooled
from simplecell.explain.splits import hold_out
from simplecell.explain.target import target_of, targets
from test_explain import samples_with


def topics(seed=0, n=600):
    """Codes [n, 8] of which the first three say which of three topics a sample has."""
    rng = np.random.default_rng(seed)
    members = rng.random((n, 3)) < (0.4, 0.2, 0.08)
    codes = np.maximum(rng.normal(size=(n, 8)) - 0.5, 0)
    codes[:, :3] += 2 * members
    lists = [
        [name for name, on in zip(("oil", "gold", "tea"), row, strict=True) if on]
        for row in members
    ]
    return codes, members, lists


def test_each_class_is_held_against_all_samples_that_are_not_of_it():
    codes, members, lists = topics()
    answer = of_values(samples_with(csr_array(codes)), "topics", lists)
    assert answer.target.classes == ("gold", "oil", "tea")
    split = hold_out(answer.target, None, 0)
    table = answer.columns
    for name, place in (("oil", 0), ("gold", 1), ("tea", 2)):
        for prefix, rows in (("auc", split.seen), ("held_out_auc", split.held_out)):
            own = table[prefix][(table["class"] == name) & (table["latent"] == place)]
            assert own == pytest.approx(roc_auc_score(members[rows, place], codes[rows, place]))
        first = np.flatnonzero(table["class"] == name)[0]
        assert table["latent"][first] == place
    assert answer.predicted.yes
    assert answer.predicted.best.held_out > 0.95


def test_noise_is_called_noise_for_several_classes_as_well():
    said = []
    for seed in range(6):
        _, _, lists = topics(seed, 300)
        codes, _, _ = topics(1000 + seed, 300)
        said.append(of_values(samples_with(csr_array(codes)), "topics", lists).predicted.yes)
    assert sum(said) == 0


def test_samples_of_no_class_count_and_rare_and_general_classes_are_told_of():
    lists = [["all", *(["some"] if i % 2 else [])] for i in range(60)]
    lists[0].append("rare")
    lists += [["all"]] * 3
    target, rows, notes = target_of("kinds", lists)
    assert target.classes == ("some",)
    assert len(rows) == 63
    assert target.columns.sum() == 30
    assert any("2 classes" in note for note in notes)
    assert any("33 samples are of no class" in note for note in notes)
    with pytest.raises(DataError, match="no class that at least 10"):
        target_of("kinds", [["all"]] * 40)
    with pytest.raises(DataError, match="lists, which are no numbers"):
        target_of("kinds", lists, "number")


def test_a_table_of_0_and_1_is_the_same_as_lists():
    codes, members, lists = topics()
    sae = TopKSparseAutoencoder(8, k=3, random_state=0, max_samples=2000).fit(codes)
    import pandas

    table = pandas.DataFrame(members.astype(int), columns=["oil", "gold", "tea"])
    first, second = sae.explain(codes, table), sae.explain(codes, lists)
    for name, values in first.columns.items():
        np.testing.assert_array_equal(values, second.columns[name])
    with pytest.raises(UsageError, match="other values than 0 and 1"):
        sae.explain(codes, table * 2)


def test_rows_of_one_sample_count_by_their_largest_code_and_mean_input():
    rng = np.random.default_rng(0)
    owners = rng.integers(0, 50, 400)
    owners[:50] = np.arange(50)
    codes = rng.normal(size=(400, 7)) * (rng.random((400, 7)) < 0.3)
    expected = np.stack([codes[owners == i].max(0) for i in range(50)])
    np.testing.assert_array_equal(largest_of(csr_array(codes), owners).toarray(), expected)
    inputs = rng.normal(size=(400, 3))
    one = pooled(samples_with(csr_array(codes), inputs), owners)
    some = np.array([3, 3, 49, 0])
    means = np.stack([inputs[owners == i].mean(0) for i in some])
    np.testing.assert_allclose(one.inputs(some), means)
    assert one.titles(some) == ["row 3", "row 3", "row 49", "row 0"]


def test_samples_are_numbered_as_they_appear():
    owners, firsts = owners_of("text", ["b", "b", "a", "c", "a"])
    assert owners.tolist() == [0, 0, 1, 2, 1]
    assert firsts.tolist() == [0, 2, 3]
    with pytest.raises(DataError, match="row 1 has no 'text', which says of each row"):
        owners_of("text", ["b", None])
    for keys in ([1, 1.0, "1", 2], [True, True, "True", False]):
        assert owners_of("text", keys)[0].tolist() == [0, 0, 0, 1]


def test_a_record_that_is_not_there_is_named_with_those_that_are(tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(60, 4)).astype("f4"))
    meta = tmp_path / "meta.jsonl"
    told = [{"doc": i // 2 or None, "kind": "ab"[i % 2], "empty": None} for i in range(60)]
    meta.write_text("\n".join(map(json.dumps, told)))
    words = ["train", tmp_path / "x.npy", "--out", tmp_path / "run", "--recipe", "topk"]
    words += ["--meta", meta, "--set", "train.steps=5", "--set", "model.n_latents=8"]
    assert not run_command_line(list(map(str, words)))
    asked = ["explain", tmp_path / "run", tmp_path / "x.npy", "--meta", meta]
    for more, code, said in (
        (["--target", "kind", "--by", "KEY"], 2, "no record of the data tells 'KEY'"),
        (["--target", "kind", "--by", "empty"], 2, "tells 'empty' (they tell 'kind', 'doc')"),
        (["--target", "kind", "--by", "doc"], 3, "row 0 has no 'doc', which says of each row"),
        (["--target", "kind", "--group", "doc"], 3, "sample 0 has no 'doc'"),
    ):
        capsys.readouterr()
        assert run_command_line(list(map(str, [*asked, *more]))) == code
        assert said in capsys.readouterr().err


def test_tokens_answer_for_their_texts_from_the_command_line(tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows, records = [], []
    for text in range(120):
        kind = "ship" if text % 2 else "shore"
        for position in range(int(rng.integers(1, 6))):
            row = np.abs(rng.normal(size=6))
            row[0] += 6 * (kind == "ship" and position == 0)  # one of its tokens says it
            rows.append(row)
            records.append({"sample": text, "position": position, "kind": kind})
    np.save(tmp_path / "tokens.npy", np.array(rows, dtype=np.float32))
    meta = tmp_path / "tokens.jsonl"
    meta.write_text("".join(json.dumps(one) + "\n" for one in records))
    data, run = str(tmp_path / "tokens.npy"), str(tmp_path / "run")
    told = ["--recipe", "topk", "--set", "model.n_latents=12", "--set", "model.target_l0=2"]
    told += ["--set", "train.steps=100"]
    assert run_command_line(["train", data, "--meta", str(meta), "--out", run, *told]) == 0
    capsys.readouterr()
    asked = ["explain", run, data, "--meta", str(meta), "--target", "kind", "--by", "sample"]
    assert run_command_line([*asked, "--json"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["n_samples"] + answer["n_held_out"] == 120
    assert answer["latents"][0]["class"] == "shore"
    assert answer["latents"][0]["held_out_auc"] < 0.05
    assert f"{len(rows)} rows are parts of 120 samples" in err
    assert run_command_line([*asked[:5], "--rows", "position == 0", "--by", "sample"]) == 2
    assert run_command_line([*asked[:5], "--target", "position", "--by", "sample"]) == 3
    assert "rows that count as one must say the same" in capsys.readouterr().err


def told_of(values, kind="auto"):
    target, known, _ = target_of("y", targets(values), kind)
    return target, known


WORDS = ["oil", "tea"] * 30


@pytest.mark.parametrize(
    "values",
    [
        [float("nan"), *WORDS],
        [None, *WORDS],
        pd.Series([None, *WORDS], dtype="string"),
        pd.Series([None, *WORDS]),
    ],
    ids=["nan", "none", "string", "object"],
)
def test_what_is_not_known_is_no_word(values):
    target, known = told_of(values)
    assert target.classes == ("oil", "tea")
    assert known.tolist() == list(range(1, 61))


def test_truth_values_that_pandas_does_not_know_are_left_out():
    target, known = told_of(pd.Series([None, *[True, False] * 30], dtype="boolean"))
    assert target.classes == ("False", "True")
    assert len(known) == 60


def test_one_column_of_0_and_1_is_one_value_a_sample_and_a_table_may_be_sparse():
    one = np.array([0, 1] * 30)
    assert told_of(one[:, None])[0].classes == ("0", "1")
    assert targets(csr_array(np.c_[one, 1 - one]))[:2] == [["1"], ["0"]]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([{"a": 1}] * 60, "where a word or a number"),
        ([[{"a": 1}]] * 60, "where a word or a number"),
        ([[["a"], ["b"]]] * 60, "where a word or a number"),
        ([10**400 + i for i in range(60)], "beyond"),
        ([1e300 * (i + 1) for i in range(60)], "beyond"),
    ],
)
def test_values_that_cannot_be_a_target_are_refused(values, said):
    with pytest.raises(DataError, match=said):
        told_of(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1, "1", "x"] * 20, "1 and '1', which tables cannot tell apart"),
        ([1.5, "1.5", 2] * 20, "1.5 and '1.5'"),
        ([True, "True", "x"] * 20, "True and 'True'"),
        ([1, True, "x"] * 20, "1 and True"),
        ([["a", 1], ["a"], ["b", "1"]] * 20, "1 and '1'"),
    ],
)
def test_classes_that_look_alike_are_refused(values, said):
    with pytest.raises(DataError, match=re.escape(said)):
        target_of("y", values)


def test_equal_numbers_are_one_class_whatever_their_type():
    values = [np.int64(1), 1, 1.0, 2.0, "x", "x"] * 20
    assert target_of("y", values)[0].classes == ("1", "2.0", "x")
    truths = [True, np.bool_(False), np.True_, False] * 20
    assert target_of("y", truths)[0].classes == ("False", "True")


def test_columns_of_y_with_one_name_are_refused():
    table = pd.DataFrame(np.eye(4, dtype=int), columns=["a", "b", "a", "c"])
    with pytest.raises(UsageError, match="several columns of y are called 'a'"):
        targets(table)
    with pytest.raises(UsageError, match="several columns of y are called '1'"):
        targets(table.set_axis([1, "1", 2, 3], axis=1))


def test_anything_else_than_numbers_is_named_where_they_are_wanted():
    with pytest.raises(DataError, match=r"Decimal\('3'\) is none"):
        told_of([Decimal(3)] * 60, "number")
