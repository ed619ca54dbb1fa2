"""Rows by their codes: lists by strength, nearest rows, and the file that is mapped."""

from __future__ import annotations

import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from sklearn.neighbors import NearestNeighbors

from simplecell import CompressionAutoencoder, Index, TopKSparseAutoencoder, cli, load
from simplecell.data.planted import planted_dictionary
from simplecell.errors import DataError, UsageError

N, D, M = 300, 12, 32


@pytest.fixture(scope="module")
def samples():
    return planted_dictionary(N, D, 24, 3).x


@pytest.fixture(scope="module")
def sae(samples):
    return TopKSparseAutoencoder(M, k=3, max_samples=40_000, random_state=0).fit(samples)


@pytest.fixture(scope="module")
def index(sae, samples):
    return sae.index(samples)


@pytest.fixture(scope="module", params=["memory", "file"])
def either(request, index, tmp_path_factory):
    if request.param == "memory":
        return index
    path = tmp_path_factory.mktemp("index") / "f.npz"
    index.save(path)
    return Index.open(path)


def test_lists_hold_every_entry_by_strength(either, sae, samples):
    codes = sae.transform(samples)
    for latent in range(M):
        rows, strength = either.rows_of(latent, N)
        column = codes[:, latent]
        assert sorted(rows) == np.flatnonzero(column).tolist()
        np.testing.assert_array_equal(strength, column[rows])
        assert (np.diff(strength) <= 0).all()
    few = either.rows_of(3, 2)
    np.testing.assert_array_equal(few.rows, either.rows_of(3, N).rows[:2])


def test_codes_come_back_row_by_row(either, sae, samples):
    rows = [7, 0, 299, 7]
    np.testing.assert_array_equal(either.codes_of(rows).toarray(), sae.transform(samples)[rows])


@pytest.mark.parametrize("sparse", [False, True])
def test_nearest_rows_are_those_of_scikit_learn(either, sae, samples, sparse):
    codes = sae.transform(samples)
    asked = sae.transform(samples[:40] + 0.05)
    theirs = NearestNeighbors(n_neighbors=10, metric="cosine", algorithm="brute").fit(codes)
    distances, _ = theirs.kneighbors(asked)
    found = either.nearest(scipy.sparse.csr_matrix(asked) if sparse else asked)
    there = found.rows >= 0
    np.testing.assert_allclose(found.values[there], 1 - distances[there], atol=1e-6)
    assert (1 - distances[~there] < 1e-6).all()  # rows that share no latent are no hits
    for row, cosine, code in zip(found.rows[:5, 0], found.values[:5, 0], asked[:5], strict=True):
        own = codes[row]
        expected = own @ code / (np.linalg.norm(own) * np.linalg.norm(code))
        assert cosine == pytest.approx(expected, rel=1e-5)


def test_questions_by_parts_are_those_at_once(index, sae, samples, monkeypatch):
    from simplecell.explain import index as module

    codes = sae.transform(samples[:50])
    whole = index.nearest(codes)
    monkeypatch.setattr(module, "_AT_ONCE", 7 * N)
    parts = index.nearest(codes)
    np.testing.assert_array_equal(whole.rows, parts.rows)
    np.testing.assert_array_equal(whole.values, parts.values)


def test_a_row_is_no_neighbour_of_itself(either, index):
    near = either.nearest_to([5, 17], n=4)
    both = index.nearest(index.codes_of([5, 17]), n=5)
    assert both.rows[:, 0].tolist() == [5, 17]
    np.testing.assert_array_equal(near.rows, both.rows[:, 1:])


def test_twins_do_not_push_a_neighbour_out(sae, samples):
    twins = np.repeat(samples[:3], 6, axis=0)
    near = sae.index(twins).nearest_to([5], n=3)
    assert near.rows.shape == (1, 3)
    assert near.rows[0].tolist() == [0, 1, 2]
    np.testing.assert_allclose(near.values, 1, atol=1e-6)


def test_by_latents_with_weights(index, sae, samples):
    codes = sae.transform(samples)
    asked = np.zeros((1, M))
    asked[0, [4, 9]] = 1.0, 0.5
    found = index.nearest(index.weighed({4: 1.0, 9: 0.5}), 5)
    np.testing.assert_array_equal(found.rows, index.nearest(asked, 5).rows)
    best = found.rows[0, 0]
    assert codes[best, [4, 9]].max() > 0


