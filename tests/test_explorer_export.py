"""The explorer as files: the bundler, a site for `file://`, and one HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import signal
import time
from urllib.parse import unquote

import numpy as np
import pytest
from scipy.sparse import random_array

from play_runs import patches, rows
from simplecell.errors import RunError, UsageError, WriteError
from simplecell.explorer import export as exporting
from simplecell.explorer import replace_folder
from simplecell.explorer.export import STATIC, bundle, export, page
from simplecell.explorer.make.code_shards import CodeShards
from simplecell.explorer.make.kept_codes import KeptCodes
from simplecell.explorer.replace_folder import MARK
from simplecell.explorer.serve import view
from simplecell.explorer.serve.api import Api
from simplecell.explorer.serve.library import Library
from simplecell.explorer.serve.messages import Request

SIZES = 20_000_000
pytest_plugins = ["children"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [patches(folder).path, rows(folder).path]


@pytest.fixture(scope="module")
def site(runs, tmp_path_factory):
    return export(runs, tmp_path_factory.mktemp("site") / "out").parent


def modules(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder


def given(path):
    """What a data script hands over."""
    text = path.read_text(encoding="ascii")
    found = re.fullmatch(r"simplecellData\((.*)\);\n", text, re.DOTALL)
    assert found, path
    assert "<" not in text
    return json.loads(found[1])


# The bundler


def test_modules_come_after_those_they_import(tmp_path):
    modules(
        tmp_path,
        app='import { double } from "./maths.js";\nimport {\n  one,\n  Two,\n} from "./words.js";\n'
        "globalThis.answer = double(one) + new Two().value;\n",
        maths='import { one } from "./words.js";\n'
        "export function double(x) {\n  return 2 * x * one;\n}\n",
        words="export const one = 1;\nexport class Two {\n  value = 2;\n}\n"
        "export async function later() {}\n",
    )
    text = bundle(tmp_path, "app.js")
    assert text.index("// words.js") < text.index("// maths.js") < text.index("// app.js")
    assert "import" not in text
    assert "export" not in text
    assert "const { double } = module1;" in text
    assert text.count("// words.js") == 1


@pytest.mark.parametrize(
    "line",
    [
        'import x from "./a.js";',
        'import * as x from "./a.js";',
        'import "./a.js";',
        'import { a as b } from "./a.js";',
        'import { a } from "https://elsewhere.example/a.js";',
        'import { a } from "/a.js";',
        "export default 3;",
        "export let x = 3;",
        "export { a };",
        'export * from "./a.js";',
        'const a = await fetch("x");',
        'await fetch("x");',
        'const a = import("./a.js");',
        "console.log(import.meta.url);",
    ],
)
def test_what_is_not_understood_is_refused(tmp_path, line):
    modules(tmp_path, app=f"{line}\n", a="export const a = 1;\n")
    with pytest.raises(RunError, match=r"app\.js cannot be bundled"):
        bundle(tmp_path, "app.js")


def test_types_in_comments_are_no_imports(tmp_path):
    modules(tmp_path, app='/**\n * @param {import("./a.js").A} a\n */\nexport function f(a) {}\n')
    assert '@param {import("./a.js").A} a' in bundle(tmp_path, "app.js")


def test_a_circle_a_missing_module_and_a_missing_name_are_named(tmp_path):
    modules(
        tmp_path,
        a='import { b } from "./b.js";\nexport const a = 1;\n',
        b='import { a } from "./a.js";\nexport const b = 1;\n',
        c='import { nothing } from "./d.js";\n',
        d="export const d = 1;\n",
        e='import { x } from "./gone.js";\n',
    )
    with pytest.raises(RunError, match=r"a\.js → b\.js → a\.js"):
        bundle(tmp_path, "a.js")
    with pytest.raises(RunError, match=r"c\.js imports 'nothing' from d\.js"):
        bundle(tmp_path, "c.js")
    with pytest.raises(RunError, match=r"gone\.js cannot be read"):
        bundle(tmp_path, "e.js")


def test_our_own_page_is_one_script():
    text = bundle(STATIC, "app.js")
    assert not re.search(r"^(import|export)\b", text, re.MULTILINE)
    for path in STATIC.rglob("*.js"):
        assert text.count(f"// {path.relative_to(STATIC).as_posix()}\n") == 1


# The site


def test_the_site_has_every_file_it_names(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    named = re.findall(r'(?:src|href)="([^"#]+)"', text)
    assert "app.js" in named
    assert {"lib/base.css", "pages/pages.css", "play/playground.css", "lib/screens.css"} <= set(
        named
    )
    for name in named:
        assert (site / name).is_file(), name
    listed = json.loads((site / MARK).read_text())["files"]
    found = sorted(p.relative_to(site).as_posix() for p in site.rglob("*") if p.is_file())
    assert found == sorted([*listed, MARK])


def test_the_page_is_closed_to_the_network(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "default-src 'none'" in policy
    assert "http" not in policy
    assert "unsafe" not in policy
    assert text.index("Content-Security-Policy") < text.index("<link")
    assert 'data-mode="export"' in text
    assert "<script>" not in text
    assert 'type="module"' not in text


def asked(library, path):
    """What the server answers."""
    api = Api(library, "token")
    headers = [("host", "127.0.0.1:1"), ("accept", "application/json")]
    answer = api.answer(Request("GET", f"/token/{path}", headers))
    assert answer.status == 200, path
    return answer.body


def test_the_site_says_what_the_server_says(site, runs):
    library = Library.open(runs)
    paths = {}
    for file in site.glob("data/**/*.js"):
        paths |= given(file)
    assert {"", "edges/", "table/", "table/latent/8", "edges/training"} <= set(paths)
    for path, value in paths.items():
        if "photos-" in path:
            name = path.replace("photos-", "photos/").removesuffix(".bin")
            assert base64.b64decode(value) == asked(library, name)
        elif path.endswith(".bin"):
            assert base64.b64decode(value) == asked(library, path), path
        elif "/map/codes" not in path:
            wanted = json.loads(asked(library, path))
            if path in ("edges/", "table/"):
                assert value.pop("writable") is False
                del wanted["writable"]
            assert value == wanted, path


def column_of(told, shard, at, n_points):
    """The code of a latent at each point, as shards hold it."""
    points = np.arange(told["samples"])
    if told["points"] is not None:
        points = np.frombuffer(base64.b64decode(told["points"]), dtype="<u4")
    first, last = [0, *shard["ends"]][at : at + 2]
    places = np.frombuffer(base64.b64decode(shard["places"]), dtype="<u2")[first:last]
    values = np.frombuffer(base64.b64decode(shard["values"]), dtype="<i2")[first:last]
    found = np.full(n_points, np.nan)
    found[points] = 0
    found[points[places]] = values * shard["scales"][at]
    return found


def test_the_site_has_the_codes_that_the_server_tells(site, runs):
    library = Library.open(runs)
    for name, n_latents in (("edges", 12), ("table", 9)):
        told = given(site / "data" / name / "codes.js")[f"{name}/map/codes"]
        shard = given(site / "data" / name / "codes-0.js")[f"{name}/map/codes/0"]
        assert len(shard["ends"]) == n_latents
        assert not (site / "data" / name / "codes-1.js").exists()
        for latent in range(n_latents):
            wanted = np.frombuffer(asked(library, f"{name}/map/latent/{latent}"), dtype="<f4")
            found = column_of(told, shard, latent, len(wanted))
            step = np.abs(wanted).max() / 32767
            np.testing.assert_allclose(found, wanted, rtol=0, atol=0.501 * step + 1e-12)
            assert len(np.unique(wanted)) > 1


def kept_codes(n, n_latents, density, points=None):
    rng = np.random.default_rng(0)
    codes = random_array((n, n_latents), density=density, rng=rng, format="csr")
    codes.data = (codes.data - 0.3).astype(np.float32)  # some are below 0
    return KeptCodes(np.arange(n) if points is None else points, codes)


@pytest.mark.parametrize(("most", "every"), [(10**6, True), (2000, False), (1, False)])
def test_shards_hold_the_codes_of_as_many_samples_as_fit(most, every):
    points = np.arange(500) * 3
    kept = kept_codes(500, 70, 0.2, points)
    shards = CodeShards(kept, 1600, most)
    told, found = shards.told(), list(shards)
    assert len(found) == 3
    assert [len(shard["ends"]) for shard in found] == [32, 32, 6]
    entries = sum(shard["ends"][-1] for shard in found)
    assert (told["samples"] == 500) is every
    assert entries <= most or told["samples"] == 1
    if most == 2000:
        assert entries > 1600  # as many as fit
    dense, scale = kept.codes.toarray(), np.abs(kept.codes.toarray()).max()
    for latent in (0, 31, 32, 69):
        column = column_of(told, found[latent // 32], latent % 32, 1600)
        known = np.flatnonzero(np.isfinite(column))
        assert len(known) == told["samples"]
        assert (known % 3 == 0).all()
        np.testing.assert_allclose(column[known], dense[known // 3, latent], atol=scale / 60_000)


def test_shards_of_many_samples_tell_them_apart_by_16_bits():
    kept = kept_codes(70_000, 3, 0.01)
    shards = CodeShards(kept, 70_000)
    assert shards.told()["samples"] == 65_536
    column = column_of(shards.told(), next(iter(shards)), 1, 70_000)
    known = np.isfinite(column)
    assert known[[0, -1]].all()
    np.testing.assert_allclose(column[known], kept.codes.toarray()[known, 1], atol=1e-4)


def test_codes_that_are_all_0_have_shards():
    told = list(CodeShards(kept_codes(5, 2, 0.0), 5))
    assert [shard["ends"] for shard in told] == [[0, 0]]


def test_an_export_looks_for_each_atlas_once(runs, tmp_path, monkeypatch):
    looked, checked = [], []
    look, check = view.folder_of, view._checked_manifest
    monkeypatch.setattr(view, "folder_of", lambda run: looked.append(run.path) or look(run))
    monkeypatch.setattr(view, "_checked_manifest", lambda path: checked.append(1) or check(path))
    export(runs, tmp_path / "out")
    assert (sorted(looked), len(checked)) == (sorted(runs), 2)


def test_every_latent_and_every_picture_is_there(site, runs):
    for name, n_latents in (("edges", 12), ("table", 9)):
        atlas = given(site / "data" / name / "atlas.js")[f"{name}/"]
        assert atlas["n_latents"] == n_latents
        latents = given(site / "data" / name / "latents-0.js")
        assert len(latents) == n_latents
        pictures = (atlas["sprites"] or {}).get("sheets", [])
        for file in [*pictures, *(photo["file"] for photo in atlas["photos"])]:
            assert (site / "data" / name / "files" / file).is_file()
    assert not any(unquote(path.name) != path.name for path in site.rglob("*"))


def test_a_script_in_a_name_stays_text(site):
    atlas = given(site / "data" / "table" / "atlas.js")["table/"]
    assert "<b>salt</b>" in atlas["input_names"]


def test_an_export_of_ours_is_replaced_and_nothing_else(runs, tmp_path):
    folder = tmp_path / "new" / "out"
    (tmp_path / "new").mkdir()
    first = export(runs, folder)
    assert first == folder.resolve() / "index.html"
    export(runs[1:], folder)
    assert not (folder / "data" / "edges").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["out"]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        export(runs, folder)
    assert (folder / "notes.txt").read_text() == "mine"


def test_strangers_files_stay(runs, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "thesis.doc").write_text("mine")
    with pytest.raises(UsageError, match=r"thesis\.doc"):
        export(runs, tmp_path / "a")
    (tmp_path / "a" / MARK).write_text("{broken")
    with pytest.raises(UsageError, match="no export of ours"):
        export(runs, tmp_path / "a")
    with pytest.raises(UsageError, match="is a file"):
        export(runs, tmp_path / "a" / "thesis.doc")
    (tmp_path / "empty").mkdir()
    assert export(runs[1:], tmp_path / "empty").is_file()


def full(*arguments):
    raise OSError(28, "No space left on device")


def test_a_failure_leaves_the_old_site(runs, tmp_path, monkeypatch):
    folder = tmp_path / "out"
    export(runs[1:], folder)
    before = sorted(p.relative_to(folder) for p in folder.rglob("*"))
    monkeypatch.setattr(exporting, "bundle", full)
    with pytest.raises(WriteError, match="No space left"):
        export(runs, folder)
    assert sorted(p.relative_to(folder) for p in folder.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


LOCKS = pytest.mark.skipif(os.name == "nt", reason="on Windows nobody holds a lock")
KILLED = """
import time
from simplecell.explorer import export, replace_folder
rename = replace_folder.os.replace
if moment == "old":
    replace_folder._remove = lambda old: time.sleep(60)
