"""`explore --embed`: a person's own function from texts to rows, and what can be wrong with it."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from simplecell.cli import run_command_line
from simplecell.errors import UsageError
from simplecell.explorer.serve.api import Api
from simplecell.explorer.serve.embed import MOST_LETTERS, MOST_WAITING, Embedder, load_embedder
from simplecell.explorer.serve.library import Library
from simplecell.explorer.serve.messages import MOST_BODY, Request
from simplecell.explorer.serve.server import Server
from simplecell.run.begin import begin
from simplecell.run.directory import Run

pytest_plugins = ["children"]
TOKEN = "the-token"
HOST, JSON = ("host", "127.0.0.1:8000"), ("accept", "application/json")
SENT = ("content-type", "application/json")
ROW = [0.5, -1.0, 2.0]


def train(x, out):
    session = begin(x, out, settings=["train.steps=2", "model.n_latents=2"])
    for _ in session.records():
        pass
    session.finish()
    atlas = out / "atlas"
    atlas.mkdir()
    manifest = {"format": 1, "key": "k", "look": "row", "n_latents": 2, "activation": "sigmoid"}
    for name, table in {"atlas": manifest, "playground": {"here": True}, "data": {}}.items():
        (atlas / f"{name}.json").write_text(json.dumps(table), encoding="utf-8")
    return Run(out)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A run of three columns, and one of four."""
    folder = tmp_path_factory.mktemp("made")
    random = np.random.default_rng(0)
    for name, width in (("three", 3), ("four", 4)):
        train(random.random((30, width)).astype(np.float32), folder / name)
    return folder


def api_of(made, function):
    embedder = None if function is None else Embedder("mine:embed", function)
    return Api(Library.open([made]), TOKEN, embedder=embedder)


def ask(api, value, *headers, run="three", method="POST"):
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    headers = headers or (SENT, JSON)
    return api.answer(Request(method, f"/{TOKEN}/{run}/embed", [HOST, *headers], body))


def error(answer, status):
    assert answer.status == status, answer.body
    return json.loads(answer.body)["error"]


# Naming the function


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A current folder that takes modules; what they leave behind is removed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


MODULE = """
import numpy as np
ROW = [0.5, -1.0, 2.0]
def embed(texts):
    return np.array([ROW for _ in texts])
class Model:
    def encode(self, texts):
        return embed(texts)
    @property
    def broken(self):
        raise RuntimeError("no weights")
class Callable_:
    def __call__(self, texts):
        return embed(texts)
model, called = Model(), Callable_()
async def later(texts):
    return embed(texts)
print("hello from the module")
"""


@pytest.mark.parametrize("path", ["embed", "model.encode", "called"])
def test_a_function_a_method_and_an_object_are_found_in_the_current_folder(here, capsys, path):
    (here / "words_a.py").write_text(MODULE, encoding="utf-8")
    assert load_embedder(f"words_a:{path}").row("some words", 3) == ROW
    streams = capsys.readouterr()  # standard output is for the address
    assert (streams.out, "hello" in streams.err) == ("", True)


