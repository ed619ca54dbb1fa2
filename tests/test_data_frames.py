"""Data frames, whichever library made them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simplecell.data import as_source
from simplecell.errors import DataError

pandas = pytest.importorskip("pandas")


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_numbers_and_words(library: str) -> None:
    frames: Any = pytest.importorskip(library)
    frame = frames.DataFrame({"a": [1.0, 2.0, 3.0], "w": ["x", "y", "x"], "y": [0, 1, 0]})
    source = as_source(frame, label="y")
    assert source.kind == "table"
    assert source.input_names == ["a", "w=x", "w=y"]
    np.testing.assert_array_equal(source.read(slice(None)), [[1, 1, 0], [2, 0, 1], [3, 1, 0]])
    assert source.about(slice(1, 2)) == [{"row": 1, "label": 1}]
    again = as_source(frame[["w", "a"]], columns=source.columns)
    assert again.fingerprint() == source.fingerprint()


def test_float32_stays() -> None:
    frame = pandas.DataFrame(np.eye(3, dtype=np.float32))
    assert as_source(frame).read(slice(None)).dtype == np.float32


@pytest.mark.parametrize("missing", [None, np.nan])
def test_missing_cells_are_named(missing: Any) -> None:
    frame = pandas.DataFrame({"a": [1.0, 2.0], "w": ["x", missing]})
    with pytest.raises(DataError, match=r"row 1 .*column 'w' of the data frame is missing"):
        as_source(frame)
    with pytest.raises(DataError, match="column 'w'"):
        as_source(pandas.DataFrame({"a": [1.0, 2.0], "w": [1.5, missing]}))


def test_dates_and_doubled_names_are_refused() -> None:
    with pytest.raises(DataError, match="column 'd' of the data frame holds datetime64"):
        as_source(pandas.DataFrame({"d": pandas.to_datetime(["2020-01-01"])}))
    with pytest.raises(DataError, match="several columns named 'a'"):
        as_source(pandas.DataFrame([[1, 2]], columns=["a", "a"]))


# --- a list in each cell, identifiers, indices, every library ---

E = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
IDS, TITLES = [f"doc{i}" for i in range(30)], [f"The title of number {i}" for i in range(30)]


def _pandas() -> Any:
    return pandas.DataFrame({"id": IDS, "title": TITLES, "emb": list(E)})


def _polars() -> Any:
    polars = pytest.importorskip("polars")
    vectors = polars.Series(E.tolist(), dtype=polars.List(polars.Float32))
    return polars.DataFrame({"id": IDS, "title": TITLES, "emb": vectors})


def _polars_array() -> Any:
    polars = pytest.importorskip("polars")
    return _polars().with_columns(
        emb=polars.Series(E.tolist(), dtype=polars.Array(polars.Float32, 4))
    )


def _arrow() -> Any:
    arrow = pytest.importorskip("pyarrow")
    vectors = arrow.array(E.tolist(), type=arrow.list_(arrow.float32()))
    return arrow.table({"id": IDS, "title": TITLES, "emb": vectors})


def _arrow_fixed() -> Any:
    arrow = pytest.importorskip("pyarrow")
    vectors = arrow.FixedSizeListArray.from_arrays(arrow.array(E.astype(np.float16).ravel()), 4)
    table = arrow.table({"id": IDS, "title": TITLES, "emb": vectors})
    return arrow.concat_tables([table.slice(0, 7), table.slice(7)])


def _datasets() -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"id": IDS, "title": TITLES, "emb": E.tolist()})


FRAMES = [_pandas, _polars, _polars_array, _arrow, _arrow_fixed, _datasets]


@pytest.mark.parametrize("make", FRAMES)
def test_a_list_column_is_one_input_an_entry(make: Any) -> None:
    source = as_source(make())
    assert source.input_names == ["emb.0", "emb.1", "emb.2", "emb.3"]
    np.testing.assert_allclose(source.read(slice(None)), E, rtol=1e-3)
    assert source.about(slice(2, 3)) == [{"row": 2, "id": "doc2", "title": TITLES[2]}]
    again = as_source(make(), columns=source.columns)
    assert again.fingerprint() == source.fingerprint()


@pytest.mark.parametrize("make", FRAMES)
def test_estimators_take_frames_of_every_library(make: Any) -> None:
    from simplecell import SparseAutoencoder

    frame = make()
    sae = SparseAutoencoder(3, max_iter=2, random_state=0).fit(frame)
    assert sae.feature_names_in_.tolist() == ["emb.0", "emb.1", "emb.2", "emb.3"]
    assert sae.n_features_in_ == 4
    assert any("'title' of X is left out" in note for note in sae.notes_)
    assert sae.get_feature_names_out().tolist() == ["latent0", "latent1", "latent2"]
    np.testing.assert_array_equal(sae.transform(frame).shape, (30, 3))
    vectors = pandas.DataFrame({"emb": list(E.astype(np.float64)), "other": 1.5})
    np.testing.assert_allclose(sae.transform(vectors), sae.transform(frame), rtol=1e-2, atol=1e-3)
    with pytest.raises(DataError, match="X has no column 'emb', but this model was built for it"):
        sae.transform(pandas.DataFrame({"a": IDS}))


def test_estimators_tell_of_identifiers_among_numbers() -> None:
    from simplecell import SparseAutoencoder

    frame = pandas.DataFrame(E, columns=list("abcd")).assign(nr=range(30))
    sae = SparseAutoencoder(3, max_iter=2, random_state=0).fit(frame)
    assert sae.n_features_in_ == 5
    assert "column 'nr' of X counts the rows, 0, 1 … 29" in sae.notes_[0]


def test_estimators_match_frames_of_more_by_name(tmp_path: Any) -> None:
    import simplecell

    frame = pandas.DataFrame(E, columns=list("abcd"))
    sae = simplecell.SparseAutoencoder(3, max_iter=2, random_state=0).fit(frame)
    assert sae.feature_names_in_.tolist() == list("abcd")
    more = frame[list("dcba")].assign(id=IDS)
    np.testing.assert_array_equal(sae.transform(more), sae.transform(frame))
    words = frame.assign(kind=["x", "y", "x"] * 10, id=IDS)
    sae.fit(words)
    assert sae.feature_names_in_.tolist() == [*"abcd", "kind=x", "kind=y"]
    sae.save(tmp_path / "run")
    loaded = simplecell.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.transform(words), sae.transform(words))
    np.testing.assert_array_equal(sae.fit(E).transform(E), sae.transform(E))
    assert not hasattr(sae, "feature_names_in_")


def test_beside_lists_single_numbers_and_words_are_records() -> None:
    frame = _pandas().assign(year=2020.5, topic=["a", "b", "a"] * 10)
    source = as_source(frame)
    assert source.n_inputs == 4
    record = source.about(slice(1, 2))[0]
    assert (record["year"], record["topic"]) == (2020.5, "b")
    told = "the inputs of the data frame are the lists in 'emb'; 'year', 'topic' stay beside them"
    assert any(told in note for note in source.notes)
    labelled = as_source(frame, label="topic")
    assert labelled.labels is not None
    assert labelled.labels.tolist()[:2] == ["a", "b"]


def test_a_pandas_index_that_says_something_names_the_rows() -> None:
    frame = pandas.DataFrame(E, columns=list("abcd"), index=pandas.Index(IDS, name="doc"))
    source = as_source(frame)
    assert source.n_inputs == 4
    assert source.about(slice(1, 2)) == [{"row": 1, "doc": "doc1"}]
    part = as_source(pandas.DataFrame(E, columns=list("abcd"))[5:])
    assert part.about(slice(0, 1)) == [{"row": 0}]
    shuffled = as_source(pandas.DataFrame(E, columns=list("abcd")).sample(frac=1, random_state=0))
    assert shuffled.n_inputs == 4
    assert shuffled.about(slice(0, 1))[0]["index"] == 2


def test_lists_of_other_lengths_and_missing_ones_are_named() -> None:
    cells = list(E)
    for row, cell, told in ((3, E[0, :2], "2 numbers"), (4, None, "nothing")):
        broken = pandas.DataFrame({"emb": [*cells[:row], cell, *cells[row + 1 :]]})
        with pytest.raises(DataError, match=rf"row {row} .*column 'emb' holds {told}, and others"):
            as_source(broken)
    holes = E.copy()
    holes[6, 1] = np.nan
    with pytest.raises(DataError, match=r"row 6 .*column 'emb' of the data frame is missing"):
        as_source(pandas.DataFrame({"emb": list(holes)}))


def test_several_splits_and_streams_are_refused_with_a_cure() -> None:
    datasets = pytest.importorskip("datasets")
    with pytest.raises(DataError, match=r"give one of them, such as data\['train'\]"):
        as_source(datasets.DatasetDict({"train": _datasets()}))
    with pytest.raises(DataError, match="streaming=False"):
        as_source(_datasets().to_iterable_dataset())


def test_dates_beside_numbers_are_records() -> None:
    frame = pandas.DataFrame({"d": pandas.to_datetime(["2020-01-01", "2020-01-03"]), "x": [1.5, 2]})
    source = as_source(frame)
    assert source.input_names == ["x"]
    assert "'d' of the data frame holds datetime64" in source.notes[0]
    assert source.about(slice(1, 2))[0]["d"].startswith("2020-01-03")


def test_numbers_that_may_be_missing_stay_numbers() -> None:
    frame = pandas.DataFrame({"a": [1, 5, 7], "b": [0.5, 1.5, 0.25]}).convert_dtypes()
    np.testing.assert_array_equal(
        as_source(frame).read(slice(None)), [[1, 0.5], [5, 1.5], [7, 0.25]]
    )
    frame.loc[1, "a"] = pandas.NA
    with pytest.raises(DataError, match=r"row 1 .*column 'a' of the data frame is missing"):
        as_source(frame)
