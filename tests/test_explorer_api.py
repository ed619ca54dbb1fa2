"""The explorer without sockets: every address, what it answers, and what it refuses."""

from __future__ import annotations

import base64
import json
import logging
import os
import random
import threading
import time
from collections import Counter
from urllib.parse import quote

import numpy as np
import pytest
import torch

from simplecell.errors import RunError
from simplecell.explorer.make.curves import thinned
from simplecell.explorer.serve import compared, view
from simplecell.explorer.serve import library as libraries
from simplecell.explorer.serve.api import Api, shell
from simplecell.explorer.serve.compared import compare
from simplecell.explorer.serve.library import Library, slug, unique
from simplecell.explorer.serve.messages import MOST_BODY, SECURITY, Request
from simplecell.model import matching
from simplecell.model.codes import Codes
from simplecell.model.matching import comparison, match
from simplecell.run.begin import begin
from simplecell.run.directory import Run
from simplecell.run.recipe import Recipe

TOKEN = "the-token"
HOST = ("host", "127.0.0.1:8000")
JSON, PAGE = ("accept", "application/json"), ("accept", "text/html,application/json;q=0.9,*/*")
SENT = ("content-type", "application/json")
SCRIPT = "<script>alert('x')</script>"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; font-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def train(x, out, *settings, recipe=None):
    one = begin(x, out, recipe, settings=["train.steps=3", *settings])
    for _ in one.records():
        pass
    one.finish()
    return Run(out)