def test_a_module_may_lie_in_a_package_and_import_what_is_beside_it(here):
    (here / "own_words").mkdir()
    (here / "own_words" / "__init__.py").write_text("", encoding="utf-8")
    (here / "own_words" / "deep.py").write_text(
        "def embed(texts):\n    import beside\n    return beside.rows(texts)\n", encoding="utf-8"
    )
    (here / "beside.py").write_text("def rows(texts):\n    return [[1, 2, 3]]\n", encoding="utf-8")
    assert load_embedder("own_words.deep:embed").row("a", 3) == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("words_b", "takes MODULE:FUNCTION, not 'words_b'; for a function embed in my_embedder.py"),
        ("", "not ''"),
        (":embed", "not ':embed'"),
        ("words_b:", "not 'words_b:'"),
        ("words_b:embed:x", "takes MODULE:FUNCTION"),
        ("words_b:embed()", "takes MODULE:FUNCTION"),
        ("./words_b.py:embed", "takes MODULE:FUNCTION"),
        (".words_b:embed", "takes MODULE:FUNCTION"),
        ("words_b:3", "takes MODULE:FUNCTION"),
        ("nowhere_b:embed", "the module 'nowhere_b', which is not here; it must be installed"),
        ("words_b.py:embed", "'words_b.py', which is not here.*without its ending"),
        ("words_b:embd", "'words_b' has no 'embd'; did you mean 'embed'?"),
        ("words_b:qqqq", "'words_b' has no 'qqqq'; look at its spelling"),
        ("words_b:model.encod", "'words_b.model' has no 'encod'; did you mean 'encode'?"),
        ("words_b:model.broken", "'words_b.model.broken', which fails: RuntimeError: no weights"),
        ("words_b:ROW", "words_b:ROW is a list, but a function is needed"),
        ("words_b:Model", "words_b:Model is a class, but a function is needed"),
        ("words_b:later", "words_b:later is async, but a function is needed"),
        ("needs:embed", "'needs', which cannot be imported: ModuleNotFoundError: .*'not_there_b'"),
        ("wrong:embed", "'wrong', which cannot be imported: SyntaxError"),
        ("raises:embed", "'raises', which cannot be imported: ValueError: first second; mend it"),
        ("leaves:embed", "'leaves', which cannot be imported: SystemExit: 3"),
    ],
)
def test_what_cannot_be_named_is_one_sentence_before_anything_is_made(
    here, made, capsys, monkeypatch, name, sentence
):
    modules = {
        "words_b": MODULE,
        "needs": "import not_there_b",
        "wrong": "def embed(:",
        "raises": "raise ValueError('first\\nsecond')",
        "leaves": "raise SystemExit(3)",
    }
    for module, text in modules.items():
        (here / f"{module}.py").write_text(text, encoding="utf-8")
    opened = []
    monkeypatch.setattr("simplecell.explorer.serve.library.open_library", opened.append)
    capsys.readouterr()
    code = run_command_line(["explore", str(made / "three"), "--no-browser", "--embed", name])
    streams = capsys.readouterr()
    told = streams.err.replace("hello from the module\n", "")
    assert (code, streams.out, opened) == (2, "", [])
    assert re.search(sentence.replace("?", r"\?"), told)
    assert "Traceback" not in told
    assert len(told.strip().splitlines()) == 1


def test_ctrl_c_while_a_module_is_imported_ends_it(here):
    (here / "slow_c.py").write_text("raise KeyboardInterrupt", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt):
        load_embedder("slow_c:embed")


@pytest.mark.parametrize("extra", [[], ["HERE"]])
def test_the_current_folder_is_first_while_the_module_is_imported_alone(here, extra):
    text = "import sys\nFIRST = sys.path[0]\ndef embed(texts):\n    pass\n"
    (here / "first_d.py").write_text(text, encoding="utf-8")
    sys.path.extend(str(here) for _ in extra)
    before = [place for place in sys.path if place != str(here)]
    load_embedder("first_d:embed")
    assert str(here) == sys.modules["first_d"].FIRST
    assert sys.path == [*before, str(here)]


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("stops_e:embed", "'stops_e', which cannot be imported: GeneratorExit: no"),
        ("odd_e:stops", "'odd_e.stops', which fails: GeneratorExit: no"),
        ("odd_e:gone", "'odd_e' has no 'gone'; look at its spelling"),
        ("odd_e:model.encode", "'odd_e.model' has no 'encode'; look at its spelling"),
    ],
)
def test_whatever_a_module_raises_is_a_sentence(here, name, sentence):
    modules = {
        "stops_e": "raise GeneratorExit('no')",
        "odd_e": """
class Model:
    def __dir__(self):
        raise SystemExit(3)
model = Model()
def __getattr__(name):
    raise GeneratorExit("no") if name == "stops" else AttributeError(name)
def __dir__():
    return [1, None]
""",
    }
    for module, text in modules.items():
        (here / f"{module}.py").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=re.escape(sentence)):
        load_embedder(name)


