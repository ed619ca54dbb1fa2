"""Runs to a hub and back, against a stand-in on this machine: nothing leaves it."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

import simplecell
from family_runs import samples
from simplecell import SparseAutoencoder
from simplecell.cli import run_command_line
from simplecell.errors import RunError, UsageError, WriteError
from simplecell.hub import card, from_pretrained, push_to_hub
from simplecell.interop.conversion import convert
from simplecell.run.directory import Run

pytest.importorskip("huggingface_hub")
COMMIT = "a" * 40


class Hub(BaseHTTPRequestHandler):
    """What of the hub's own HTTP interface a push and a fetch use."""

    files: dict[str, bytes]
    asked: list[str]

    def _say(self, value, status=200, headers=None):
        content = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in {"Content-Length": str(len(content)), **(headers or {})}.items():
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def do_POST(self):
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.asked.append(self.path)
        if self.path == "/api/repos/create":
            name = json.loads(content)["name"]
            if name == "taken":
                self._say({"error": "you may not write here"}, 403)
            else:
                self._say({"url": f"http://{self.headers['Host']}/ada/{name}"})
        elif self.path == "/api/validate-yaml":
            self._say({"errors": [], "warnings": []})
        elif self.path.endswith("/preupload/main"):
            files = json.loads(content)["files"]
            modes = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False} for f in files
            ]
            self._say({"files": modes})
        elif self.path.endswith("/commit/main"):
            for line in content.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    value = entry["value"]
                    self.files[value["path"]] = base64.b64decode(value["content"])
            self._say(
                {"commitUrl": f"http://{self.headers['Host']}/c/{COMMIT}", "commitOid": COMMIT}
            )
        else:
            self._say({"error": f"no {self.path}"}, 404)

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.asked.append(path)
        if not path.startswith(("/api/models/ada/", "/ada/")) or "/gone/" in path:
            headers = {"X-Error-Code": "RepoNotFound"}
            self._say({"error": "Repository not found"}, 404, headers)
        elif "/revision/" in path:
            siblings = [{"rfilename": name} for name in self.files]
            self._say({"id": "ada/run", "sha": COMMIT, "siblings": siblings, "private": False})
        elif "/tree/" in path:
            self._say(
                [
                    {"type": "file", "path": name, "size": len(content), "oid": "b" * 40}
                    for name, content in self.files.items()
                ]
            )
        elif "/resolve/" in path and (name := path.rpartition("/")[2]) in self.files:
            content = self.files[name]
            etag = hashlib.sha256(content).hexdigest()
            self._say(content, headers={"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        else:
            self._say({"error": f"no {path}"}, 404, {"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *words):
        """Nothing: the tests' output is theirs."""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """(endpoint, what the stand-in holds)."""
    import huggingface_hub.constants as constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    handler = type("Mine", (Hub,), {"files": {}, "asked": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", handler
        server.shutdown()
        thread.join()


def told(hub):
    return {"endpoint": hub[0], "token": "t"}


def test_a_run_goes_up_and_comes_back(hub, run_of, tmp_path):
    run, x = run_of("topk"), samples(20)
    assert push_to_hub(run.path, "ada/run", license="mit", **told(hub)).endswith("/ada/run")
    held = hub[1].files
    assert {"README.md", "features.png", "run.json", "recipe.toml"} <= set(held)
    assert held["model.safetensors"] == (run.path / "model.safetensors").read_bytes()
    assert held["features.png"].startswith(b"\x89PNG")
    back = from_pretrained("ada/run", **told(hub))
    np.testing.assert_array_equal(back.transform(x), simplecell.load(run.path).transform(x))
    np.testing.assert_array_equal(
        simplecell.hub.from_pretrained("ada/run", **told(hub)).atoms(), back.atoms()
    )
    offline = from_pretrained("ada/run", endpoint="http://127.0.0.1:9", token="t")
    np.testing.assert_array_equal(offline.transform(x), back.transform(x))
    back.save(tmp_path / "again")  # and what was fetched is a run like any other
    assert Run(tmp_path / "again").load().preprocess.steps == run.load().preprocess.steps


def test_push_and_pull_on_the_command_line(hub, run_of, tmp_path, monkeypatch, capsys):
    run, out = run_of("topk"), tmp_path / "pulled"
    monkeypatch.setenv("HF_TOKEN", "t")
    words = ["push", str(run.path), "ada/run", "--license", "mit", "--endpoint", hub[0], "--json"]
    assert run_command_line(words) == 0
    assert json.loads(capsys.readouterr().out)["address"].endswith("/ada/run")
    assert b'license: "mit"' in hub[1].files["README.md"]
    words = ["pull", "ada/run", "--out", str(out), "--endpoint", hub[0], "--json"]
    assert run_command_line(words) == 0
    assert json.loads(capsys.readouterr().out)["run"] == str(out)
    files = {path.name for path in out.iterdir()}
    assert files == {"recipe.toml", "run.json", "log.jsonl"} | {
        "model.safetensors",
        "preprocess.safetensors",
    }
    assert not any(path.is_symlink() for path in out.iterdir())
    x = samples(20)
    wanted = simplecell.load(run.path).transform(x)
    np.testing.assert_array_equal(simplecell.load(out).transform(x), wanted)
    assert run_command_line(words) == 4  # it lies there
    assert "is there already" in capsys.readouterr().err
    gone = ["pull", "ada/gone/run", "--out", str(tmp_path / "other"), "--endpoint", hub[0]]
    assert run_command_line(gone) == 2
    assert not (tmp_path / "other").exists()
    missing = ["pull", "bob/run", "--out", str(tmp_path / "other"), "--endpoint", hub[0]]
    assert run_command_line(missing) == 4
    assert "could not fetch 'bob/run'" in capsys.readouterr().err


def test_a_transcoder_and_a_table_too(hub, run_of):
    run, x = run_of("transcoder"), samples(20)
    push_to_hub(run.path, "ada/run", **told(hub))
    back = from_pretrained("ada/run", **told(hub))
    wanted = simplecell.load(run.path)
    codes = wanted.transform(x)
    np.testing.assert_array_equal(back.inverse_transform(codes), wanted.inverse_transform(codes))


def test_an_estimator_goes_up_as_its_run_would(hub):
    import pandas as pd

    frame = pd.DataFrame(samples(40)[:, :3], columns=["a<b>", "c|d", "e"])
    sae = SparseAutoencoder(n_latents=4, max_iter=3, preprocess=["standardize"]).fit(frame)
    push_to_hub(sae, "run", **told(hub))  # the owner is who sends it
    back = from_pretrained("ada/run", **told(hub))
    np.testing.assert_array_equal(back.transform(frame), sae.transform(frame))
    text = hub[1].files["README.md"].decode()
    assert "Inputs: a\\<b\\>, c\\|d, e." in text
    assert "None was named: ask the author" in text
    assert "license:" not in text
    assert 'from_pretrained("ada/run")' in text


def test_a_converted_model_goes_up_too(hub, run_of, tmp_path, capsys):
    theirs = tmp_path / "theirs"
    convert(run_of("topk").path, theirs, "saelens")
    sae = simplecell.load(theirs)
    push_to_hub(sae, "ada/run", **told(hub))
    back, x = from_pretrained("ada/run", **told(hub)), samples(20)
    np.testing.assert_array_equal(back.transform(x), sae.transform(x))
    text = hub[1].files["README.md"].decode()
    assert "Not trained here: SAELens topk, converted." in text
    assert all(str(tmp_path).encode() not in content for content in hub[1].files.values())
    assert "SAELens" in capsys.readouterr().err


def test_what_is_sent_names_nothing_of_this_machine(hub, run_of):
    for kind in ("topk", "transcoder"):
        run = run_of(kind)
        push_to_hub(run.path, "ada/run", **told(hub))
        for name, content in hub[1].files.items():
            assert str(run_of).encode() not in content, name
        info = json.loads(hub[1].files["run.json"])
        assert info["data"]["path"] is None
        assert "checkpoints" not in {name.partition("/")[0] for name in hub[1].files}
    assert hub[1].files["log.jsonl"].count(b"\n") > 3


def test_the_card_is_the_run_s(run_of):
    trained = run_of("batchtopk").load()
    text = card(trained, "ada/my_run", "cc-by-4.0")
    yaml, _, rest = text.removeprefix("---\n").partition("\n---\n")
    assert yaml.splitlines()[:2] == ['license: "cc-by-4.0"', "library_name: simplecell"]
    assert "- batchtopk" in yaml
    fvu = trained.info["figures"]["held_out"]["fvu"]
    assert f"| variance unexplained, fraction | {fvu:.4g} |" in rest
    assert "192 samples for training and 48 held out" in rest
    assert "File: `x.npy`" in rest
    assert 'from_pretrained("ada/my_run")' in rest
    assert trained.recipe.text().strip() in rest


def test_what_goes_wrong_is_one_sentence(hub, run_of, tmp_path, monkeypatch):
    run = run_of("topk").path
    with pytest.raises(WriteError, match=r"could not send 'taken'.*403"):
        push_to_hub(run, "taken", **told(hub))
    with pytest.raises(RunError, match="could not fetch 'ada/gone'"):
        from_pretrained("ada/gone", **told(hub))
    with pytest.raises(UsageError, match="is no name of a repository"):
        from_pretrained("a b/c/d", **told(hub))
    with pytest.raises(RunError, match="is not a run directory"):
        push_to_hub(tmp_path, "ada/run", **told(hub))
    hub[1].files.clear()
    with pytest.raises(RunError):
        from_pretrained("ada/run", **told(hub))
    with pytest.raises(WriteError, match="could not send 'ada/run'"):
        push_to_hub(run, "ada/run", endpoint="http://127.0.0.1:9", token="t")
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(UsageError, match=r"pip install 'simplecell\[hub\]'"):
        from_pretrained("ada/run")