elif moment == "between":
    wait = lambda a, b: time.sleep(60) if str(a).endswith(".tmp") else rename(a, b)
    replace_folder.os.replace = wait
else:
    export.bundle = lambda *words: print("half", flush=True) or time.sleep(60)
export.export([run], folder)
"""


@pytest.fixture
def exporting_until(children, runs, tmp_path):
    """Start an export into out/ that stops at a moment and waits there to be killed."""

    def start(moment):
        names = {"moment": moment, "run": str(runs[1]), "folder": str(tmp_path / "out")}
        return children.start(cwd=tmp_path, before=f"globals().update({names!r})\n{KILLED}")

    return start


def kill(child):
    child.kill()
    assert child.wait()[0] == -signal.SIGKILL  # until then it was alive


@LOCKS
@pytest.mark.parametrize("moment", ["tmp", "old"])
def test_what_a_killed_export_left_goes_with_the_next(
    runs, tmp_path, children, exporting_until, moment
):
    folder, other = tmp_path / "out", tmp_path / "other"
    export(runs[1:], folder)
    child = exporting_until(moment)
    left = children.wait_for(lambda: list(tmp_path.glob(f".simplecell-*.{moment}")))
    if moment == "tmp":
        assert children.wait_for(child.first_line) == "half"
    export(runs[1:], folder)
    assert left[0].exists()  # of a process that lives
    kill(child)
    export(runs[1:], other)
    assert left[0].exists()  # of another place
    export(runs[1:], folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "out"]


@LOCKS
def test_a_site_taken_aside_by_a_killed_export_comes_back(
    runs, tmp_path, children, exporting_until, monkeypatch
):
    folder = tmp_path / "out"
    export(runs[1:], folder)
    before = (folder / "index.html").stat().st_ino
    child = exporting_until("between")
    children.wait_for(lambda: not folder.exists())
    replace_folder._put_back(folder)
    assert not folder.exists()  # it is in good hands
    kill(child)
    with monkeypatch.context() as patch:
        patch.setattr(exporting, "bundle", full)
        with pytest.raises(WriteError, match="No space left"):
            export(runs[1:], folder)
    assert (folder / "index.html").stat().st_ino == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@LOCKS
def test_a_half_removed_export_does_not_come_back(runs, tmp_path):
    folder = tmp_path / "out"
    export(runs[1:], folder)
    os.utime(folder / MARK, (1, 1))
    whole, half = (tmp_path / f"{replace_folder._stem(folder)}0000000{k}.old" for k in range(2))
    shutil.copytree(folder, half)
    (half / "app.js").unlink()
    os.utime(half / MARK)
    folder.rename(whole)
    replace_folder._put_back(folder)
    assert (folder / "app.js").exists()
    assert not whole.exists()
    export(runs[1:], folder)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@LOCKS
def test_only_what_is_ours_is_removed(runs, tmp_path):
    folder = tmp_path / "out"
    names = [f"{replace_folder._stem(folder)}0000000{k}.tmp" for k in range(8)]
    places = [tmp_path / name for name in names]
    for place in places[:6]:
        place.mkdir()
    (places[0] / "thesis.doc").write_text("mine")
    (places[1] / MARK).write_text("{broken")
    (places[2] / MARK).write_text('{"format": 1, "files": []}')
    (places[5] / MARK).touch()
    for empty in (places[4], places[5]):
        os.utime(empty, (time.time() - 2 * replace_folder.HOUR,) * 2)
    places[6].write_text("a file")
    places[7].symlink_to(places[0])
    export(runs[1:], folder)
    left = [place.exists() for place in places]
    assert left == [True, True, False, True, False, False, True, True]
    assert places[7].is_symlink()
    assert (places[0] / "thesis.doc").exists()


def test_an_older_export_goes_but_not_what_was_put_in_it(runs, tmp_path):
    old = export(runs[1:], tmp_path / "out").parent
    (old / "data" / "notes.txt").write_text("mine")
    (tmp_path / "thesis.doc").write_text("mine")
    mark = json.loads((old / MARK).read_text())
    mark["files"] += ["../thesis.doc", 3, ["data"]]
    (old / MARK).write_text(json.dumps(mark))
    replace_folder._remove(old)
    assert replace_folder._files(old) == {MARK, "data/notes.txt"}
    assert (tmp_path / "thesis.doc").exists()
    (old / "data" / "notes.txt").unlink()
    replace_folder._remove(old)
    assert not old.exists()


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("late", [True, False])
def test_files_that_come_meanwhile_stay(runs, tmp_path, monkeypatch, there, late):
    folder = tmp_path / "out"
    if there:
        export(runs[1:], folder)

    def put():
        folder.mkdir(exist_ok=True)
        (folder / "thesis.doc").write_text("mine")

    rename, make = os.replace, exporting.bundle
    if late:  # after the last look, before the rename

        def renaming(source, target):
            if not (folder / "thesis.doc").exists() and not list(tmp_path.glob("*.old")):
                put()
            rename(source, target)

        monkeypatch.setattr(replace_folder.os, "replace", renaming)
    else:
        monkeypatch.setattr(exporting, "bundle", lambda *words: put() or make(*words))
    refusal = WriteError if late and not there else UsageError
    with pytest.raises(refusal, match="could not write" if late and not there else "thesis"):
        export(runs[1:], folder)
    assert (folder / "thesis.doc").read_text() == "mine"
    assert (folder / "index.html").exists() == there
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_comes_meanwhile_stays(runs, tmp_path, monkeypatch):
    folder, make = tmp_path / "out", exporting.bundle
    put = lambda *words: folder.write_text("mine") and make(*words)  # noqa: E731
    monkeypatch.setattr(exporting, "bundle", put)
    with pytest.raises(UsageError, match="is a file"):
        export(runs[1:], folder)
    assert folder.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_takes_the_place_of_a_site_taken_aside_is_not_hidden(runs, tmp_path, monkeypatch):
    folder, rename = tmp_path / "out", os.replace
    export(runs[1:], folder)

    def renaming(source, target):
        rename(source, target)
        folder.mkdir()
        (folder / "thesis.doc").write_text("mine")

    monkeypatch.setattr(replace_folder.os, "replace", renaming)
    with pytest.raises(WriteError, match=r"lies in '.*\.old'"):
        export(runs[1:], folder)
    assert [path.name for path in folder.iterdir()] == ["thesis.doc"]
    assert (next(tmp_path.glob("*.old")) / "index.html").exists()
    assert not list(tmp_path.glob("*.tmp"))


@LOCKS
def test_two_exports_do_not_swap_at_once(runs, tmp_path):
    folder = tmp_path / "out"
    export(runs[1:], folder)
    with replace_folder._held(folder), pytest.raises(UsageError, match="another export"):
        export(runs[1:], folder)
    assert export(runs[1:], folder).is_file()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes")
def test_only_a_plain_file_of_some_size_is_read_as_a_mark(runs, tmp_path):
    folder, mark = tmp_path / "out", tmp_path / "out" / MARK
    folder.mkdir()
    (tmp_path / "elsewhere").write_text('{"format": 1, "files": []}')
    left = tmp_path / f"{replace_folder._stem(folder)}00000000.tmp"
    left.mkdir()
    os.mkfifo(left / MARK)
    (left / "thesis.doc").write_text("mine")
    makers = [
        lambda: os.mkfifo(mark),
        lambda: mark.symlink_to("/dev/zero"),
        lambda: mark.symlink_to(tmp_path / "elsewhere"),
        lambda: mark.write_bytes(b'{"format": 1}'.ljust(replace_folder.MOST_BYTES + 1)),
        lambda: mark.write_bytes(b"[" * 100_000),
    ]
    for make in makers:
        make()
        with pytest.raises(UsageError, match="no export of ours"):
            export(runs[1:], folder)
        mark.unlink()
    os.mkfifo(mark)
    pipe = os.open(mark, os.O_RDWR | os.O_NONBLOCK)
    os.write(pipe, b'{"format": 1, "files": []}')
    assert replace_folder._read_mark(folder) == {}
    os.close(pipe)
    mark.unlink()
    export(runs[1:], folder)
    assert (left / "thesis.doc").exists()


def test_the_current_folder_is_no_place(runs, tmp_path, monkeypatch):
    (tmp_path / "out" / "below").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "out" / "below")
    for name in (".", "..", tmp_path / "out"):
        with pytest.raises(UsageError, match="choose a folder below the current one"):
            export(runs[1:], name)
    assert export(runs[1:], "site").is_file()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_run_without_an_atlas_is_left_out(runs, tmp_path):
    lone = tmp_path / "lone"
    lone.mkdir()
    for name in ("run.json", "recipe.toml", "model.safetensors", "preprocess.safetensors"):
        (lone / name).write_bytes((runs[1] / name).read_bytes())
    with pytest.raises(RunError, match="simplecell explore RUN"):
        export([lone], tmp_path / "out")
    text = (export([lone, runs[1]], tmp_path / "out").parent / "data" / "runs.js").read_text()
    assert '"table"' in text
    assert '"lone"' not in text


# One file


def test_one_file_holds_everything(runs):
    text = page(runs)
    assert len(text) < SIZES
    assert 'data-mode="page"' in text
    assert not re.search(r'<(?:script|img)[^>]*\bsrc=|href="(?!data:|#)', text.split("<script>")[0])
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
    assert "unsafe" not in policy
    scripts = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert (len(scripts), len(styles)) == (2, 1)
    for block in (*scripts, *styles):
        digest = base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "<" not in scripts[0]
    assert "\r" not in text


def test_one_file_says_what_the_server_says(runs):
    text = page(runs)
    script = re.search(r"<script>globalThis\.simplecellGiven = \[(.*?)\];</script>", text)[1]
    data = json.loads(script)
    library = Library.open(runs)
    assert data["table/latent/3"] == json.loads(asked(library, "table/latent/3"))
    column = np.frombuffer(asked(library, "table/map/latent/3"), dtype="<f4")
    told, shard = data["table/map/codes"], data["table/map/codes/0"]
    np.testing.assert_allclose(column_of(told, shard, 3, len(column)), column, atol=1e-4)
    sheet = data["edges/files/sprites-0.png"]
    assert sheet.startswith("data:image/png;base64,")
    assert base64.b64decode(sheet.partition(",")[2]) == asked(library, "edges/files/sprites-0.png")
    weights = np.frombuffer(base64.b64decode(data["table/files/weights.bin"]), dtype="<f4")
    assert np.isfinite(weights).all()