@pytest.mark.parametrize("file", ["json.py", "json/__init__.py"])
def test_a_file_named_as_what_is_loaded_already_is_to_be_renamed(here, file):
    (here / file).parent.mkdir(exist_ok=True)
    (here / file).write_text(MODULE, encoding="utf-8")
    with pytest.raises(UsageError, match=f"not {re.escape(str(Path(file)))} of.*rename yours"):
        load_embedder("json:embed")
    (here / "again_f.py").write_text(MODULE, encoding="utf-8")
    for _ in range(2):  # what is loaded from here is no namesake
        load_embedder("again_f:embed")


def test_a_site_of_files_embeds_nothing(here, made, capsys):
    words = ["explore", str(made / "three"), "--export", str(here / "site"), "--embed", "gone:x"]
    assert run_command_line(words) == 2
    assert "leave one of the two away" in capsys.readouterr().err
    assert not (here / "site").exists()


# Asking it


@pytest.mark.filterwarnings("ignore:Sparse CSR")  # torch's own, when one is made
@pytest.mark.parametrize(
    "make",
    [
        lambda row: [row],
        lambda row: np.array([row], dtype=np.float16),
        lambda row: np.array([row], dtype=np.float64),
        lambda row: np.asfortranarray([row]),
        lambda row: [np.array(row)],
        lambda row: csr_array(np.array([row])),
        lambda row: torch.tensor([row], dtype=torch.bfloat16, requires_grad=True),
        lambda row: torch.tensor([row], dtype=torch.float64),
        lambda row: [torch.tensor(row)],
        lambda row: torch.tensor([row], requires_grad=True).to_sparse(),
        lambda row: torch.tensor([row]).to_sparse_csr(),
    ],
)
def test_every_form_of_numbers_is_taken(made, make):
    asked = []
    api = api_of(made, lambda texts: asked.append(texts) or make(ROW))
    answer = ask(api, {"text": "füße 你好\n"})
    assert (answer.status, json.loads(answer.body)) == (200, {"x": ROW})
    assert asked == [["füße 你好\n"]]


def test_whole_numbers_are_numbers(made):
    for found in ([[1, 2, 3]], torch.tensor([[1, 2, 3]]), np.array([[1, 2, 3]], dtype=np.uint8)):
        answer = ask(api_of(made, lambda _, found=found: found), {"text": "a"})
        assert json.loads(answer.body) == {"x": [1.0, 2.0, 3.0]}


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        ([[1, 2]], "mine:embed gives 2 columns, but this run reads 3 columns; name the function"),
        ([[1, 2, 3, 4]], "gives 4 columns, but this run reads 3 columns"),
        (ROW, r"shape \(3,\) for a list of one text; .* here \(1, 3\)"),
        ([ROW, ROW], r"shape \(2, 3\) for a list of one text"),
        (np.zeros((0, 3)), r"shape \(0, 3\)"),
        (np.zeros((1, 2, 3)), r"shape \(1, 2, 3\)"),
        (3.0, r"shape \(\)"),
        ([[1, np.nan, 3]], "gave nan in column 1; finite 32-bit numbers"),
        ([[1, 2, -np.inf]], "gave -inf in column 2"),
        ([[1e300, 2, 3]], r"gave 1e\+300 in column 0"),
        (None, "gave no numbers but None; it must give an array"),
        ("abc", "gave no numbers but a str"),
        ({"x": ROW}, "gave no numbers but a dict"),
        ([["1", "2", "3"]], "gave no numbers but a list"),
        ([[1, 2], [3]], "gave no numbers but a list"),
        (np.array([["a"]]), "gave no numbers but an array of <U1"),
        (np.array([[1j]]), "gave no numbers but an array of complex128"),
        (iter(ROW), "gave no numbers but a list_iterator"),
    ],
)
def test_what_is_no_row_of_the_run_is_told(made, found, sentence):
    assert re.search(sentence, error(ask(api_of(made, lambda _: found), {"text": "a"}), 500))