def add_atlas(run, n_latents, key="k" * 64, **more):
    """A small atlas by hand, as the contract describes it."""
    folder = run.path / "atlas"
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    manifest = {
        **{"format": 1, "key": key, "look": "row", "n_latents": n_latents, "shape": [6]},
        **{"activation": "sigmoid", "tags": [SCRIPT] * n_latents, "columns": ["density"]},
        "sprites": {"tile": [1, 6], "sheets": ["sprites-0.png", "../../run.json"]},
        "photos": [{"name": SCRIPT, "file": "photos/0.jpg"}, {"name": "x", "file": "/etc/passwd"}],
    }
    lines = [{"latent": i, "top": [], "about": "é" * i + SCRIPT} for i in range(n_latents)]
    samples = [{"at": 0, "error": 1.0, "group": "worst"}]
    files = {
        "atlas.json": json.dumps({**manifest, **more}),
        "details.jsonl": "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines),
        "data.json": json.dumps({"samples": samples, "steps": []}),
        "playground.json": json.dumps({"here": True, "layers": []}),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    for name in ("columns.bin", "samples.bin", "weights.bin", "sprites-0.png", "photos/0.jpg"):
        (folder / name).write_bytes(name.encode())


@pytest.fixture(scope="module")
def static(tmp_path_factory):
    folder = tmp_path_factory.mktemp("static")
    (folder / "index.html").write_text(
        '<!doctype html><html data-base="/" data-mode="server"><script src="static/app.js">',
        encoding="utf-8",
    )
    (folder / "app.js").write_text("export const one = 1;\n", encoding="utf-8")
    (folder / "style.css").write_text("body {}\n", encoding="utf-8")
    (folder / "secret.key").write_text("secret", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Runs that tests only read: two alike, sparse, deep, variational, wide, without an atlas."""
    folder = tmp_path_factory.mktemp("made")
    random = np.random.default_rng(0)
    x = random.random((60, 6)).astype(np.float32)
    topk, variational = Recipe.load("topk"), Recipe.load("variational")
    dc = 'preprocess.steps=["remove_dc", "patch_range"]'
    small = ["optim.batch_size=20", "model.n_latents=7", "model.target_l0=2"]
    runs = {
        "first": train(x, folder / "first", "model.n_latents=5", dc),
        "second": train(x, folder / "second", "model.n_latents=4", "train.seed=1"),
        "topk": train(x, folder / "topk", *small, recipe=topk),
        "deep": train(x, folder / "deep", "model.n_latents=[5, 3]"),
        "vae": train(x, folder / "vae", "model.n_latents=[5, 2]", recipe=variational),
        "wide": train(random.random((60, 8)).astype(np.float32), folder / "wide"),
        "bare": train(x, folder / "bare", "model.n_latents=5"),
    }
    sizes = {"first": 5, "second": 4, "topk": 7, "deep": 3, "vae": 2, "wide": 25}
    for name, size in sizes.items():
        add_atlas(runs[name], size)
    return folder


@pytest.fixture
def api(made, static):
    return Api(Library.open([made]), TOKEN, static=static)


@pytest.fixture
def own(tmp_path, static):
    """A run that the test may change, and its api."""
    x = np.random.default_rng(1).random((40, 6)).astype(np.float32)
    run = train(x, tmp_path / "My Run <1>", "model.n_latents=5")
    add_atlas(run, 5)
    return run, Api(Library.open([run.path]), TOKEN, static=static)


def get(api, path, *headers, method="GET"):
    headers = headers or (JSON,)
    return api.answer(Request(method, f"/{TOKEN}/{path}", [HOST, *headers]))


def post(api, path, value, *headers):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = headers or (SENT, JSON)
    return api.answer(Request("POST", f"/{TOKEN}/{path}", [HOST, *headers], body))


def told(answer, status=200):
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    return json.loads(answer.body)


def error(answer, status):
    return told(answer, status)["error"]


# Addresses


def test_the_list_of_runs(api):
    rows = {row["name"]: row for row in told(get(api, ""))["runs"]}
    assert list(rows) == ["bare", "deep", "first", "second", "topk", "vae", "wide"]
    assert set(rows["first"]) == {
        *("name", "title", "n_latents", "activation", "look", "fvu", "l0", "samples", "status"),
        *("mean_activation", "n_inputs", "pca"),
    }
    assert rows["first"]["n_latents"] == 5
    assert (rows["first"]["n_inputs"], rows["wide"]["n_inputs"]) == (6, 8)
    assert rows["bare"]["n_inputs"] == 6
    assert rows["first"]["samples"] == "held out"
    assert rows["first"]["fvu"] > 0
    assert rows["topk"]["l0"] == 2
    components = [one["components"] for one in rows["topk"]["pca"]["fvu"]]
    assert (rows["topk"]["pca"]["samples"], components[0]) == (rows["topk"]["samples"], 2)
    assert rows["first"]["status"] == "finished"
    assert rows["bare"]["look"] is None
    assert rows["bare"]["n_latents"] == 5


def test_a_run_has_its_atlas_and_notes(own):
    run, api = own
    assert told(post(api, "my-run--1-/latent/2/note", {"text": SCRIPT}))["note"] == {
        "text": SCRIPT,
        "stale": False,
    }
    overview = told(get(api, "my-run--1-/"))
    assert overview == told(get(api, "my-run--1-"))
    assert overview["notes"] == {"2": {"text": SCRIPT, "stale": False}}
    assert overview["writable"] is True
    assert overview["notes_error"] is None
    assert overview["name"] == "my-run--1-"
    assert overview["title"] == "My Run <1>"
    assert overview["tags"] == [SCRIPT] * 5
    assert told(get(api, "my-run--1-/latent/2"))["note"]["text"] == SCRIPT
    assert told(get(api, "my-run--1-/latent/1"))["note"] is None
    add_atlas(run, 5, key="other")
    assert told(get(api, "my-run--1-/latent/2"))["note"] == {"text": SCRIPT, "stale": True}
    assert told(post(api, "my-run--1-/latent/2/note", {"text": ""})) == {"note": None}
    assert told(get(api, "my-run--1-/"))["notes"] == {}


def test_a_latent_is_named_until_its_weights_are_others(own):
    run, api = own
    named = {"name": {"name": SCRIPT, "stale": False}}
    assert told(post(api, "my-run--1-/latent/2/name", {"name": f" {SCRIPT} "})) == named
    assert told(get(api, "my-run--1-/"))["names"] == {"2": named["name"]}
    assert told(get(api, "my-run--1-/latent/2"))["name"] == named["name"]
    assert run.load().names.given == {2: SCRIPT}
    taken = error(post(api, "my-run--1-/latent/3/name", {"name": SCRIPT}), 400)
    assert "latents 2 and 3 are both called" in taken
    for wrong in ("a\nb", "x" * 81, "latent3"):
        assert "the name" in error(post(api, "my-run--1-/latent/3/name", {"name": wrong}), 400)
    error(post(api, "my-run--1-/latent/3/name", {"text": "x"}), 400)
    assert post(api, "my-run--1-/latent/5/name", {"name": "x"}).status == 404
    assert get(api, "my-run--1-/latent/2/name").status == 405
    model = run.path / "model.safetensors"
    kept = model.read_bytes()
    model.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert told(get(api, "my-run--1-/latent/2"))["name"] == {"name": SCRIPT, "stale": True}
    model.write_bytes(kept)
    assert told(post(api, "my-run--1-/latent/2/name", {"name": ""})) == {"name": None}
    assert told(get(api, "my-run--1-/"))["names"] == {}


def test_each_line_of_the_details_is_a_latent(api):
    for i in range(5):
        assert told(get(api, f"first/latent/{i}")) == {
            **{"latent": i, "top": [], "about": "é" * i + SCRIPT},
            "note": None,
            "name": None,
        }
    for wrong in ("5", "99999999999", "-1", "01", "1.0", "x", "", "%D9%A1", "1%00"):
        assert get(api, f"first/latent/{wrong}").status == 404


def test_data_and_playground(api):
    samples = [{"at": 0, "error": 1.0, "group": "worst"}]
    assert told(get(api, "first/data")) == {"samples": samples, "steps": []}
    assert told(get(api, "first/playground")) == {"here": True, "layers": [], "samples": samples}


def test_a_run_without_atlas_says_so_and_shows_its_training(api):
    for path in (
        "bare/",
        "bare/latent/0",
        "bare/data",
        "bare/playground",
        "bare/files/columns.bin",
    ):
        assert "no atlas yet" in error(get(api, path), 404)
        page = get(api, path, PAGE)
        assert page.status == (404 if "files" in path else 200)
    assert told(get(api, "bare/training"))["status"] == "finished"


def test_page_and_data_share_an_address(api):
    pages = ("", "first/", "first/latent/3", "first/playground", "first/data", "first/training")
    for path in (*pages, "first/compare/second"):
        page, data = get(api, path, PAGE), get(api, path, JSON)
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert b'data-base="/the-token/" data-mode="server"' in page.body
        assert b'src="/the-token/static/app.js"' in page.body
        assert data.headers["content-type"] == "application/json"
        assert page.headers["cache-control"] == data.headers["cache-control"] == "no-store"
        assert page.headers["vary"] == "accept"
        anything = ("accept", "*/*")
        assert get(api, path, anything).body == page.body
    assert get(api, "first/latent/77", PAGE).status == 404
    assert b"<h1>" in get(api, "nowhere/", PAGE).body


def test_the_shell_finds_its_files_from_any_depth():
    text = '<html data-base="/"><link href="./static/a.css"><script src="/static/b.js">'
    assert shell(text, "/t/") == (
        '<html data-base="/t/"><link href="/t/static/a.css"><script src="/t/static/b.js">'
    )
    assert shell(shell(text, "/t/"), "/t/") == shell(text, "/t/")


def test_an_installation_without_the_page_says_so(made, tmp_path):
    api = Api(Library.open([made / "first"]), TOKEN, static=tmp_path)
    assert "install it again" in get(api, "", PAGE).body.decode()
    assert get(api, "").status == 200


def test_files_are_served_with_their_kind_and_kept_by_their_key(api):
    kinds = {
        "columns.bin": "application/octet-stream",
        "samples.bin": "application/octet-stream",
        "weights.bin": "application/octet-stream",
        "sprites-0.png": "image/png",
        "photos/0.jpg": "image/jpeg",
    }
    for name, kind in kinds.items():
        answer = get(api, f"first/files/{name}")
        assert (answer.status, answer.body) == (200, name.encode())
        assert answer.headers["content-type"] == kind
        assert answer.headers["cache-control"] == "no-cache"
        tag = answer.headers["etag"]
        for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
            again = get(api, f"first/files/{name}", ("if-none-match", known))
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert get(api, f"first/files/{name}", ("if-none-match", '"x"')).status == 200


def test_an_atlas_made_again_is_read_again(own):
    run, api = own
    before = get(api, "my-run--1-/files/columns.bin").headers["etag"]
    add_atlas(run, 3, key="z" * 64)
    assert told(get(api, "my-run--1-/"))["n_latents"] == 3
    assert told(get(api, "my-run--1-/latent/2"))["latent"] == 2
    assert get(api, "my-run--1-/latent/3").status == 404
    assert get(api, "my-run--1-/files/columns.bin").headers["etag"] != before


@pytest.fixture
def looks(monkeypatch):
    """How often an atlas was looked for, its manifest asked of the disk, and checked."""
    counts = Counter()

    def counted(name):
        work = getattr(view, name)

        def wrapped(path):
            if name != "stamp_of" or path.name == "atlas.json":
                counts[name] += 1
            return work(path)

        monkeypatch.setattr(view, name, wrapped)

    for name in ("folder_of", "stamp_of", "_checked_manifest"):
        counted(name)
    return counts


PAGES = ("", "latent/3", "data", "playground", "training", "files/columns.bin", "similar/1")


@pytest.mark.parametrize("page", PAGES)
def test_a_request_looks_for_the_atlas_once(made, static, looks, page):
    api = Api(Library.open([made / "first"]), TOKEN, static=static)
    asked, checked = page not in ("training",), page not in ("training", "data", "playground")
    for again in (False, True):
        looks.clear()
        assert get(api, f"first/{page}").status == 200
        assert looks["folder_of"] == asked
        assert looks["stamp_of"] == checked
        assert looks["_checked_manifest"] == (checked and not again)


def test_the_list_of_runs_looks_for_each_atlas_once(made, static, looks):
    library = Library.open([made / "first", made / "second"])
    each = {"folder_of": 2, "stamp_of": 2, "_checked_manifest": 2}
    told(get(Api(library, TOKEN, static=static), ""))
    assert looks == each
    looks.clear()
    told(get(Api(library, TOKEN, static=static), ""))
    assert looks == {"folder_of": 2, "stamp_of": 2}


def test_static_files_and_the_icon(api):
    script = get(api, "static/app.js")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    known = ("if-none-match", script.headers["etag"])
    assert get(api, "static/app.js", known).status == 304
    assert get(api, "static/style.css").headers["content-type"] == "text/css; charset=utf-8"
    for name in ("index.html", "secret.key", "none.js", ""):
        assert get(api, f"static/{name}").status == 404
    assert get(api, "favicon.ico").status == 204
    assert api.answer(Request("GET", "/favicon.ico", [HOST])).status == 204


def test_every_answer_has_the_headers(api):
    answers = [
        get(api, ""),
        get(api, "", PAGE),
        get(api, "none"),
        get(api, "none", PAGE),
        get(api, "favicon.ico"),
        get(api, "static/app.js"),
        get(api, "first/files/columns.bin"),
        get(api, "first/files/columns.bin", ("if-none-match", "*")),
        post(api, "first/play", b"["),
        post(api, "first/data", {}),
        api.answer(Request("GET", "/", [HOST])),
        api.answer(Request("GET", "/", [])),
        api.answer(Request("PUT", f"/{TOKEN}/", [HOST])),
    ]
    expected = {
        "content-security-policy": POLICY,
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
    }
    assert expected == SECURITY
    for answer in answers:
        assert expected.items() <= answer.headers.items()
        assert answer.headers["cache-control"] in ("no-store", "no-cache")


# Training


def test_the_training_so_far(api, made):
    story = told(get(api, "first/training"))
    assert story["status"] == "finished"
    assert story["running"] is False
    assert story["steps"] == story["n_iter"] == 3
    assert story["records"] == Run(made / "first").records()
    terms = Run(made / "first").recipe().objective
    assert story["weights"] == {name: term["weight"] for name, term in terms.items()}
    assert story["target"] == Run(made / "first").recipe().objective["kl"]["target"]
    assert told(get(api, "topk/training"))["target"] is None


def test_a_running_training_is_told_and_not_disturbed(tmp_path, static):
    x = np.random.default_rng(0).random((40, 6)).astype(np.float32)
    session = begin(x, tmp_path / "run", settings=["train.steps=6", "model.n_latents=4"])
    api = Api(Library.open([tmp_path / "run"]), TOKEN, static=static)
    records = session.records()
    next(records)
    session.run.log([{**line(2), "seconds": 1.5}])
    story = told(get(api, "run/training"))
    assert (story["status"], story["running"], story["steps"]) == ("running", True, 6)
    assert (story["n_iter"], story["seconds"]) == (2, 1.5)
    for _ in records:
        told(get(api, "run/training"))
    assert "no weights yet" in error(get(api, "run/compare/run"), 404)
    session.finish()
    assert told(get(api, "run/training"))["running"] is False


def test_a_killed_training_is_not_running_and_can_go_on(tmp_path, static):
    x = np.random.default_rng(0).random((40, 6)).astype(np.float32)
    session = begin(x, tmp_path / "run", settings=["train.steps=6", "model.n_latents=4"])
    session.lock.release()
    api = Api(Library.open([tmp_path / "run"]), TOKEN, static=static)
    before = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert told(get(api, "run/training"))["running"] is False
    Run(tmp_path / "run").lock().release()  # the look keeps nothing
    (tmp_path / "run" / ".lock").unlink()
    assert told(get(api, "run/training"))["running"] is False
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == [
        n for n in before if n != ".lock"
    ]


def test_two_looks_at_once_do_not_take_each_other_for_a_training(tmp_path, static):
    x = np.random.default_rng(0).random((40, 6)).astype(np.float32)
    begin(x, tmp_path / "run", settings=["train.steps=6"]).lock.release()
    api = Api(Library.open([tmp_path / "run"]), TOKEN, static=static)
    found = []

    def look():
        for _ in range(50):
            found.append(told(get(api, "run/training"))["running"])

    looks = [threading.Thread(target=look) for _ in range(3)]
    for one in looks:
        one.start()
    for one in looks:
        one.join()
    assert found == [False] * 150


def line(step):
    spread = {"min": 0.0, "mean": 0.0, "max": 0.0}
    told = {"cost": 1.0, "terms": {}, "mean_activation": spread, "held_out_cost": None}
    return {"step": step, **told, "seconds": float(step)}


def test_long_logs_are_thinned_evenly(own):
    run, api = own
    run.log([line(step) for step in range(4, 10_001)])
    records = told(get(api, "my-run--1-/training"))["records"]
    steps = [record["step"] for record in records]
    assert len(steps) == 2000
    assert (steps[0], steps[-1]) == (1, 10_000)
    assert set(np.diff(steps)) == {5, 6} or set(np.diff(steps)) <= {4, 5, 6}
    assert thinned(range(7), 3) == [0, 3, 6]
    assert thinned([1, 2], 3) == [1, 2]
    assert thinned([], 3) == []


# Comparing


def test_two_runs_are_compared_as_the_command_line_does(api, made):
    found = told(get(api, "first/compare/second"))
    atoms = [Run(made / name).load().atoms() for name in ("first", "second")]
    expected = comparison(*atoms, signed=False).figures()
    assert found["mean_cosine"] == pytest.approx(expected["mean_cosine"])
    assert found["share"] == expected["share"]
    assert found["mean_max_first"] == pytest.approx(expected["mean_max"]["first"])
    assert found["mean_max_second"] == pytest.approx(expected["mean_max"]["second"])
    assert len(found["only_first"]) == expected["only"]["first"]
    assert len(found["only_second"]) == expected["only"]["second"]
    assert [row["name"] for row in found["runs"]] == ["first", "second"]
    values = [pair[2] for pair in found["pairs"]]
    assert values == sorted(values, reverse=True)
    cosines = match(*atoms, signed=False).cosines
    np.testing.assert_allclose(values, np.sort(cosines[cosines >= 0.5])[::-1], atol=1e-5)


def test_no_latent_is_matched_and_alone_at_once():
    """An optimal matching gives each atom a partner, for want of a better any."""
    first = torch.eye(5)
    second = torch.stack([first[0], first[1] + first[2], 0.2 * first[2] + first[1], first[4]])
    found = compare(first[:4], second, signed=True)
    pairs = {(i, j) for i, j, _ in found["pairs"]}
    assert pairs == {(0, 0), (2, 1), (1, 2)}
    assert (found["only_first"], found["only_second"]) == ([3], [3])


def test_a_run_beside_itself_and_deep_ones(api, made):
    same = told(get(api, "topk/compare/topk"))
    assert same["mean_cosine"] == pytest.approx(1)
    assert same["signed"] is True
    assert (same["only_first"], same["share"]) == ([], 1)
    assert sorted(pair[0] for pair in same["pairs"]) == [pair for pair in range(7)]
    found = told(get(api, "deep/compare/vae"))
    atoms = [Run(made / name).load().atoms() for name in ("deep", "vae")]
    cosines = match(*atoms, signed=found["signed"]).cosines
    assert len(cosines) == 2
    assert len(found["pairs"]) == (cosines >= 0.5).sum()


def test_other_inputs_and_unknown_runs_are_not_compared(api):
    assert "'wide' 8; atoms are compared input by input" in error(
        get(api, "first/compare/wide"), 400
    )
    assert get(api, "first/compare/none").status == 404


def test_a_comparison_is_made_once_for_the_same_weights(own, made, static, monkeypatch):
    run, _ = own
    api = Api(Library.open([run.path, made / "first"]), TOKEN, static=static)
    calls = []
    counted = lambda *a, **k: calls.append(1) or compare(*a, **k)  # noqa: E731
    monkeypatch.setattr(libraries, "compare", counted)
    for _ in range(3):
        told(get(api, "first/compare/my-run--1-"))
    assert len(calls) == 1
    x = np.random.default_rng(2).random((40, 6)).astype(np.float32)
    (run.path / "model.safetensors").write_bytes(
        (
            train(x, run.path.parent / "other", "model.n_latents=5").path / "model.safetensors"
        ).read_bytes()
    )
    told(get(api, "first/compare/my-run--1-"))
    assert len(calls) == 2


@pytest.mark.parametrize("signed", [True, False])
def test_large_dictionaries_pair_each_others_nearest(monkeypatch, signed):
    random = torch.Generator().manual_seed(0)
    first = torch.randn(40, 16, generator=random, dtype=torch.float64)
    second = torch.cat([first[:30].flip(0), torch.randn(6, 16, generator=random).double()])
    small = compare(first, second, signed=signed)
    monkeypatch.setattr(compared, "MATCHED", 0)
    monkeypatch.setattr(matching, "SIDE", 7)
    large = compare(first, second, signed=signed)
    assert large["mean_cosine"] is None
    assert large["share"] is None
    for name in ("mean_max_first", "mean_max_second"):
        assert large[name] == pytest.approx(small[name], abs=1e-6)
    for name in ("only_first", "only_second"):
        assert large[name] == small[name]
    exact = [pair[:2] for pair in large["pairs"] if pair[2] > 0.999]
    assert sorted(exact) == [[i, 29 - i] for i in range(30)]
    assert len({pair[1] for pair in large["pairs"]}) == len(large["pairs"])


def test_cosines_with_one_latent(api, made):
    found = told(get(api, "first/similar/3"))["cosines"]
    cosines = np.frombuffer(base64.b64decode(found), "<f4")
    atoms = Run(made / "first").load().atoms().numpy()
    atoms /= np.linalg.norm(atoms, axis=1, keepdims=True)
    np.testing.assert_allclose(cosines, atoms @ atoms[3], atol=1e-6)
    assert get(api, "first/similar/5").status == 404
    assert told(get(api, "bare/similar/4"))
    assert get(api, "bare/similar/5").status == 404


def test_few_weights_are_kept_in_memory_and_none_before_they_are_needed(api):
    api.library._loaded.most = 2
    get(api, ""), get(api, "first/"), get(api, "first/training"), get(api, "first/latent/1")
    assert not list(api.library._loaded)
    for name in ("first", "second", "deep", "first"):
        get(api, f"{name}/similar/0")
    assert list(api.library._loaded) == ["deep", "first"]


# Playing


@pytest.mark.parametrize("name", ["first", "topk", "deep", "vae"])
def test_a_played_sample_is_what_the_library_makes_of_it(api, made, name):
    trained = Run(made / name).load()
    x = np.random.default_rng(5).random((3, 6)).astype(np.float32)
    found = told(post(api, f"{name}/play", {"x": x.tolist()}))
    prepared, recon = trained.reconstruct(x)
    np.testing.assert_allclose(found["code"], trained.encode(x), atol=1e-6)
    np.testing.assert_allclose(found["prepared"], prepared, atol=1e-6)
    np.testing.assert_allclose(found["prepared_recon"], recon, atol=1e-6)
    carried = trained.preprocess.apply(torch.tensor(x)).carried
    expected = trained.preprocess.invert(torch.tensor(recon), carried)
    np.testing.assert_allclose(found["recon"], expected, atol=1e-5)


@pytest.mark.parametrize("name", ["first", "topk", "deep", "vae"])
def test_latents_are_switched_off_before_decoding(api, made, name):
    trained = Run(made / name).load()
    x = np.random.default_rng(5).random((2, 6)).astype(np.float32)
    found = told(post(api, f"{name}/play", {"x": x.tolist(), "scale": {"1": 0, "0": 2.5}}))
    code = torch.tensor(trained.encode(x))
    np.testing.assert_allclose(found["code"], code, atol=1e-6)
    code[:, 1], code[:, 0] = 0, 2.5 * code[:, 0]
    with torch.no_grad():
        expected = trained.model.decode(Codes(code))
    np.testing.assert_allclose(found["prepared_recon"], expected, atol=1e-5)


def test_a_transcoder_plays_in_the_units_of_its_targets(tmp_path, static):
    random = np.random.default_rng(0)
    x = random.random((60, 6)).astype(np.float32)
    np.save(tmp_path / "y.npy", 10 * random.random((60, 4)))
    small = ["optim.batch_size=20", "model.n_latents=7", "model.target_l0=2"]
    targets = f"data.targets={json.dumps(str(tmp_path / 'y.npy'))}"
    run = train(x, tmp_path / "run", *small, targets, recipe=Recipe.load("topk"))
    api = Api(Library.open([run.path]), TOKEN, static=static)
    found = told(post(api, "run/play", {"x": x[:2].tolist()}))
    trained = run.load()
    np.testing.assert_allclose(found["recon"], trained.decode(trained.encode(x[:2])), atol=1e-5)
    assert np.shape(found["recon"]) == (2, 4)


def test_a_float64_run_plays_in_float32(tmp_path, static):
    x = np.random.default_rng(0).random((40, 6))
    run = train(x, tmp_path / "run", "model.n_latents=4", "train.dtype=float64")
    api = Api(Library.open([run.path]), TOKEN, static=static)
    row = x[:1].astype(np.float32)
    np.testing.assert_allclose(
        told(post(api, "run/play", {"x": row.tolist()}))["code"], run.load().encode(row), atol=1e-6
    )


NAN = b'{"x": [[NaN, 0, 0, 0, 0, 0]]}'
ROW = [0.0] * 6


@pytest.mark.parametrize(
    ("question", "sentence"),
    [
        (NAN, "no JSON"),
        (b"", "no JSON"),
        (b"\xff\xff", "no JSON"),
        (b"[" * 5000, "no JSON"),
        (b'{"x": [[' + b"9" * 5000 + b"]]}", "no JSON"),
        ([], "must be a JSON object"),
        ({}, "x must be a list of samples"),
        ({"x": []}, "x must be a list of samples"),
        ({"x": ROW}, "x must be a list of samples"),
        ({"x": "ab"}, "x must be a list of samples"),
        ({"x": [ROW, ROW[1:]]}, "sample 1 has 5 values, but this run was made for 6"),
        ({"x": [[*ROW, 1.0]]}, "sample 0 has 7 values"),
        ({"x": [[*ROW[1:], None]]}, "sample 0 holds null"),
        ({"x": [[*ROW[1:], True]]}, "sample 0 holds true"),
        ({"x": [[*ROW[1:], "1"]]}, 'sample 0 holds "1"'),
        ({"x": [[*ROW[1:], 1e300]]}, r"sample 0 holds 1e\+300"),
        (b'{"x": [[0, 0, 0, 0, 0, 1e999]]}', "sample 0 holds Infinity"),
        ({"x": [[*ROW[1:], 10**300]]}, "sample 0 holds 1000"),
        ({"x": [[*ROW[1:], [1]]]}, r"sample 0 holds \[1\]"),
        ({"x": [ROW] * 257}, "257 samples; this run takes at most 256"),
        ({"x": [ROW], "scale": [1]}, "scale must be a table"),
        ({"x": [ROW], "scale": None}, "scale must be a table"),
        ({"x": [ROW], "scale": {"5": 1}}, 'latent "5" does not exist: this run has 5'),
        ({"x": [ROW], "scale": {"-1": 1}}, "does not exist"),
        ({"x": [ROW], "scale": {"1 ": 1}}, "does not exist"),
        ({"x": [ROW], "scale": {"x" * 100: 1}}, "does not exist"),
        ({"x": [ROW], "scale": {"1": "2"}}, 'latent 1 is scaled by "2"'),
        ({"x": [ROW], "scale": {"1": True}}, "latent 1 is scaled by true"),
        (b'{"x": [[0,0,0,0,0,0]], "scale": {"1": 1e999}}', "latent 1 is scaled by Infinity"),
    ],
)
def test_a_wrong_question_is_told_what_is_wrong(api, question, sentence):
    import re

    assert re.search(sentence, error(post(api, "first/play", question), 400))


def test_results_that_are_no_numbers_are_not_sent(api):
    question = {"x": [[3e38, 0, 0, 0, 0, 0]], "scale": {str(i): 3e38 for i in range(7)}}
    assert "too large for 32-bit numbers" in error(post(api, "topk/play", question), 400)


def test_answers_have_a_size(api, monkeypatch):
    from simplecell.explorer.serve import replay

    monkeypatch.setattr(replay, "MOST_NUMBERS", 100)
    assert "at most 4 at once" in error(post(api, "first/play", {"x": [ROW] * 5}), 400)


# Notes over the api


def test_what_is_no_note_is_refused(own):
    run, api = own
    for value in ({}, {"text": None}, {"text": 3}, {"text": ["a"]}):
        assert "the body must be such as" in error(
            post(api, "my-run--1-/latent/1/note", value), 400
        )
    long = {"text": "x" * 10_001}
    assert "at most 10,000" in error(post(api, "my-run--1-/latent/1/note", long), 400)
    assert post(api, "my-run--1-/latent/5/note", {"text": "x"}).status == 404
    assert not (run.path / "notes.json").exists()


def test_damaged_notes_leave_the_run_readable_and_are_kept(own):
    run, api = own
    (run.path / "notes.json").write_text("{", encoding="utf-8")
    overview = told(get(api, "my-run--1-/"))
    assert (overview["notes"], overview["writable"]) == ({}, False)
    assert overview["notes_error"].startswith("'my-run--1-/notes.json' cannot be read")
    assert told(get(api, "my-run--1-/latent/1"))["note"] is None
    sentence = error(post(api, "my-run--1-/latent/1/note", {"text": "x"}), 500)
    assert sentence == overview["notes_error"]
    assert str(run.path) not in sentence
    assert (run.path / "notes.json").read_text(encoding="utf-8") == "{"


def test_a_get_changes_nothing(own):
    run, api = own
    post(api, "my-run--1-/latent/1/note", {"text": "a note"})

    def state():
        paths = sorted(path for path in run.path.rglob("*") if path.is_file())
        return [(path, path.read_bytes(), path.stat().st_mtime_ns) for path in paths]

    before = state()
    pages = ["", "latent/1", "latent/1/note", "playground", "play", "data", "training"]
    pages += ["compare/my-run--1-", "similar/1", "files/columns.bin"]
    for page in pages:
        for method in ("GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"):
            get(api, f"my-run--1-/{page}", method=method)
    assert state() == before


# What is refused


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example:8000",
        "evil.example#127.0.0.1",
        "user@127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:80a",
        "127.0.0.1:123456",
        "127.0.0.2",
        "0.0.0.0",
        "[::]",
        "::1",
        "127.0.0.1\n",
        "",
    ],
)
def test_a_foreign_host_is_refused(api, host):
    answer = api.answer(Request("GET", f"/{TOKEN}/", [("host", host), JSON]))
    assert "answers to the names 127.0.0.1" in error(answer, 400)


def test_own_hosts_are_answered_and_none_or_two_are_not(api):
    for host in ("127.0.0.1", "127.0.0.1:8000", "localhost:1", "LOCALHOST", "[::1]", "[::1]:8000"):
        assert api.answer(Request("GET", f"/{TOKEN}/", [("host", host)])).status == 200
    assert api.answer(Request("GET", f"/{TOKEN}/", [])).status == 400
    assert api.answer(Request("GET", f"/{TOKEN}/", [HOST, HOST])).status == 400


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://127.0.0.1:8000",
        "http://127.0.0.1:8001",
        "http://127.0.0.1",
        "http://localhost:8000",
        "null",
        "file://",
        "http://127.0.0.1:8000.evil.example",
        "",
    ],
)
def test_a_foreign_origin_is_refused(own, origin):
    run, api = own
    foreign = ("origin", origin)
    assert "another page asked" in error(get(api, "my-run--1-/", foreign, JSON), 403)
    note = {"text": "x"}
    assert post(api, "my-run--1-/latent/1/note", note, SENT, foreign, JSON).status == 403
    assert not (run.path / "notes.json").exists()


def test_only_own_pages_may_write(own):
    run, api = own
    path, note = "my-run--1-/latent/1/note", {"text": "x"}
    for site in ("cross-site", "same-site", "Cross-Site", "other"):
        assert post(api, path, note, SENT, ("sec-fetch-site", site)).status == 403
    assert not (run.path / "notes.json").exists()
    mine = ("origin", "http://127.0.0.1:8000")
    assert post(api, path, note, SENT, mine, ("sec-fetch-site", "same-origin")).status == 200
    # A link on another site may be followed: reading changes nothing, and the token guards it.
    assert get(api, "", ("sec-fetch-site", "cross-site")).status == 200


@pytest.mark.parametrize(
    "kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; a=b",
             "text/plain; application/json", "application/jsonp", ""]
)  # fmt: skip
def test_a_body_that_a_form_can_send_is_refused(api, kind):
    headers = [] if kind is None else [("content-type", kind)]
    assert "Content-Type" in error(post(api, "first/play", {"x": [ROW]}, JSON, *headers), 415)


def test_json_may_name_its_letters(api):
    kind = ("content-type", "Application/JSON; charset=utf-8")
    assert post(api, "first/play", {"x": [ROW]}, kind).status == 200


def test_a_body_over_the_limit_is_refused(api):
    assert post(api, "first/play", b" " * (MOST_BODY + 1)).status == 413
    assert post(api, "first/play", b" " * MOST_BODY).status == 400
    for length in (str(2**30), "9" * 400, "-1", "1e9", "5, 5", "٣"):
        assert post(api, "first/play", b"", SENT, ("content-length", length)).status == 413


@pytest.mark.parametrize("wrong", ["", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "%00", "é"])
def test_without_the_token_there_is_nothing(api, wrong):
    for path in ("", "/", "/first/", "/static/app.js", "/first/files/columns.bin"):
        answer = api.answer(Request("GET", f"/{quote(wrong, safe='%')}{path}", [HOST, PAGE]))
        assert answer.status == 403
        assert b"open the whole address" in answer.body
        assert TOKEN.encode() not in answer.body


def test_methods_are_told_apart(api):
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "get", "", "POST"):
        answer = get(api, "first/", method=method)
        assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")
    for path in ("first/play", "first/latent/1/note"):
        assert get(api, path).headers["allow"] == "POST"
    assert get(api, "first/", method="HEAD").status == 200


ESCAPES = [
    "../run.json", "..%2frun.json", "%2e%2e/run.json", "%2e%2e%2frun.json", "..%5crun.json",
    "..\\run.json", "%252e%252e%252frun.json", "....//run.json", "./columns.bin", "columns.bin/",
    "columns.bin%00", "columns.bin%00.png", "%00", "photos/../columns.bin", "photos//0.jpg",
    "/etc/passwd", "%2fetc%2fpasswd", "C:\\Windows\\win.ini", "C:/Windows/win.ini", "C%3a%5cx",
    "\\\\server\\share", "columns.bin::$DATA", "COLUMNS.BIN", "columns.bin.", "..", ".", "%2e%2e",
    "..%c0%afrun.json", "%ff", "..;/run.json", "../../run.json", "atlas.json", "details.jsonl",
    "sprites-0.png/../../../run.json", "~root", "%2e%2e%5c%2e%2e%5crun.json", "\x00", "file:///x",
]  # fmt: skip


@pytest.mark.parametrize("path", ESCAPES)
def test_no_path_leads_out_of_the_atlas(api, path):
    for start in ("first/files/", "static/", "first/", "", "first/latent/", "first/compare/"):
        answer = get(api, start + path)
        if (start, path) in {("first/files/", "columns.bin/")}:
            assert answer.body == b"columns.bin"  # a slash at the end says nothing
        else:
            assert answer.status == 404, start + path


def test_links_in_an_atlas_lead_nowhere_else(own):
    run, api = own
    for name in ("columns.bin", "sprites-0.png"):
        (run.path / "atlas" / name).unlink()
    os.symlink("/etc/hostname", run.path / "atlas" / "columns.bin")
    os.mkfifo(run.path / "atlas" / "sprites-0.png")
    assert get(api, "my-run--1-/files/columns.bin").status == 404
    assert get(api, "my-run--1-/files/sprites-0.png").status == 404


def test_scripts_in_data_are_data(api):
    for path in ("first/", "first/latent/2", "first/training"):
        answer = get(api, path)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert told(get(api, "first/"))["photos"][0]["name"] == SCRIPT
    page = get(api, quote(SCRIPT) + "/", PAGE)
    assert b"<script" not in page.body


@pytest.mark.parametrize(
    ("name", "content", "pages"),
    [
        ("atlas/atlas.json", b"{", ["", "latent/1", "files/columns.bin"]),
        ("atlas/atlas.json", b'{"format": 1}', [""]),
        ("atlas/atlas.json", b'{"format": 9}', [""]),
        ("atlas/details.jsonl", b"{}\n{}\n", ["latent/0", "latent/4"]),
        ("atlas/details.jsonl", b"\xff\n\xff\n[]\n3\nnull\n", ["latent/1", "latent/2", "latent/4"]),
        ("atlas/data.json", b"[]", ["data", "playground"]),
        ("atlas/atlas.json", b'{"n_latents": 1e999}', ["", "latent/1"]),
        ("atlas/details.jsonl", b'{"latent": 0, "a": 1e999}\n' * 5, ["latent/0"]),
        ("atlas/details.jsonl", b'{"latent": 0, "a": NaN}\n' * 5, ["latent/0"]),
        ("atlas/data.json", b'{"samples": [], "a": -1e999}', ["data", "playground"]),
        ("atlas/playground.json", b'{"a": [Infinity]}', ["playground"]),
        ("run.json", b'{"format": 1e999}', ["training"]),
        ("model.safetensors", b"damaged", ["similar/1", "compare/my-run--1-"]),
        ("run.json", b"{}", ["training"]),
        ("recipe.toml", b"\xff", ["training"]),
    ],
)
def test_a_damaged_run_is_a_sentence_without_a_path(own, name, content, pages):
    run, api = own
    (run.path / name).write_bytes(content)
    for page in pages:
        sentence = error(get(api, f"my-run--1-/{page}"), 500)
        assert str(run.path.parent) not in sentence
        assert "Traceback" not in sentence
        assert "internal error" not in sentence
    assert len(told(get(api, ""))["runs"]) == 1


@pytest.mark.parametrize("name", ["atlas.json", "details.jsonl", "data.json"])
def test_infinite_numbers_are_damage(own, name):
    run, api = own
    path = run.path / "atlas" / name
    path.write_text(path.read_text().replace("{", '{"more": 1e999, ', 1))
    pages = {"atlas.json": "", "details.jsonl": "latent/0", "data.json": "data"}
    sentence = error(get(api, f"my-run--1-/{pages[name]}"), 500)
    assert f"{name}' " in sentence
    assert "1e999 is too large a number" in sentence


def test_an_infinite_number_in_the_log_is_no_record(own):
    run, api = own
    known = told(get(api, "my-run--1-/training"))["records"]
    with open(run.path / "log.jsonl", "a") as file:
        file.write(json.dumps(known[-1])[:-1] + ', "more": 1e999}\n')
    assert told(get(api, "my-run--1-/training"))["records"] == known


def test_an_internal_error_says_nothing_and_is_logged(api, monkeypatch, caplog):
    def broken(*_):
        raise KeyError("/secret/path")

    monkeypatch.setattr(api.library, "rows", broken)
    with caplog.at_level(logging.ERROR):
        assert error(get(api, ""), 500) == "internal error; please report it"
    assert "KeyError" in caplog.text


# Opening


def test_names_are_slugs_and_their_own(tmp_path, static):
    assert slug("Edges 100") == "edges-100"
    assert slug("..") == slug("日本") == slug("-.-") == "run"
    assert slug("a_b.c-1") == "a_b.c-1"
    assert unique("a", ["a", "a-2"]) == "a-3"
    x = np.random.default_rng(0).random((40, 6)).astype(np.float32)
    for name in ("a/one", "b/one", "c/One", "static", "favicon.ico"):
        train(x, tmp_path / name, "model.n_latents=3")
    library = Library.open(
        [tmp_path / name for name in ("a/one", "b", "c", "static", "favicon.ico", "b/one")]
    )
    assert [one.name for one in library] == ["one", "one-2", "one-3", "static-2", "favicon.ico-2"]
    rows = told(get(Api(library, TOKEN, static=static), ""))["runs"]
    assert [row["title"] for row in rows] == ["one", "one", "One", "static", "favicon.ico"]


def test_a_folder_of_runs_keeps_the_damaged_ones_in_view(made, tmp_path, static):
    (tmp_path / "good").symlink_to(made / "first")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "run.json").write_text("{", encoding="utf-8")
    (tmp_path / "table.json").write_text("{}", encoding="utf-8")
    rows = told(get(Api(Library.open([tmp_path]), TOKEN, static=static), ""))["runs"]
    assert [(row["name"], row["status"]) for row in rows] == [
        ("bad", "damaged"),
        ("good", "finished"),
    ]


def test_what_is_no_run_is_a_run_error(tmp_path):
    (tmp_path / "run.json").write_text("{", encoding="utf-8")
    for paths in ([], [tmp_path], [tmp_path / "none"], [tmp_path / "run.json"]):
        with pytest.raises(RunError):
            Library.open(paths)


# Ten thousand strangers


METHODS = ["GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "X", "GÉT", ""]
WORDS = [
    *("first", "second", "deep", "bare", "wide", "latent", "note", "play", "playground", "data"),
    *(
        "training",
        "compare",
        "similar",
        "map",
        "sample",
        "contrast",
        "files",
        "static",
        "photos",
        "0",
        "1",
        "17",
        "-1",
        "9" * 30,
    ),
    *("columns.bin", "sprites-0.png", "0.jpg", "app.js", "..", "%2e%2e", "%2f", "%00", "", "."),
    *(SCRIPT, "%3Cscript%3E", "é", "%ff%fe", "%", "%zz", "\\", "C:\\", "?", "#", "a" * 5000, "\n"),
]
VALUES = [
    *("application/json", "text/html", "*/*", "127.0.0.1:8000", "evil", "", "null", "\x00", "é"),
    *("http://127.0.0.1:8000", "cross-site", "same-origin", "*", '"x"', "10", "9" * 50, "chunked"),
]
NAMES = [
    *("host", "origin", "accept", "content-type", "content-length", "if-none-match", "cookie"),
    *("sec-fetch-site", "transfer-encoding", "x-forwarded-host", "range", "authorization"),
]
BODIES = [
    *(b"", b"{}", b"[]", b"null", b"NaN", b"{" * 3000, b'{"x": [[1,2,3,4,5,6]]}', b"\xff\x00"),
    *(b'{"x": [[1e400]]}', b'{"text": 1}', b'{"x": [[1,2,3,4,5,6]], "scale": {"0": -1}}', b'"a"'),
]

GOOD = [
    "first/play",
    "deep/play",
    "first/latent/1/note",
    "first/",
    "first/training",
    "first/contrast",
    "first/map/latent/1",
    "first/map/sample/1",
    "static/app.js",
]


def strange(chance):
    """One random request: a third of them well-formed enough to come far."""
    start = TOKEN if chance.random() < 0.8 else chance.choice(WORDS)
    rest = [chance.choice(WORDS) for _ in range(chance.randrange(5))]
    parts = [start, *(chance.choice(GOOD).split("/") if chance.random() < 0.3 else rest)]
    headers = [HOST] if chance.random() < 0.9 else []
    if chance.random() < 0.5:
        headers += [JSON, SENT]
    if chance.random() < 0.5:
        picks = range(chance.randrange(4))
        headers += [(chance.choice(NAMES), chance.choice(VALUES)) for _ in picks]
    if chance.random() < 0.2:
        parts.append("".join(chr(chance.randrange(256)) for _ in range(chance.randrange(20))))
    noise = bytes(chance.randrange(256) for _ in range(chance.randrange(30)))
    body = chance.choice([*BODIES, noise])
    return Request(chance.choice(METHODS[:4] * 3 + METHODS), "/" + "/".join(parts), headers, body)


def test_ten_thousand_random_requests_leak_nothing(api, made, caplog):
    chance, started = random.Random(0), time.perf_counter()
    secrets = [str(made).encode(), str(made.parent).encode(), os.getcwd().encode(), b"Traceback"]
    seen = dict.fromkeys((200, 400, 403, 404, 405, 413, 415), 0)
    for _ in range(10_000):
        request = strange(chance)
        answer = api.answer(request)
        assert answer.status in (*seen, 204, 304), (request, answer)
        assert not any(secret in answer.body for secret in secrets), request
        assert SECURITY.items() <= answer.headers.items()
        assert all(ord(letter) < 128 for value in answer.headers.values() for letter in value)
        seen[answer.status] = seen.get(answer.status, 0) + 1
    assert all(seen[status] for status in (200, 400, 403, 404, 405, 415)), seen
    assert not caplog.records
    assert time.perf_counter() - started < 30
