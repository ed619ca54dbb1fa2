"""The map: where samples lie, what they are coloured by, and what sets picked ones apart."""

from __future__ import annotations

import base64
import json
import logging
import shutil

import numpy as np
import pytest
from sklearn.decomposition import PCA

from simplecell.cli import run_command_line
from simplecell.errors import DataError, RunError, UsageError
from simplecell.explain.contrast import of_codes, of_rows
from simplecell.explorer.make import kept_codes, neighbours
from simplecell.explorer.make import map as maps
from simplecell.explorer.make.atlas import build_atlas
from simplecell.explorer.make.fields import OTHER, UNKNOWN, fields_of, numbers_of
from simplecell.explorer.make.kept_codes import KeptCodes
from simplecell.explorer.make.plane import Plane, spanned
from simplecell.explorer.serve import contrasted, library
from simplecell.explorer.serve.api import Api
from simplecell.explorer.serve.library import Library
from simplecell.explorer.serve.messages import Request
from simplecell.model.passes import Passes
from simplecell.run.begin import begin
from simplecell.run.build import all_data
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe

TOKEN, N, M = "the-token", 400, 24
HOST, JSON = ("host", "127.0.0.1:8000"), ("accept", "application/json")
SENT = ("content-type", "application/json")


def train(data, out, recipe, *settings):
    session = begin(data, out, Recipe.load(recipe), settings=list(settings))
    for _ in session.records():
        pass
    session.finish()
    return Run(out)


def build(run, **more):
    trained = run.load()
    for _ in build_atlas(run, trained, all_data(trained), **more):
        pass
    return json.loads((run.path / "atlas" / "atlas.json").read_text())["map"]


