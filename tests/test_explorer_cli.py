"""`simplecell explore` and `simplecell report`, as a person says them."""

from __future__ import annotations

import http.client
import re
import signal

import numpy as np
import pytest

from simplecell.cli import run_command_line

pytest_plugins = ["children"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    data = folder / "x.npy"
    np.save(data, np.random.default_rng(0).standard_normal((200, 6)).astype(np.float32))
    words = ["train", str(data), "--out", str(folder / "run"), "--set", "train.steps=5"]
    assert run_command_line(words) == 0
    return folder / "run"


def said(capsys, *words):
    capsys.readouterr()
    code = run_command_line([str(word) for word in words])
    streams = capsys.readouterr()
    return code, streams.out, streams.err


def test_a_report_is_written_into_the_run_or_elsewhere(run, tmp_path, capsys):
    code, out, _ = said(capsys, "report", run)
    assert (code, out.strip()) == (0, str(run / "report.html"))
    assert "6 inputs" in (run / "report.html").read_text()
    code, _, _ = said(capsys, "report", run, "--out", tmp_path / "r.html")
    assert code == 0
    assert (tmp_path / "r.html").read_text() == (run / "report.html").read_text()


def test_a_run_goes_on_with_an_atlas_and_a_report_in_it(run, capsys):
    assert said(capsys, "report", run)[0] == 0
    data = run.parent / "x.npy"
    code, _, err = said(capsys, "train", data, "--out", run, "--set", "train.steps=5")
    assert (code, "finished" in err) == (0, True)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["report", "nowhere"], 4, "'nowhere' is not a run directory"),
        (["explore", "nowhere"], 4, "'nowhere' is not a run directory"),
        (["explore", "RUN", "--data", "gone.npy", "--no-browser"], 3, "'gone.npy' cannot be read"),
        (["explore", "RUN", "--meta", "gone.csv", "--no-browser"], 3, "gone.csv does not exist"),
        (["explore", "RUN", "RUN", "--meta", "x.csv"], 3, "x.csv does not exist"),
        (["explore", "RUN", "--port", "99999", "--no-browser"], 2, "port"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(run, capsys, words, code, sentence):
    found, _, err = said(capsys, *(run if word == "RUN" else word for word in words))
    assert found == code
    assert sentence in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_data_of_another_width_are_refused(run, tmp_path, capsys):
    np.save(tmp_path / "wide.npy", np.zeros((3, 9)))
    code, _, err = said(capsys, "explore", run, "--data", tmp_path / "wide.npy", "--no-browser")
    assert code == 3
    assert "9 inputs" in err


def test_records_that_are_too_few_are_refused(run, tmp_path, capsys):
    (tmp_path / "meta.csv").write_text("label\na\n")
    code, _, err = said(capsys, "report", run, "--meta", tmp_path / "meta.csv")
    assert code == 3
    assert "1 records" in err


def test_the_address_is_printed_and_ctrl_c_ends_it(run, children):
    child = children.start("explore", run, "--no-browser", cwd=run.parent)
    url = children.wait_for(child.first_line)
    found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)(/[\w-]+/)", url)
    assert found
    connection = http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=10)
    connection.request("GET", found[2], headers={"Accept": "application/json"})
    answer = connection.getresponse()
    assert answer.status == 200
    assert b'"n_latents"' in answer.read()
    connection.close()
    child.kill(signal.SIGINT)
    code, _, err = child.wait()
    assert code == 0
    assert "Traceback" not in err