def test_each_run_that_is_as_wide_is_served(made):
    api = api_of(made, lambda texts: [ROW])
    assert ask(api, {"text": "a"}).status == 200
    told = error(ask(api, {"text": "a"}, run="four"), 500)
    assert "gives 3 columns, but this run reads 4 columns" in told
    assert ask(api, {"text": "a"}, run="five").status == 404


class UnsayableError(Exception):
    def __str__(self):
        raise RuntimeError("cannot be said")


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        (ValueError("too\nshort"), "mine:embed failed: ValueError: too short; the terminal"),
        (OSError("/home/me/model.bin is gone"), "mine:embed failed: OSError; the terminal"),
        (OSError("C:\\model.bin is gone"), "mine:embed failed: OSError; the terminal"),
        (KeyError("word " * 99), "failed: KeyError: 'word word "),
        (UnsayableError(), "failed: UnsayableError; the terminal"),
        (SystemExit(2), "failed: SystemExit: 2; the terminal"),
        (KeyboardInterrupt(), "failed: KeyboardInterrupt; the terminal"),
        (MemoryError(), "failed: MemoryError; the terminal"),
    ],
)
def test_its_own_faults_are_a_sentence_without_a_path(made, caplog, fault, sentence):
    calls = []

    def embed(texts):
        calls.append(texts)
        if len(calls) == 1:
            raise fault
        return [ROW]

    api = api_of(made, embed)
    with caplog.at_level(logging.ERROR):
        told = error(ask(api, {"text": "a"}), 500)
    assert sentence in told
    assert len(told) < 300
    assert Path(__file__).name not in told
    assert caplog.records[0].exc_info[1] is fault
    assert ask(api, {"text": "a"}).status == 200  # and it goes on


class Unnamed(type):
    @property
    def __name__(cls):
        raise SystemExit(4)


class Nameless(metaclass=Unnamed):
    pass


class LeavingError(Exception):
    def __str__(self):
        raise SystemExit(5)


class NamelessError(Exception, metaclass=Unnamed):
    pass


class Unlooked:
    @property
    def __class__(self):
        raise SystemExit(6)


class Unarrayed:
    def __array__(self, dtype=None, copy=None):
        raise GeneratorExit("no array")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Nameless(), "gave no numbers but a Nameless; it must give"),
        (lambda: Unarrayed(), "gave no numbers but a Unarrayed; it must give"),
        (lambda: Unlooked(), "mine:embed gave what cannot be looked at; it must give an array"),
        (lambda: LeavingError("a"), "mine:embed failed: LeavingError; the terminal"),
        (lambda: NamelessError("a"), "mine:embed failed: NamelessError: a; the terminal"),
    ],
)
def test_no_object_ends_its_thread(made, make, sentence):
    given = iter([make(), [ROW]])

    def embed(texts):
        one = next(given)
        if issubclass(type(one), Exception):
            raise one
        return one

    api = api_of(made, embed)
    told = []
    for _ in range(2):  # in a thread, so that the test ends where the other one died
        look = threading.Thread(target=lambda: told.append(ask(api, {"text": "a"})), daemon=True)
        look.start()
        look.join(20)
    assert sentence in error(told[0], 500)
    assert told[1].status == 200


def test_what_cannot_be_converted_is_told_in_the_terminal(made, caplog):
    with caplog.at_level(logging.ERROR):
        error(ask(api_of(made, lambda _: [[1, 2], [3]]), {"text": "a"}), 500)
    assert "mine:embed gave what is no array" in caplog.text
    assert "Traceback" in caplog.text
    assert "ValueError: setting an array element" in caplog.text


def test_what_it_prints_goes_to_standard_error(made, capsys):
    def embed(texts):
        print("thinking")
        return [ROW]

    assert ask(api_of(made, embed), {"text": "a"}).status == 200
    assert capsys.readouterr() == ("", "thinking\n")
    print("as before")
    assert capsys.readouterr().out == "as before\n"


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({}, "the body must be such as"),
        ({"text": None}, "the body must be such as"),
        ({"text": ["a"]}, "the body must be such as"),
        ({"text": ""}, "the text is empty"),
        ({"text": " \n\t"}, "the text is empty"),
        ({"text": "x" * (MOST_LETTERS + 1)}, "has 20,001 characters; 20,000 are the most"),
        (b'{"text": "\\ud800"}', "half a character"),
        ([], "must be a JSON object"),
        (b"{", "no JSON"),
    ],
)
def test_what_is_no_text_never_reaches_it(made, value, sentence):
    asked = []
    api = api_of(made, lambda texts: asked.append(texts) or [ROW])
    assert sentence in error(ask(api, value), 400)
    assert not asked
    assert ask(api, {"text": "x" * MOST_LETTERS}).status == 200