def samples(folder):
    """Rows whose first column is large for one topic; records with classes, numbers and gaps."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((N, 16)).astype(np.float32)
    topic = rng.integers(0, 3, N)
    x[:, 0] += 4 * (topic == 1)
    np.save(folder / "x.npy", x)
    with open(folder / "meta.jsonl", "w") as file:
        for i in range(N):
            record = {"topic": f"t{topic[i]}", "price": float(i) / 7, "title": f"sample {i}"}
            record |= {"size": "12,5" if i % 2 else None, "grade": int(i % 4)}
            file.write(json.dumps(record) + "\n")
    return folder / "x.npy", folder / "meta.jsonl"


@pytest.fixture(scope="module")
def topics(tmp_path_factory):
    folder = tmp_path_factory.mktemp("topics")
    data, meta = samples(folder)
    settings = ["train.max_samples=20000", f"model.n_latents={M}", "model.target_l0=4"]
    run = train(data, folder / "run", "topk", f'data.meta="{meta}"', *settings)
    build(run)
    return run


@pytest.fixture(scope="module")
def sigmoid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sigmoid")
    x = np.random.default_rng(1).random((120, 6)).astype(np.float32)
    np.save(folder / "x.npy", x)
    run = train(folder / "x.npy", folder / "run", "table", "train.steps=3", "model.n_latents=5")
    build(run)
    return run


@pytest.fixture
def api(topics, sigmoid, tmp_path):
    for run, name in ((topics, "topics"), (sigmoid, "sigmoid")):
        shutil.copytree(run.path, tmp_path / name)
    return Api(Library.open([tmp_path]), TOKEN)


def get(api, path, *headers):
    return api.answer(Request("GET", f"/{TOKEN}/{path}", [HOST, *(headers or (JSON,))]))


def post(api, path, value):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return api.answer(Request("POST", f"/{TOKEN}/{path}", [HOST, SENT, JSON], body))


def told(answer, status=200):
    assert answer.status == status, answer.body
    return json.loads(answer.body)


def bits(points, n):
    chosen = np.zeros(n, dtype=bool)
    chosen[np.asarray(points, dtype=int)] = True
    return base64.b64encode(np.packbits(chosen, bitorder="little").tobytes()).decode()


def field(run, name):
    told = json.loads((run.path / "atlas" / "atlas.json").read_text())["map"]
    one = next(field for field in told["fields"] if field["name"] == name)
    kind = "<u2" if one["classes"] else "<f4"
    return one, np.fromfile(run.path / "atlas" / one["file"], dtype=kind)


def places(run, name):
    return np.fromfile(run.path / "atlas" / f"map-{name}.bin", dtype="<f4").reshape(-1, 2)


# Where samples lie


def test_samples_lie_along_the_first_principal_directions(topics):
    trained = topics.load()
    x = all_data(trained).read(slice(0, N))
    prepared = trained.reconstruct(x)[0]
    for name, rows in (("inputs", prepared), ("codes", trained.encode(x))):
        pca = PCA(2, svd_solver="full").fit(rows.astype(np.float64))
        np.testing.assert_allclose(places(topics, name), spanned(pca.transform(rows)), atol=2e-4)
        told = json.loads((topics.path / "atlas" / "atlas.json").read_text())["map"]
        layout = next(one for one in told["layouts"] if one["name"] == name)
        np.testing.assert_allclose(layout["shares"], pca.explained_variance_ratio_, rtol=5e-3)
    assert np.abs(places(topics, "inputs")).max() == pytest.approx(1)


def test_latents_lie_by_the_directions_of_their_atoms(topics):
    atoms = topics.load().model.atoms().detach().double().numpy()
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    expected = spanned(PCA(2, svd_solver="full").fit_transform(atoms))
    np.testing.assert_allclose(places(topics, "latents"), expected, atol=1e-5)


def test_sparse_rows_have_the_plane_of_dense_ones():
    from scipy.sparse import random_array

    rng = np.random.default_rng(3)
    rows = random_array((200, 700), density=0.05, rng=rng, format="csr")
    sparse, dense = Plane.of(rows), PCA(2, svd_solver="full").fit(rows.toarray())
    cosines = np.abs((sparse.directions * dense.components_).sum(1))
    np.testing.assert_allclose(cosines, 1, atol=1e-6)
    np.testing.assert_allclose(sparse.mean, rows.toarray().mean(0))


@pytest.mark.parametrize("rows", [np.ones((5, 3)), np.ones((1, 4)), np.arange(4.0)[:, None]])
def test_rows_that_hardly_vary_have_a_plane(rows):
    plane = Plane.of(rows)
    assert plane.directions.shape == (2, rows.shape[1])
    assert np.isfinite(spanned((rows - plane.mean) @ plane.directions.T)).all()


def test_nothing_of_the_map_depends_on_how_many_samples_are_read_at_once(topics, monkeypatch):
    trained = topics.load()
    source = all_data(trained)
    from simplecell.explorer.make.samples import find_labels
    from simplecell.explorer.make.survey import Survey

    def made():
        found = maps.Map(trained, source)
        list(Survey(trained, source, find_labels(source)).run(found.add))
        return found

    whole = made()
    monkeypatch.setattr(Passes, "n_rows", 7)
    parts = made()
    for name in ("inputs", "codes"):
        np.testing.assert_allclose(whole.places[name], parts.places[name], atol=1e-4)
    for one, other in zip(whole.fields, parts.fields, strict=True):
        np.testing.assert_array_equal(one.values, other.values)


# What they are coloured by


def test_records_colour_by_classes_and_numbers(topics):
    records = all_data(topics.load()).about(slice(0, N))
    topic, values = field(topics, "topic")
    assert topic["classes"] == ["t0", "t1", "t2"]
    assert [topic["classes"][k] for k in values] == [record["topic"] for record in records]
    assert topic["counts"] == np.bincount(values).tolist()
    assert field(topics, "grade")[0]["classes"] == ["0", "1", "2", "3"]
    price, values = field(topics, "price")
    np.testing.assert_allclose(values, [record["price"] for record in records], rtol=1e-6)
    assert price["ends"] == pytest.approx([0, (N - 1) / 7])
    told = json.loads((topics.path / "atlas" / "atlas.json").read_text())["map"]
    names = [one["name"] for one in told["fields"]]
    assert "title" not in names
    assert names[-1] == "error"
    errors = field(topics, "error")[1]
    trained = topics.load()
    prepared, recon = trained.reconstruct(all_data(trained).read(slice(0, N)))
    np.testing.assert_allclose(errors, ((prepared - recon) ** 2).sum(1), rtol=1e-3)


def test_what_is_not_known_or_rare_is_told_apart():
    class Told:
        n_samples, columns = 200, None

        def about(self, rows):
            rows = np.arange(200)[rows]
            return [
                {"kind": ["a", "b", None][row % 3], "size": [1.5, "2.5", "", "x"][row % 4]}
                for row in rows.tolist()
            ]

    (kind,) = [one for one in fields_of(Told(), 200) if one.name == "kind"]
    kind.put(0, ["a", "b", None, "", ["b"], "new"])
    assert kind.values[:6].tolist() == [0, 1, UNKNOWN, UNKNOWN, 1, OTHER]
    np.testing.assert_array_equal(
        numbers_of([1, "2.5", "x", None, True, 1e300, float("inf")]),
        np.array([1, 2.5, np.nan, np.nan, np.nan, np.nan, np.nan], dtype=np.float32),
    )
    np.testing.assert_array_equal(numbers_of(["2,5", "3,25"], ","), [2.5, 3.25])


# The codes that are at hand


def test_codes_at_hand_are_those_of_the_samples(topics, sigmoid):
    for run in (topics, sigmoid):
        trained = run.load()
        source = all_data(trained)
        expected = trained.encode(source.read(slice(0, source.n_samples)), as_trained=True)
        kept = KeptCodes.read(run.path / "atlas" / "codes.npz")
        assert kept.points.tolist() == list(range(source.n_samples))
        np.testing.assert_allclose(kept.codes.toarray(), expected, rtol=1e-4, atol=1e-6)
        for latent in (0, 3):
            column = kept.column(latent, source.n_samples)
            np.testing.assert_array_equal(column, kept.codes.toarray()[:, latent])


def test_of_many_samples_some_are_on_the_map_and_of_these_some_have_codes(
    topics, tmp_path, monkeypatch
):
    monkeypatch.setattr(maps, "MOST_POINTS", 100)
    monkeypatch.setattr(kept_codes, "MOST_ENTRIES", 4 * 40)
    shutil.copytree(topics.path, tmp_path / "run", ignore=shutil.ignore_patterns("atlas"))
    told_map = build(Run(tmp_path / "run"))
    assert told_map["n_points"] == 100
    rows = np.fromfile(tmp_path / "run" / "atlas" / "map-rows.bin", dtype="<u4")
    assert rows[[0, -1]].tolist() == [0, N - 1]
    assert len(field(Run(tmp_path / "run"), "topic")[1]) == 100
    whole = places(topics, "inputs")[rows]
    assert (
        abs(np.corrcoef(places(Run(tmp_path / "run"), "inputs")[:, 0], whole[:, 0])[0, 1]) > 0.999
    )
    assert 30 <= told_map["codes"]["samples"] <= 40
    api = Api(Library.open([tmp_path / "run"]), TOKEN)
    column = np.frombuffer(get(api, "run/map/latent/2").body, dtype="<f4")
    kept = KeptCodes.read(tmp_path / "run" / "atlas" / "codes.npz")
    assert np.flatnonzero(np.isfinite(column)).tolist() == kept.points.tolist()
    trained = topics.load()
    codes = trained.encode(all_data(trained).read(rows[kept.points].astype(np.int64)))
    np.testing.assert_allclose(column[kept.points], codes[:, 2], rtol=1e-4, atol=1e-6)
    assert told(get(api, "run/map/sample/99"))["row"] == N - 1
    answer = told(post(api, "run/contrast", {"rows": bits(range(40), 100), "against": None}))
    assert answer["picked"] == [40, 60]
    assert sum(answer["used"]) == len(kept.points)


def test_damaged_codes_are_a_sentence_without_a_path(api, tmp_path):
    path = tmp_path / "topics" / "atlas" / "codes.npz"
    question = {"rows": bits(range(50), N), "against": None}
    whole = path.read_bytes()
    for content in (b"", b"PK\x03\x04", whole[:200], whole[:-30]):
        path.write_bytes(content)
        for answer in (get(api, "topics/map/latent/0"), post(api, "topics/contrast", question)):
            sentence = told(answer, 500)["error"]
            assert "damaged" in sentence
            assert str(tmp_path) not in sentence
    np.savez(path, shape=np.array([{}], dtype=object))
    with pytest.raises(RunError, match="damaged"):
        KeptCodes.read(path)
    wrong = KeptCodes.read(tmp_path / "sigmoid" / "atlas" / "codes.npz")
    assert wrong.codes.shape == (120, 5)
    shutil.copy(tmp_path / "sigmoid" / "atlas" / "codes.npz", path)
    assert "another map" in told(post(api, "topics/contrast", question), 500)["error"]


# What sets picked samples apart


def test_an_answer_is_that_of_the_command_line(api, topics):
    topic, values = field(topics, "topic")
    points = np.flatnonzero(values == topic["classes"].index("t1"))
    found = told(post(api, "topics/contrast", {"rows": bits(points, N), "against": None}))
    trained = topics.load()
    expected = of_rows(trained, all_data(trained), "topic == 't1'")
    assert found["picked"] == found["used"] == [len(points), N - len(points)]
    assert (found["n_seen"], found["n_held_out"]) == (expected.n_seen, expected.n_held_out)
    assert found["found"] == int(expected.found.sum()) > 0
    rows = {row["latent"]: row for row in expected.table()["latents"]}
    codes = trained.encode(all_data(trained).read(slice(0, N)))
    for one in found["latents"]:
        row = rows[one["latent"]]
        for name in ("auc", "auc_low", "auc_high", "q"):
            assert one[name] == pytest.approx(row[name], rel=2e-3), name
        assert one["holds"] == row["holds"]
        inside = codes[points, one["latent"]] > 0
        assert one["sides"][0] == pytest.approx(inside.mean(), abs=1e-3)
    assert found["latents"][0]["latent"] == expected.columns["latent"][0]


def test_a_against_b_is_b_against_a_the_other_way_round(api, topics):
    values = field(topics, "topic")[1]
    sides = [bits(np.flatnonzero(values == k), N) for k in (0, 1)]
    one = told(post(api, "topics/contrast", {"rows": sides[0], "against": sides[1]}))
    other = told(post(api, "topics/contrast", {"rows": sides[1], "against": sides[0]}))
    assert one["picked"] == other["picked"][::-1]
    assert one["found"] > 0
    mine = {row["latent"]: row for row in one["latents"]}
    for row in other["latents"]:
        assert row["sides"] == mine[row["latent"]]["sides"][::-1]
    strongest = one["latents"][0]["latent"]
    theirs = next(row for row in other["latents"] if row["latent"] == strongest)
    assert (theirs["auc"] - 0.5) * (one["latents"][0]["auc"] - 0.5) < 0


def test_large_sides_are_thinned_and_it_is_told(api, monkeypatch):
    monkeypatch.setattr(contrasted, "MOST_SAMPLES", 60)
    found = told(post(api, "topics/contrast", {"rows": bits(range(100), N), "against": None}))
    assert (found["picked"], found["used"]) == ([100, 300], [60, 60])


def test_codes_that_are_never_0_are_held_against_each_other(api):
    found = told(post(api, "sigmoid/contrast", {"rows": bits(range(60), 120), "against": None}))
    assert len(found["latents"]) == 5
    assert all("odds_ratio" not in one for one in found["latents"])
    assert all(0 < side < 1 for one in found["latents"] for side in one["sides"])


def test_noise_sets_nothing_apart(api):
    rng = np.random.default_rng(0)
    picked = rng.permutation(N)[:100]
    found = told(post(api, "topics/contrast", {"rows": bits(picked, N), "against": None}))
    assert found["found"] == 0


SHORT = base64.b64encode(b"\xff" * 49).decode()
FULL = base64.b64encode(b"\xff" * 50).decode()


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (b"", "no JSON"),
        (b'{"rows": NaN}', "no JSON"),
        (b"[" * 5000, "no JSON"),
        ([], "must be a JSON object"),
        ({}, "rows must be base64 of a bit for each of 400 points"),
        ({"rows": None}, "rows must be base64"),
        ({"rows": [1, 2]}, "rows must be base64"),
        ({"rows": {"a": 1}}, "rows must be base64"),
        ({"rows": "é" * 68}, "rows is no base64"),
        ({"rows": "####"}, "rows is no base64"),
        ({"rows": "A"}, "rows is no base64"),
        ({"rows": ""}, "rows has 0 bytes, but 400 points take 50"),
        ({"rows": SHORT}, "rows has 49 bytes, but 400 points take 50"),
        ({"rows": FULL, "against": SHORT}, "against has 49 bytes"),
        ({"rows": FULL, "against": 3}, "against must be base64"),
        ({"rows": FULL, "against": FULL}, "400 samples are on both sides"),
        ({"rows": FULL}, "'the others' chooses 0 samples"),
        ({"rows": bits([], N)}, "'the samples picked' chooses 0 samples"),
        ({"rows": bits(range(9), N)}, "'the samples picked' chooses 9 samples"),
        ({"rows": bits(range(10), N), "against": bits(range(20, 31), N)}, "of 21 on both sides"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(api, question, sentence):
    assert sentence in told(post(api, "topics/contrast", question), 400)["error"]


def test_bits_beyond_the_last_point_name_nothing(api):
    beyond = base64.b64encode(b"\xff" * 15).decode()
    assert told(post(api, "sigmoid/contrast", {"rows": beyond}), 400)["error"]  # 120 = 15 · 8
    with pytest.raises(Exception, match="names points that do not exist: there are 119"):
        contrasted._points("rows", beyond, 119)


def test_the_addresses_of_the_map(api, caplog):
    column = get(api, "topics/map/latent/3")
    assert column.headers["content-type"] == "application/octet-stream"
    assert len(column.body) == 4 * N
    again = get(api, "topics/map/latent/3", ("if-none-match", column.headers["etag"]))
    assert again.status == 304
    for path in ("24", "-1", "01", "x", "%D9%A1", "99999999999", ""):
        assert get(api, f"topics/map/latent/{path}").status == 404
        assert get(api, f"topics/map/sample/{'400' if path == '24' else path}").status == 404
    for path in ("map", "map/", "map/other/1", "map/latent", "map/latent/1/2", "contrast/1"):
        assert get(api, f"topics/{path}").status == 404
    assert get(api, "topics/contrast").status == 405
    assert get(api, "topics/files/map-inputs.bin").status == 200
    for name in ("codes.npz", "map-other.bin", "map-..bin", "map-inputs.bin/x"):
        assert get(api, f"topics/files/{name}").status == 404
    assert not caplog.records


def test_a_manifest_names_no_file_of_another_kind(api, tmp_path):
    path = tmp_path / "topics" / "atlas" / "atlas.json"
    manifest = json.loads(path.read_text())
    for name in ("codes.npz", "../../run.json", "/etc/passwd", "map-é.bin", "map-a.bin/../x"):
        manifest["map"]["fields"][0]["file"] = name
        path.write_text(json.dumps(manifest))
        view = next(one for one in Library.open([tmp_path / "topics"]))
        assert name not in view.files()
        assert get(api, f"topics/files/{name}").status == 404
    manifest["map"]["fields"] = 3
    path.write_text(json.dumps(manifest))
    assert "damaged" in told(get(api, "topics/"), 500)["error"]


def test_an_atlas_without_a_map_says_so(api, tmp_path):
    path = tmp_path / "topics" / "atlas" / "atlas.json"
    manifest = json.loads(path.read_text())
    del manifest["map"]
    path.write_text(json.dumps(manifest))
    for answer in (
        get(api, "topics/map/latent/0"),
        get(api, "topics/map/sample/0"),
        post(api, "topics/contrast", {}),
    ):
        assert "no map" in told(answer, 404)["error"]
    assert told(get(api, "topics/"))["name"] == "topics"


# Any sample


def test_any_sample_is_read_from_the_data(api, topics):
    for point in (0, 123, N - 1):
        sample = told(get(api, f"topics/map/sample/{point}"))
        assert sample["row"] == point
        assert (
            sample["about"]["topic"]
            == field(topics, "topic")[0]["classes"][field(topics, "topic")[1][point]]
        )


def test_data_that_are_gone_are_told_without_a_path(tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    data, meta = samples(tmp_path)
    run = train(
        data,
        tmp_path / "run",
        "topk",
        f'data.meta="{meta}"',
        "train.max_samples=500",
        "model.n_latents=8",
        "model.target_l0=2",
    )
    build(run)
    data.unlink()
    api = Api(Library.open([run.path]), TOKEN)
    sentence = told(get(api, "run/map/sample/0"), 404)["error"]
    assert "cannot be read" in sentence
    assert str(tmp_path) not in sentence
    assert get(api, "run/map/latent/0").status == 200
    assert not caplog.records


def test_runs_whose_codes_are_in_memory_are_few(api):
    assert library.MOST_READ <= 2
    for name in ("topics", "sigmoid"):
        get(api, f"{name}/map/latent/0")
    assert len(list(api.library._codes)) == 2


# Layouts by neighbours


def test_a_layout_without_its_library_is_one_sentence(topics, monkeypatch, capsys):
    monkeypatch.setitem(neighbours.LIBRARIES, "umap", ("no_such_library_here", "umap-learn"))
    with pytest.raises(UsageError, match=r"pip install 'simplecell\[map\]'"):
        neighbours.check_layout("umap")
    assert run_command_line(["explore", str(topics.path), "--layout", "umap"]) == 2
    error = capsys.readouterr().err
    assert "--layout umap needs umap-learn" in error
    assert len(error.strip().splitlines()) == 1
    with pytest.raises(UsageError, match="did you mean 'tsne'"):
        neighbours.check_layout("t-sne")


@pytest.mark.parametrize(
    ("layout", "module"),
    [pytest.param("umap", "umap", marks=pytest.mark.slow), ("tsne", "openTSNE")],
)
def test_neighbours_stay_near(layout, module, topics, tmp_path, monkeypatch):
    pytest.importorskip(module)
    monkeypatch.setattr(maps, "MOST_NEIGHBOURS", 150)
    shutil.copytree(topics.path, tmp_path / "run")
    told_map = build(Run(tmp_path / "run"), layout=layout)
    assert told_map["n_points"] == 150
    assert [one["name"] for one in told_map["layouts"]] == [layout, "inputs", "codes"]
    laid = places(Run(tmp_path / "run"), layout)
    topic, values = field(Run(tmp_path / "run"), "topic")
    apart = np.square(laid[:, None] - laid[None]).sum(2)
    np.fill_diagonal(apart, np.inf)
    same = values[apart.argmin(1)] == values
    inside = values == topic["classes"].index("t1")
    assert same[inside].mean() > inside.mean() + 0.2
    before = (tmp_path / "run" / "atlas" / "atlas.json").stat().st_mtime_ns
    build(Run(tmp_path / "run"))  # who does not ask for a layout keeps it
    assert (tmp_path / "run" / "atlas" / "atlas.json").stat().st_mtime_ns == before


# Rows by their numbers, and codes by themselves


def test_a_file_of_row_numbers_chooses_rows(topics, tmp_path):
    trained = topics.load()
    source = all_data(trained)
    path = tmp_path / "these.txt"
    path.write_text("row\n" + "".join(f"{row}\n" for row in range(0, N, 3)))
    listed = of_rows(trained, source, f"@{path}")
    names = tmp_path / "names.txt"
    names.write_text("".join(f"sample {row}\n" for row in range(0, N, 3)))
    named = of_rows(trained, source, f"@{names}")
    for name, values in named.columns.items():
        if name != "class":  # which is called as the file is
            np.testing.assert_array_equal(listed.columns[name], values)
    path.write_text("row\n5\n400\n")
    with pytest.raises(DataError, match="such as '400', are no 'row'"):
        of_rows(trained, source, f"@{path}")


def test_codes_are_compared_without_their_samples():
    from scipy.sparse import csr_array

    rng = np.random.default_rng(5)
    codes = csr_array(rng.random((120, 8)) * (rng.random((120, 8)) < 0.5))
    first = np.arange(120) % 2 == 0
    codes = codes + csr_array(
        (np.ones(60), (np.flatnonzero(first), np.full(60, 3))), shape=(120, 8)
    )
    found = of_codes(codes, first, ("these", "those"), on_off=True)
    assert found.columns["latent"][0] == 3
    assert found.columns["auc"][0] > 0.9
    assert found.n_seen + found.n_held_out == 120
    with pytest.raises(DataError, match="'these' chooses 4 samples, of 120"):
        of_codes(codes, np.arange(120) < 4, ("these", "those"), on_off=True)