def test_shared_latents_are_those_of_the_largest_products(index, sae, samples):
    codes = sae.transform(samples)
    row = int(index.nearest_to([3], 1).rows[0, 0])
    products = codes[3] * codes[row]
    shared = index.shared(index.codes_of([3]), row)
    assert shared == np.argsort(-products, kind="stable")[: np.count_nonzero(products)][:3].tolist()


def test_a_code_without_active_latents_finds_nothing(index):
    found = index.nearest(np.zeros((1, M)))
    assert (found.rows == -1).all()
    assert np.isnan(found.values).all()


def test_rows_with_equal_cosines_come_in_their_order(sae, samples):
    index = sae.index(np.repeat(samples[:2], 4, axis=0))
    assert index.nearest(sae.transform(samples[:1]), 3).rows[0].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda index: index.rows_of(M), "latent 32 does not exist; the index has 32"),
        (lambda index: index.nearest_to([N]), "row 300 does not exist"),
        (lambda index: index.nearest_to([-1]), "row -1 does not exist"),
        (lambda index: index.weighed({99: 1.0}), "latent 99 does not exist"),
        (lambda index: index.nearest(np.zeros((1, 5))), "5 columns, but the index has 32 latents"),
    ],
)
def test_what_does_not_exist_is_named(index, ask, words):
    with pytest.raises((UsageError, DataError), match=words):
        ask(index)


def test_rows_are_called_as_they_are_told(sae, samples, tmp_path):
    index = sae.index(samples[:3], names=["a", "", "ü"])
    index.save(tmp_path / "f.npz")
    assert [Index.open(tmp_path / "f.npz").name_of(row) for row in range(3)] == ["a", "", "ü"]
    assert sae.index(samples[:3]).name_of(2) == "row 2"
    with pytest.raises(UsageError, match="2 names for 3 rows"):
        sae.index(samples[:3], names=["a", "b"])


def test_codes_that_are_never_0_make_no_index(samples):
    dense = CompressionAutoencoder(4, max_iter=3, random_state=0).fit(samples)
    with pytest.raises(UsageError, match="'sigmoid' codes are never 0"):
        dense.index(samples)


def test_the_file_is_a_matrix_of_scipy(index, sae, samples, tmp_path):
    index.save(tmp_path / "f.npz")
    matrix = scipy.sparse.load_npz(tmp_path / "f.npz")
    assert matrix.format == "csc"
    np.testing.assert_array_equal(matrix.toarray(), sae.transform(samples))


def test_an_opened_index_is_mapped_and_not_read(index, tmp_path):
    index.save(tmp_path / "f.npz")
    found = Index.open(tmp_path / "f.npz")
    for array in (found.rows, found.codes, found.norms, found.starts):
        assert isinstance(array, np.memmap)
    assert found.n_bytes == index.n_bytes == 8 * 3 * N + 4 * N + 8 * (M + 1)


def rewritten(path, changed):
    """The index with other members."""
    with np.load(path) as members:
        kept = dict(members)
    np.savez(path, **(kept | changed))


@pytest.mark.parametrize(
    "changed",
    [
        {"indptr": np.array([0, 5], dtype=np.int64)},
        {"indptr": np.arange(M + 1)[::-1].astype(np.int64)},
        {"norms": np.zeros(3, np.float64)},
        {"indices": np.zeros((2, 2), np.int32)},
        {"about": np.frombuffer(b"{", np.uint8)},
        {"names": np.zeros(4, np.uint8)},
    ],
)
def test_a_damaged_index_is_refused(index, tmp_path, changed):
    index.save(tmp_path / "f.npz")
    rewritten(tmp_path / "f.npz", changed)
    with pytest.raises(DataError, match=r"f\.npz"):
        Index.open(tmp_path / "f.npz")