def test_strangers_never_reach_it(made):
    asked = []
    api = api_of(made, lambda texts: asked.append(texts) or [ROW])
    good = {"text": "a"}
    assert ask(api, good, SENT, ("origin", "http://evil.example")).status == 403
    assert ask(api, good, SENT, ("origin", "null")).status == 403
    assert ask(api, good, SENT, ("sec-fetch-site", "cross-site")).status == 403
    assert ask(api, good, ("content-type", "text/plain")).status == 415
    assert ask(api, b" " * (MOST_BODY + 1)).status == 413
    assert ask(api, good, SENT, ("content-length", str(2**30))).status == 413
    for method in ("GET", "HEAD", "PUT", "OPTIONS"):
        assert ask(api, good, method=method).status == 405
    body = json.dumps(good).encode()
    for path, host in ((f"/wrong/{TOKEN}/three/embed", HOST[1]), (f"/{TOKEN}/three/embed", "evil")):
        answer = api.answer(Request("POST", path, [("host", host), SENT], body))
        assert answer.status in (400, 403)
    assert not asked
    assert ask(api, good, SENT, ("origin", "http://127.0.0.1:8000")).status == 200


def test_the_playground_says_whether_texts_are_taken(made, tmp_path):
    def playground(api):
        answer = api.answer(Request("GET", f"/{TOKEN}/three/playground", [HOST, JSON]))
        return json.loads(answer.body)

    assert playground(api_of(made, lambda texts: [ROW]))["embeds"] is True
    assert "embeds" not in playground(api_of(made, None))
    assert "--embed MODULE:FUNCTION" in error(ask(api_of(made, None), {"text": "a"}), 404)


def test_it_is_asked_by_one_at_a_time_and_by_one_thread(made):
    inside, most, threads = [], [], set()

    def embed(texts):
        inside.append(texts)
        most.append(len(inside))
        threads.add(threading.get_ident())
        time.sleep(0.01)
        inside.pop()
        return [[float(texts[0])] * 3]

    api, found = api_of(made, embed), {}

    def look(number):
        found[number] = json.loads(ask(api, {"text": str(number)}).body)["x"][0]

    looks = [threading.Thread(target=look, args=(number,)) for number in range(8)]
    for one in looks:
        one.start()
    for one in looks:
        one.join()
    assert found == {number: number for number in range(8)}
    assert (max(most), len(threads)) == (1, 1)


def test_a_function_that_fills_one_array_again_and_again_mixes_nothing():
    same, done, go = np.zeros((1, 3)), threading.Event(), threading.Event()

    def embed(texts):
        if texts[0] == "2":
            go.wait(20)
        same[:] = float(texts[0])
        if texts[0] == "2":
            done.set()
        return same

    class Slow(Embedder):
        """Whoever asked for the first text wakes when the second is embedded."""

        def _checked(self, array, width):
            if threading.current_thread() is first:
                go.set()
                done.wait(20)
            return super()._checked(array, width)

    embedder, found = Slow("mine:embed", embed), []
    first = threading.Thread(target=lambda: found.append(embedder.row("1", 3)))
    first.start()
    second = threading.Thread(target=embedder.row, args=("2", 3))
    second.start()
    first.join(20)
    go.set()
    second.join(20)
    assert found == [[1.0, 1.0, 1.0]]


