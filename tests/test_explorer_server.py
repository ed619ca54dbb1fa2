"""The explorer's server: what reaches it over sockets, and how it begins and ends."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import random
import signal
import socket
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import pytest

from simplecell.errors import UsageError
from simplecell.explorer.serve import server as servers
from simplecell.explorer.serve.api import Api
from simplecell.explorer.serve.library import Library
from simplecell.explorer.serve.messages import MOST_BODY, SECURITY
from simplecell.explorer.serve.server import Server, application, serve
from simplecell.run.begin import begin

pytest_plugins = ["children"]
TOKEN = "the-token"
GIGABYTE = 2**30


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A short run with the files of an atlas that are asked for here, and a page."""
    folder = tmp_path_factory.mktemp("made")
    x = np.random.default_rng(0).random((40, 6)).astype(np.float32)
    session = begin(x, folder / "run", settings=["train.steps=3", "model.n_latents=4"])
    for _ in session.records():
        pass
    session.finish()
    atlas, static = folder / "run" / "atlas", folder / "static"
    atlas.mkdir()
    static.mkdir()
    manifest = {"format": 1, "key": "k", "look": "row", "n_latents": 4, "activation": "sigmoid"}
    (atlas / "atlas.json").write_text(json.dumps(manifest), encoding="utf-8")
    (atlas / "columns.bin").write_bytes(bytes(range(256)))
    (static / "index.html").write_text('<html data-base="/">', encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def api(made):
    return Api(Library.open([made / "run"]), TOKEN, static=made / "static")


@pytest.fixture(scope="module")
def server(made):
    one = Server(Library.open([made / "run"]), token=TOKEN, static=made / "static")
    one.start()
    yield one
    one.stop()


def connect(server):
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def head(method, path, *headers, host="127.0.0.1"):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]
    return "\r\n".join(lines).encode()


