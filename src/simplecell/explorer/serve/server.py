"""The pages on this machine's own address: a thin ASGI application on uvicorn."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from urllib.parse import quote

import uvicorn
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect
from starlette.requests import Request as Received
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from simplecell.errors import UsageError
from simplecell.explorer.serve.api import Api
from simplecell.explorer.serve.embed import Embedder
from simplecell.explorer.serve.library import Library
from simplecell.explorer.serve.messages import (
    MOST_BODY,
    Answer,
    Request,
    as_refusal,
    may_be_long,
    too_large,
)

FAMILIES = {"127.0.0.1": socket.AF_INET, "localhost": socket.AF_INET, "::1": socket.AF_INET6}
"""Where it may listen: nowhere but on this machine."""
PATIENCE = 2
"""Seconds that an answer may still take when the server is told to stop."""


def application(api: Api) -> ASGIApp:
    """The ASGI application that asks `api`."""

    async def respond(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return
        received = Received(scope, receive)
        request = _request(received)
        try:
            told, read = await _told(api, request, received)
        except ClientDisconnect:
            return
        # What is left of a long body would be read before the next request, were there one.
        close = {} if read or not may_be_long(request) else {"connection": "close"}
        await Response(told.body, told.status, {**told.headers, **close})(scope, receive, send)

    return respond


async def _told(api: Api, request: Request, received: Received) -> tuple[Answer, bool]:
    """The answer, and whether the body was read: only where the head gives no reason to refuse."""
    if request.method != "POST":
        return await run_in_threadpool(api.answer, request), False
    refused = await run_in_threadpool(api.refuse, request)
    if refused is not None:
        return refused, False
    body = await _body(received)
    if body is None:
        return as_refusal(request, too_large()), False
    return await run_in_threadpool(api.answer, dataclasses.replace(request, body=body)), True


def _request(received: Received) -> Request:
    """The head of what came, as the api takes it."""
    scope = received.scope
    raw: bytes = scope.get("raw_path") or quote(scope["path"], errors="replace").encode()
    headers = [
        (name.decode("latin-1").lower(), v.decode("latin-1")) for name, v in scope["headers"]
    ]
    return Request(scope["method"], raw.partition(b"?")[0].decode("latin-1"), headers)


async def _body(received: Received) -> bytes | None:
    """The body, or None as soon as it is over the limit."""
    parts, size = [], 0
    async for part in received.stream():
        size += len(part)
        if size > MOST_BODY:
            return None
        parts.append(part)
    return b"".join(parts)


class Server:
    """A server of the pages; it listens at once, and answers after `start` or `run`.

    Args:
        library: the runs.
        host: "127.0.0.1", "localhost" or "::1".
        port: 0 is any that is free.
        token: the first part of every address; a random one unless given.
        static: the folder of the page's files; the package's own unless given.
        embedder: makes rows of texts that a person types in the playground.

    Raises:
        UsageError: for a host, port or token that cannot be used.
    """

    def __init__(
        self,
        library: Library,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        static: Path | None = None,
        embedder: Embedder | None = None,
    ) -> None:
        self.token = secrets.token_urlsafe(24) if token is None else token
        if not re.fullmatch("[A-Za-z0-9_-]+", self.token):
            raise UsageError("a token consists of letters, digits, '-' and '_'; give another")
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        place = "[::1]" if host == "::1" else host
        self.url = f"http://{place}:{self.port}/{self.token}/"
        self._embedder = embedder
        api = Api(library, self.token, static=static, embedder=embedder)
        self._uvicorn = _quiet(application(api))
        self._thread: threading.Thread | None = None

    def start(self) -> str:
        """Answer from a thread of its own, until `stop`; the address."""
        work = {"sockets": [self._socket]}
        self._thread = threading.Thread(target=self._uvicorn.run, kwargs=work, daemon=True)
        self._thread.start()
        while not self._uvicorn.started and self._thread.is_alive():
            time.sleep(0.005)
        return self.url

    def stop(self) -> None:
        """End what `start` began; harmless when said twice."""
        self._end()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._socket.close()

    def _end(self) -> None:
        self._uvicorn.should_exit = True
        if self._embedder is not None:
            self._embedder.close()

    def run(self, ready: Callable[[str], object] | None = None) -> int:
        """Answer until Ctrl-C or SIGTERM; the number of the signal that ended it.

        `ready` is called with the address; whoever opens it at once is answered.
        """
        with contextlib.closing(self._socket), self._until_told() as told:
            if ready is not None:
                ready(self.url)
            self._uvicorn.run(sockets=[self._socket])
        return told[0] if told else 0

    @contextlib.contextmanager
    def _until_told(self) -> Iterator[list[int]]:
        """Signals become a clean end; a second one does not wait for answers."""
        told: list[int] = []

        def end(number: int, frame: FrameType | None) -> None:
            self._uvicorn.force_exit = bool(told)
            self._end()
            told.append(number)

        if threading.current_thread() is not threading.main_thread():
            yield told
            return
        before = {one: signal.signal(one, end) for one in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield told
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)


def serve(
    library: Library,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    token: str | None = None,
    embedder: Embedder | None = None,
    ready: Callable[[str], object] | None = None,
) -> int:
    """Show the runs until Ctrl-C or SIGTERM; the number of the signal that ended it.

    `embedder` makes rows of texts that a person types in the playground. `ready` is called with
    the address; nothing is printed.

    Raises:
        UsageError: for a host, port or token that cannot be used.
    """
    return Server(library, host=host, port=port, token=token, embedder=embedder).run(ready)


class _Uvicorn(uvicorn.Server):
    """Leaves signals to whoever runs it: uvicorn's own way ends in a second signal."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def _quiet(app: ASGIApp) -> _Uvicorn:
    config = uvicorn.Config(
        app,
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=PATIENCE,
    )
    return _Uvicorn(config)


def _listen(host: str, port: int) -> socket.socket:
    if host not in FAMILIES:
        raise UsageError(
            f"the explorer listens on this machine alone, not on '{host}'; use "
            f"{', '.join(FAMILIES)}, and a tunnel (ssh -L) to look from elsewhere"
        )
    if not 0 <= port <= 65535:
        raise UsageError(f"port {port} does not exist; ports go from 0 (any free one) to 65535")
    try:
        return socket.create_server((host, port), family=FAMILIES[host], backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno or 0)  # alone: Python's own sentence has the address too
        raise UsageError(
            f"port {port} of {host} cannot be used: {reason}; choose another port, or 0 "
            "for any that is free"
        ) from error