def test_lists_of_rows_that_are_not_there_are_refused_when_asked(index, tmp_path):
    index.save(tmp_path / "f.npz")
    rewritten(tmp_path / "f.npz", {"indices": index.rows + np.int32(N)})
    found = Index.open(tmp_path / "f.npz")
    with pytest.raises(DataError, match="it lists rows that it does not have"):
        found.nearest(index.codes_of([0]))


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04nothing", b"x" * 100])
def test_what_is_no_index_is_refused(tmp_path, content):
    (tmp_path / "f.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"f\.npz"):
        Index.open(tmp_path / "f.npz")
    with pytest.raises(DataError, match=r"g\.npz"):
        Index.open(tmp_path / "g.npz")


def test_another_archive_is_no_index(tmp_path):
    np.savez(tmp_path / "f.npz", a=np.zeros(3))
    with pytest.raises(DataError, match="is no index; make one: simplecell index RUN DATA"):
        Index.open(tmp_path / "f.npz")


@pytest.fixture(scope="module")
def made(tmp_path_factory, samples):
    """A table whose rows have names, a run on it, and its index."""
    folder = tmp_path_factory.mktemp("verb")
    header = ",".join(["id", *(f"x{i}" for i in range(D))])
    rows = [f"näme{i}," + ",".join(map(str, row)) for i, row in enumerate(samples.tolist())]
    (folder / "t.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    (folder / "new.csv").write_text("\n".join([header, *rows[:2]]), encoding="utf-8")
    told = [f"model.n_latents={M}", "model.target_l0=3", "train.max_samples=20000"]
    words = ["train", str(folder / "t.csv"), "--out", str(folder / "run"), "--recipe", "topk"]
    assert not cli.run_command_line([*words, *(w for key in told for w in ("--set", key))])
    words = ["index", str(folder / "run"), str(folder / "t.csv"), "--out", str(folder / "f.npz")]
    assert not cli.run_command_line(words)
    return folder


@pytest.fixture
def ask(made, capsys, monkeypatch):
    monkeypatch.chdir(made)

    def call(*words):
        capsys.readouterr()
        code = cli.run_command_line(["index", *words])
        out, err = capsys.readouterr()
        assert "internal error" not in err
        return code, out, err

    return call


def test_the_verb_answers_by_row_by_latent_and_by_new_samples(ask, made, samples):
    index = Index.open(made / "f.npz")
    code, out, _ = ask("f.npz", "--row", "5", "--top", "3", "--json")
    assert code == 0
    (answer,) = json.loads(out)["answers"]
    assert answer["name"] == "näme5"
    expected = index.nearest_to([5], 3)
    assert [one["row"] for one in answer["rows"]] == expected.rows[0].tolist()
    assert answer["rows"][0]["name"] == f"näme{expected.rows[0, 0]}"
    assert answer["rows"][0]["shared"]
    latent = int(np.diff(index.starts).argmax())
    (answer,) = json.loads(ask("f.npz", "--latent", str(latent), "--json")[1])["answers"]
    assert [one["row"] for one in answer["rows"]] == index.rows_of(latent).rows.tolist()
    code, out, _ = ask("f.npz", "--query", "new.csv", "--json")
    answers = json.loads(out)["answers"]
    assert [one["rows"][0]["row"] for one in answers] == [0, 1]
    assert answers[0]["rows"][0]["cosine"] == pytest.approx(1, abs=1e-6)
    code, out, _ = ask("f.npz", "--latent", f"{latent}=1", "--latent", "0=0.2", "--json")
    assert "cosine" in json.loads(out)["answers"][0]["rows"][0]


def test_the_verb_as_text(ask):
    _, out, _ = ask("f.npz", "--row", "5", "--top", "2")
    assert out.splitlines()[0] == "row 5  näme5"
    assert len(out.splitlines()) == 3
    assert "by latents" in out


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("f.npz",), 2, "what is asked?"),
        (("f.npz", "--row", "1", "--latent", "2"), 2, "what is asked?"),
        (("run", "t.csv"), 2, "what is asked?"),
        (("run", "--out", "g.npz"), 2, "--out makes an index of a run and DATA"),
        (("run", "t.csv", "--out", "g.txt"), 2, "an index is an .npz"),
        (("f.npz", "--latent", "five"), 2, "names no latent"),
        (("f.npz", "--row", "9999"), 2, "row 9999 does not exist"),
        (("missing.npz", "--row", "1"), 3, "missing.npz"),
        (("f.npz", "--query", "new.csv", "--run", "nowhere"), 4, "is not a run directory"),
    ],
)
def test_what_cannot_be_asked(ask, words, code, said):
    found, _, err = ask(*words)
    assert found == code
    assert said in err