def everything(connection):
    """What comes until the other side closes."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionError:
        pass
    return b"".join(parts)


def raw(server, content):
    with connect(server) as connection:
        with contextlib.suppress(ConnectionError):  # it may have heard enough
            connection.sendall(content)
        return everything(connection)


def visit(server, path, *headers, host="127.0.0.1"):
    """One request of a path exactly as it stands here; the whole answer."""
    return raw(server, head("GET", path, "Connection: close", *headers, host=host))


def flood(server, start, part, most):
    """Send `part` again and again until the server hangs up: bytes sent, and its answer."""
    sent = 0
    with connect(server) as connection:
        connection.sendall(start)
        try:
            while sent < most:
                connection.sendall(part)
                sent += len(part)
        except ConnectionError:
            pass
        return sent, everything(connection)


# The application


def fetch(server, path, value=None, method=None, **headers):
    """(status, headers, body) of one request over the network."""
    body = None if value is None else json.dumps(value).encode()
    if body is not None:
        headers["content-type"] = "application/json"
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port)) as connection:
        connection.request(method or ("GET" if body is None else "POST"), path, body, named)
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()


def test_the_application_is_the_api(server):
    wanted = {"accept": "application/json"}
    status, headers, body = fetch(server, f"/{TOKEN}/", **wanted)
    assert (status, json.loads(body)["runs"][0]["name"]) == (200, "run")
    assert SECURITY.items() <= headers.items()
    page = fetch(server, f"/{TOKEN}/run/", accept="text/html")
    assert page[2] == f'<html data-base="/{TOKEN}/">'.encode()
    _, headers, body = fetch(server, f"/{TOKEN}/run/files/columns.bin")
    assert body == bytes(range(256))
    again = fetch(server, f"/{TOKEN}/run/files/columns.bin", if_none_match=headers["etag"])
    assert (again[0], again[2]) == (304, b"")
    assert fetch(server, "/favicon.ico")[0] == 204
    assert fetch(server, f"/{TOKEN}/", method="HEAD")[2] == b""
    story = fetch(server, f"/{TOKEN}/run/training?x=../..", **wanted)
    assert json.loads(story[2])["n_iter"] == 3
    assert fetch(server, "/")[0] == 403
    assert fetch(server, f"/{TOKEN}/", method="BREW")[0] == 405


def test_a_post_is_read_and_answered(server):
    status, headers, body = fetch(server, f"/{TOKEN}/run/play", {"x": [[0.5] * 6]})
    assert (status, np.shape(json.loads(body)["code"])) == (200, (1, 4))
    assert "connection" not in headers
    note = f"/{TOKEN}/run/latent/1/note"
    written = {"text": "<script>", "stale": False}
    assert json.loads(fetch(server, note, {"text": "<script>"})[2]) == {"note": written}
    assert json.loads(fetch(server, note, {"text": ""})[2]) == {"note": None}


def ask(api, scope, messages):
    """One raw ASGI call: the status, and how many of `messages` were taken."""
    told, left = [], list(messages)

    async def receive():
        return left.pop(0)

    async def send(message):
        told.append(message)

    base = {"type": "http", "http_version": "1.1", "query_string": b"", "scheme": "http"}
    asyncio.run(application(api)({**base, **scope}, receive, send))
    return told, len(messages) - len(left)


def chunk(content, more=True):
    return {"type": "http.request", "body": content, "more_body": more}


def post_scope(path, *headers):
    own = [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"), *headers]
    return {"method": "POST", "path": path, "raw_path": path.encode(), "headers": own}


def test_reading_stops_at_the_limit(api):
    parts = [chunk(b" " * 2**18)] * 4096  # a gigabyte, the same quarter of a megabyte all along
    told, taken = ask(api, post_scope(f"/{TOKEN}/run/play"), parts)
    assert told[0]["status"] == 413
    assert taken == MOST_BODY // 2**18 + 1


def test_nothing_is_read_of_what_is_refused_by_its_head(api):
    parts = [chunk(b" " * 2**18)] * 10
    refused = [
        (413, post_scope(f"/{TOKEN}/run/play", (b"content-length", b"1073741824"))),
        (403, post_scope("/wrong/run/play")),
        (404, post_scope(f"/{TOKEN}/run/none")),
        (405, post_scope(f"/{TOKEN}/run/")),
        (403, post_scope(f"/{TOKEN}/run/play", (b"origin", b"http://evil.example"))),
        (200, {**post_scope(f"/{TOKEN}/run/training"), "method": "GET"}),
    ]
    for status, scope in refused:
        told, taken = ask(api, scope, parts)
        assert (told[0]["status"], taken) == (status, 0)


def test_whoever_hangs_up_is_not_answered(api):
    gone = [chunk(b"{"), {"type": "http.disconnect"}]
    assert ask(api, post_scope(f"/{TOKEN}/run/play"), gone)[0] == []


def test_websockets_and_other_things_are_not_answered(api):
    told, _ = ask(api, {"type": "websocket", "path": "/", "headers": []}, [])
    assert told == [{"type": "websocket.close", "code": 1008}]
    assert ask(api, {"type": "lifespan"}, []) == ([], 0)


# Over sockets


def test_it_listens_on_this_machine_alone(server):
    assert server._socket.getsockname() == ("127.0.0.1", server.port)
    assert server.url == f"http://127.0.0.1:{server.port}/{TOKEN}/"
    for host in ("0.0.0.0", "", "192.168.0.1", "example.org"):
        with pytest.raises(UsageError, match="on this machine alone"):
            Server(Library([]), host=host)


def test_a_browser_would_get_the_page(server):
    with urllib.request.urlopen(server.url) as answer:
        assert answer.status == 200
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "Server" not in answer.headers
        assert answer.read() == f'<html data-base="/{TOKEN}/">'.encode()
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{server.port}/")
    assert refused.value.code == 403
    refused.value.close()


@pytest.mark.parametrize(
    ("host", "status"),
    [("evil.example", 400), ("127.0.0.1", 200), ("localhost:1", 200), ("[::1]", 200)],
)
def test_the_name_it_is_called_by_matters(server, host, status):
    answer = visit(server, f"/{TOKEN}/", host=host)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize(
    "path",
    [
        *("../run.json", "..%2frun.json", "%2e%2e/run.json", "%252e%252e%252frun.json"),
        *("..\\run.json", "..%5crun.json", "%00", "C:\\run.json", "/etc/passwd", "..%c0%afx"),
    ],
)
def test_no_path_over_a_socket_leads_out(server, path):
    for start in ("run/files/", "static/"):
        answer = visit(server, f"/{TOKEN}/{start}{path}", "Accept: application/json")
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b"Traceback" not in answer


def test_what_is_no_http_is_refused(server, capfd):
    for content in (
        b"\x16\x03\x01\x02\x00",
        b"GET\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0" * 100,
    ):
        assert raw(server, content).startswith(b"HTTP/1.1 400 ")
    raw(server, b"GET / HTTP/1.1\r\nHost: " + b"a" * 200_000)
    assert visit(server, f"/{TOKEN}/").startswith(b"HTTP/1.1 200 ")
    assert capfd.readouterr() == ("", "")


def test_an_announced_gigabyte_is_refused_before_it_is_sent(server):
    announced = ("Content-Type: application/json", f"Content-Length: {GIGABYTE}")
    with connect(server) as connection:
        connection.sendall(head("POST", f"/{TOKEN}/run/play", *announced))
        answer = everything(connection)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", f"/{TOKEN}/run/play"), ("POST", "/wrong/"), ("GET", f"/{TOKEN}/run/training")],
)
@pytest.mark.parametrize("chunked", [True, False])
def test_a_gigabyte_is_not_read(server, method, path, chunked):
    part = b" " * 2**18
    length = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {GIGABYTE}"
    start = head(method, path, "Content-Type: application/json", length)
    framed = b"%x\r\n%b\r\n" % (len(part), part) if chunked else part
    sent, answer = flood(server, start, framed, GIGABYTE)
    assert sent < 2**25  # what the system's own buffers hold
    assert not answer or answer.startswith((b"HTTP/1.1 413", b"HTTP/1.1 403", b"HTTP/1.1 200"))
    assert visit(server, f"/{TOKEN}/").startswith(b"HTTP/1.1 200 ")


def test_a_refused_small_body_leaves_the_connection_open(server):
    small = head("POST", f"/{TOKEN}/run/play", "Content-Type: text/plain", "Content-Length: 2")
    answers = raw(server, small + b"{}" + head("GET", f"/{TOKEN}/", "Connection: close"))
    assert answers.startswith(b"HTTP/1.1 415 ")
    assert b"HTTP/1.1 200 " in answers


def test_a_hundred_at_once_are_answered(server):
    found = []

    def look():
        for _ in range(10):
            found.append(visit(server, f"/{TOKEN}/run/training")[:13])

    visitors = [threading.Thread(target=look) for _ in range(10)]
    for visitor in visitors:
        visitor.start()
    for visitor in visitors:
        visitor.join()
    assert found == [b"HTTP/1.1 200 "] * 100


def test_a_thousand_random_calls_are_answered(api, made, caplog):
    chance, own = random.Random(0), [(b"host", b"127.0.0.1")]
    names = [b"host", b"origin", b"accept", b"content-type", b"content-length", b"x"]

    def noise(most):
        return bytes(chance.randrange(256) for _ in range(chance.randrange(most)))

    async def call(scope, body):
        told = []

        async def receive():
            return chunk(body, more=False)

        async def send(message):
            told.append(message)

        await application(api)(scope, receive, send)
        return told

    async def all_of_them():
        for _ in range(1000):
            start = chance.choice([f"/{TOKEN}/", f"/{TOKEN}/run/", "/"]).encode()
            given = [(chance.choice(names), noise(12)) for _ in range(chance.randrange(3))]
            scope = {
                **{"type": "http", "path": "/", "query_string": noise(9), "http_version": "1.1"},
                **{"method": chance.choice(["GET", "POST", "PUT"]), "headers": own + given},
                "raw_path": start + noise(16),
            }
            first, second = await call(scope, noise(30))
            assert first["status"] in (200, 400, 403, 404, 405, 413, 415), scope
            assert str(made).encode() not in second["body"]

    asyncio.run(all_of_them())
    assert not caplog.records


def test_a_path_without_its_bytes_is_a_path_as_well(api):
    scope = post_scope(f"/{TOKEN}/run/training")
    scope |= {"method": "GET", "headers": [*scope["headers"], (b"accept", b"application/json")]}
    assert ask(api, {**scope, "raw_path": b""}, [])[0][0]["status"] == 200


# Beginning and ending


def test_each_start_has_its_own_port_and_token(made):
    library = Library.open([made / "run"])
    first, second = Server(library), Server(library)
    assert first.port != second.port
    assert len(first.token) >= 32
    assert first.token != second.token
    for one in (first, second):
        one.start()
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(f"http://127.0.0.1:{one.port}/{TOKEN}/")
        refused.value.close()
        one.stop()
        one.stop()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", one.port), timeout=1)
    again = Server(library, port=first.port)
    again.stop()


def test_what_cannot_be_used_is_a_usage_error(made, server):
    library = Library.open([made / "run"])
    with pytest.raises(UsageError, match=f"port {server.port} of 127.0.0.1 cannot be used"):
        serve(library, port=server.port)
    for port in (-1, 65536):
        with pytest.raises(UsageError, match="does not exist"):
            serve(library, port=port)
    for token in ("", "a/b", "a b", "é"):
        with pytest.raises(UsageError, match="a token consists of"):
            serve(library, token=token)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_opens_the_address_at_once_is_answered(made, number):
    found = []

    def ready(url):
        def visit():
            with urllib.request.urlopen(url) as answer:
                found.append((answer.status, url))
            os.kill(os.getpid(), number)

        threading.Thread(target=visit).start()

    before = signal.getsignal(number)
    assert serve(Library.open([made / "run"]), token=TOKEN, ready=ready) == number
    assert found[0][0] == 200
    assert found[0][1].endswith(f"/{TOKEN}/")
    assert signal.getsignal(number) == before


def test_whoever_never_ends_a_request_does_not_keep_it(made, monkeypatch, capfd):
    monkeypatch.setattr(servers, "PATIENCE", 0.2)
    one = Server(Library.open([made / "run"]), token=TOKEN)
    one.start()
    kind, length = "Content-Type: application/json", "Content-Length: 100"
    with connect(one) as idle, connect(one) as slow, connect(one) as slower:
        slow.sendall(head("POST", f"/{TOKEN}/run/play", kind, length) + b"{")
        slower.sendall(b"GET / HT")
        assert visit(one, f"/{TOKEN}/run/training").startswith(b"HTTP/1.1 200 ")
        started = time.perf_counter()
        one.stop()
        assert time.perf_counter() - started < 3
        assert everything(idle) == b""
    assert capfd.readouterr() == ("", "")


def test_a_failing_callback_closes_the_door(made):
    urls = []

    def ready(url):
        urls.append(url)
        raise OSError("no browser")

    with pytest.raises(OSError, match="no browser"):
        serve(Library.open([made / "run"]), ready=ready)
    with pytest.raises(OSError):
        urllib.request.urlopen(urls[0])


def test_a_stopped_process_ends_cleanly(made, children):
    code = (
        "from simplecell.explorer.serve.library import Library\n"
        "from simplecell.explorer.serve.server import serve\n"
        f"library = Library.open([{str(made / 'run')!r}])\n"
        "sys.exit(128 + serve(library, ready=lambda url: print(url, flush=True)))"
    )
    child = children.start(cwd=made, before=code)
    url = children.wait_for(child.first_line)
    request = urllib.request.Request(url, headers={"accept": "application/json"})
    with urllib.request.urlopen(request) as answer:
        assert json.load(answer)["runs"]
    started = time.perf_counter()
    child.kill(signal.SIGINT)
    assert child.wait() == (130, f"{url}\n", "")
    assert time.perf_counter() - started < 5