def test_of_too_many_texts_the_last_are_refused_at_once(made):
    end, answers = threading.Event(), []
    embedder = Embedder("mine:embed", lambda texts: end.wait(20) and [ROW])
    api = Api(Library.open([made]), TOKEN, embedder=embedder)
    looks = [
        threading.Thread(target=lambda: answers.append(ask(api, {"text": "a"}))) for _ in range(40)
    ]
    for one in looks:
        one.start()
    until = time.perf_counter() + 10
    while len(answers) < 40 - 1 - MOST_WAITING and time.perf_counter() < until:
        time.sleep(0.01)
    at_once = answers[:]
    end.set()
    for one in looks:
        one.join(20)
    refused = [error(answer, 503) for answer in at_once]
    assert 40 - 1 - MOST_WAITING <= len(refused) <= 40 - MOST_WAITING
    assert all("mine:embed is busy and 8 texts wait" in sentence for sentence in refused)
    assert [answer.status for answer in answers].count(200) == 40 - len(refused)
    assert ask(api, {"text": "a"}).status == 200


def refusal_of(address):
    body, kind = b'{"text": "a"}', {"Content-Type": "application/json"}
    try:
        urllib.request.urlopen(urllib.request.Request(address, body, kind))
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
    except OSError:
        return None


def test_a_function_that_hangs_does_not_keep_the_server(made):
    inside, end = threading.Event(), threading.Event()

    def embed(texts):
        inside.set()
        end.wait()
        return [ROW]

    late = threading.Timer(15, end.set)  # so that the test ends where the server does not
    late.start()
    embedder = Embedder("mine:embed", embed)
    server = Server(Library.open([made]), embedder=embedder)
    address, told = f"{server.start()}three/embed", []
    looking = threading.Thread(target=lambda: told.append(refusal_of(address)))
    looking.start()
    assert inside.wait(20)
    with urllib.request.urlopen(server.url) as other:  # meanwhile
        assert other.status == 200
    started = time.perf_counter()
    server.stop()
    looking.join(20)
    late.cancel()
    end.set()
    assert time.perf_counter() - started < 10
    assert told == [503]
    while embedder.at_work:  # standard output is another's until then
        time.sleep(0.01)


HANGS = """
import sys, time
from concurrent.futures import ThreadPoolExecutor
def embed(texts):
    print("at work", flush=True)
    with ThreadPoolExecutor() as pool:
        return pool.submit(time.sleep, 60).result()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals are sent")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_a_function_whose_threads_hang(here, children, number):
    (here / "hangs.py").write_text(HANGS, encoding="utf-8")
    np.save(here / "x.npy", np.random.default_rng(0).random((50, 3)).astype(np.float32))
    assert run_command_line(["train", "x.npy", "--out", "run", "--set", "train.steps=2"]) == 0
    words = ["explore", "run", "--no-browser", "--embed", "hangs:embed"]
    child = children.start(*words, cwd=here)
    url = children.wait_for(child.first_line)
    look = threading.Thread(target=refusal_of, args=(f"{url}run/embed",))
    look.start()
    children.wait_for(lambda: "at work" in child.stderr.read_text())
    child.kill(number)
    late = threading.Timer(20, child.kill)  # so that the test ends where the command does not
    late.start()
    code, out, err = child.wait()
    late.cancel()
    look.join(20)
    assert (code, out) == (0, f"{url}\n")
    assert "Traceback" not in err


# The documented example


def test_the_example_of_the_docs_embeds_its_own_texts(here):
    page = Path(__file__).parents[1] / "docs" / "explorer.md"
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    (example,) = (block for block in blocks if "def embed" in block)
    (here / "lsa.py").write_text(example, encoding="utf-8")
    random = np.random.default_rng(0)
    texts = [" ".join(f"word{n}" for n in random.integers(0, 400, 30)) for _ in range(200)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (here / "texts.jsonl").write_text(lines, encoding="utf-8")
    exec(compile(example, "lsa.py", "exec"), {"__name__": "__main__"})
    rows = np.load(here / "texts.npy")
    embedder = load_embedder("lsa:embed")
    assert rows.shape == (200, 128)
    for number in (0, 7):
        np.testing.assert_allclose(embedder.row(texts[number], 128), rows[number], atol=1e-5)