def test_codes_of_another_run_are_not_compared(ask, made):
    told = [f"model.n_latents={M}", "model.target_l0=3", "train.max_samples=2000"]
    words = ["train", str(made / "t.csv"), "--out", str(made / "other"), "--recipe", "topk"]
    assert not cli.run_command_line([*words, *(w for key in told for w in ("--set", key))])
    code, _, err = ask("f.npz", "--query", "new.csv", "--run", "other")
    assert code == 4
    assert "has other weights than the run that the index was made of" in err


def test_an_index_of_an_estimator_does_not_know_its_run(ask, made, index):
    index.save(made / "bare.npz")
    code, _, err = ask("bare.npz", "--query", "new.csv")
    assert code == 2
    assert "name it with --run" in err
    assert ask("bare.npz", "--row", "1")[0] == 0


def test_a_loaded_run_makes_the_index_of_the_verb(made, samples):
    frame = pd.DataFrame(samples.astype(np.float64), columns=[f"x{i}" for i in range(D)])
    mine = load(made / "run").index(frame)
    theirs = Index.open(made / "f.npz")
    np.testing.assert_array_equal(mine.rows, theirs.rows)
    np.testing.assert_allclose(mine.codes, theirs.codes, rtol=1e-5)


def test_nothing_but_stored_members(made):
    with zipfile.ZipFile(made / "f.npz") as archive:
        assert {one.compress_type for one in archive.infolist()} == {zipfile.ZIP_STORED}


def test_huge_codes_have_the_cosines_of_small_ones(index, sae, samples):
    codes = sae.transform(samples[:5]).astype(np.float64)
    small, huge = index.nearest(codes), index.nearest(codes * 1e200)
    np.testing.assert_array_equal(small.rows, huge.rows)
    np.testing.assert_allclose(small.values, huge.values, rtol=1e-6)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_codes_that_are_not_finite_are_refused(index, bad):
    with pytest.raises(DataError, match="NaN or infinite"):
        index.nearest(np.full((1, M), bad))


def test_rows_to_ask_for_are_counted_from_1_and_no_question_has_no_answer(index):
    for n in (0, -1):
        with pytest.raises(UsageError, match="at least 1"):
            index.nearest(np.ones((1, M)), n)
        with pytest.raises(UsageError, match="at least 1"):
            index.rows_of(3, n)
    assert index.nearest(np.zeros((0, M)), 4).rows.shape == (0, 4)
    assert index.nearest_to([], 4).rows.shape == (0, 4)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"norms": np.zeros(N, np.float32)}, "damaged"),
        ({"norms": np.full(N, np.nan, np.float32)}, "damaged"),
        ({"about": np.frombuffer(b"[1]", np.uint8)}, "cannot be read"),
    ],
)
def test_a_file_whose_numbers_are_wrong_is_refused(index, tmp_path, changed, said):
    index.save(tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as file:
        np.savez(tmp_path / "f.npz", **{**file, **changed})
    with pytest.raises(DataError, match=said):
        Index.open(tmp_path / "f.npz").nearest_to([3])


def test_a_compressed_file_and_a_folder_are_told_apart(index, tmp_path):
    index.save(tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz") as file:
        np.savez_compressed(tmp_path / "f.npz", **file)
    with pytest.raises(DataError, match="is compressed"):
        Index.open(tmp_path / "f.npz")
    with pytest.raises(DataError, match="is a folder and no index; make an index"):
        Index.open(tmp_path)


def test_half_a_sign_in_a_name_is_written_as_a_question_mark(sae, samples, tmp_path):
    sae.index(samples, names=["\ud800"] * N).save(tmp_path / "f.npz")
    assert Index.open(tmp_path / "f.npz").name_of(5) == "?"


def test_more_rows_than_there_are_may_be_asked_for_and_no_infinite_weight(index, tmp_path, capsys):
    file = tmp_path / "f.npz"
    index.save(file)
    assert cli.run_command_line(["index", str(file), "--latent", "3", "--top", "9" * 20]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + len(index.rows_of(3, N).rows)
    for weight in ("nan", "inf"):
        assert cli.run_command_line(["index", str(file), "--latent", f"5={weight}"]) == 2
