"""Texts that a person types, made rows by a function of theirs: `explore --embed MODULE:FUNCTION`.

The function is the person's own program, run because they named it; no run holds one or asks for
one.
"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import inspect
import logging
import re
import sys
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import issparse

from simplecell.errors import UsageError
from simplecell.explorer.messages import Refused
from simplecell.explorer.replay import LARGEST

Function = Callable[[list[str]], Any]
"""From n texts to numbers [n, D]: an array, a tensor, a sparse matrix, lists."""

MOST_LETTERS = 20_000
"""Characters of a text."""
MOST_TOLD = 200
"""Characters of what an exception says."""
_WORD = r"[^\W\d]\w*"
_SPELLING = re.compile(rf"({_WORD}(?:\.{_WORD})*):({_WORD}(?:\.{_WORD})*)")
_FAULTS = (Exception, SystemExit)
"""What a person's program may end in; Ctrl-C is none of it."""
_log = logging.getLogger(__name__)


class Embedder:
    """A person's function under the `name` they gave it; it is asked one text at a time.

    It runs in a thread of its own, always the same, which keeps nobody from ending: what hangs in
    it is left behind by `close`.
    """

    def __init__(self, name: str, function: Function) -> None:
        self.name = name
        self._function = function
        self._asked: SimpleQueue[tuple[str, Future[Any]]] = SimpleQueue()
        self._ended: Future[Any] = Future()
        threading.Thread(target=self._work, daemon=True).start()

    def row(self, text: Any, width: int) -> list[float]:
        """The numbers of a text, for a run that reads `width` columns.

        Raises:
            Refused: 400 for what is no text, 500 when the function fails or gives something else,
                503 after `close`.
        """
        answer: Future[Any] = Future()
        self._asked.put((_text(text), answer))
        wait([answer, self._ended], return_when=FIRST_COMPLETED)
        if not answer.done():
            raise Refused(503, "the explorer has ended; start it again")
        return self._checked(answer.result(), width)

    def close(self) -> None:
        """Keep nobody waiting any longer; harmless when said twice."""
        with contextlib.suppress(InvalidStateError):
            self._ended.set_result(None)

    def _work(self) -> None:
        while True:
            text, answer = self._asked.get()
            try:
                answer.set_result(self._array(text))
            except Refused as refused:
                answer.set_exception(refused)

    def _array(self, text: str) -> NDArray[Any]:
        try:
            found = self._function([text])
        except BaseException as error:
            _log.exception("%s failed", self.name)
            told = _without_places(error)
            raise Refused(
                500, f"{self.name} failed: {told}; the terminal of `simplecell explore` says more"
            ) from None
        try:
            array = _as_array(found)
        except _FAULTS:
            array = np.empty(0, dtype=object)
        if array.dtype.kind not in "biuf":
            raise Refused(
                500,
                f"{self.name} gave no numbers but {_kind(found)}; it must give an array of "
                "numbers, one row for each text",
            )
        return array

    def _checked(self, array: NDArray[Any], width: int) -> list[float]:
        if array.ndim != 2 or len(array) != 1:
            raise Refused(
                500,
                f"{self.name} gave an array of shape {array.shape} for a list of one text; it must "
                f"give one row for each text, here (1, {width})",
            )
        if array.shape[1] != width:
            raise Refused(
                500,
                f"{self.name} gives {array.shape[1]} columns, but this run reads {width} columns; "
                "name the function that made the run's own samples",
            )
        wrong = np.flatnonzero(~(np.abs(array[0].astype(np.float64)) <= LARGEST))
        if len(wrong):
            raise Refused(
                500,
                f"{self.name} gave {array[0, wrong[0]]} in column {wrong[0]}; finite 32-bit "
                "numbers are needed",
            )
        return array[0].astype(np.float64).tolist()


def load_embedder(name: str) -> Embedder:
    """The function that MODULE:FUNCTION or MODULE:OBJECT.METHOD names.

    Modules of the current folder are found before others.

    Raises:
        UsageError: for another spelling, for what does not exist, cannot be imported or is no
            function.
    """
    spelling = _SPELLING.fullmatch(name)
    if spelling is None:
        raise UsageError(
            f"--embed takes MODULE:FUNCTION, not '{name}'; for a function embed in my_embedder.py "
            "of this folder say --embed my_embedder:embed"
        )
    module, path = spelling.groups()
    found: Any = _module(module)
    for number, attribute in enumerate(path.split(".")):
        found = _attribute(found, attribute, ".".join([module, *path.split(".")[:number]]))
    if inspect.isclass(found) or inspect.iscoroutinefunction(found) or not callable(found):
        kind = "a class" if inspect.isclass(found) else _kind(found)
        raise UsageError(
            f"--embed {name} is {kind}, but a function is needed that takes a list of texts and "
            "gives an array; name one, or a method of an object (MODULE:OBJECT.METHOD)"
        )
    return Embedder(name, found)


def _module(name: str) -> ModuleType:
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        # Standard output is for the address alone.
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except _FAULTS as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"--embed names the module '{name}', which is not here; it must be installed, or "
                f"a file in the current folder, named without its ending .py"
            ) from error
        raise UsageError(
            f"--embed names the module '{name}', which cannot be imported: {_said(error)}; mend "
            "it, or name another"
        ) from error


def _attribute(found: Any, name: str, of: str) -> Any:
    try:
        return getattr(found, name)
    except _FAULTS as error:
        if not isinstance(error, AttributeError):
            raise UsageError(f"--embed names '{of}.{name}', which fails: {_said(error)}") from error
        near = difflib.get_close_matches(name, dir(found), n=1)
        guess = f"did you mean '{near[0]}'?" if near else "look at its spelling"
        raise UsageError(f"--embed: '{of}' has no '{name}'; {guess}") from error


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise Refused(400, 'the body must be such as {"text": "a few words"}')
    if not text.strip():
        raise Refused(400, "the text is empty; type a few words")
    if len(text) > MOST_LETTERS:
        raise Refused(400, f"the text has {len(text):,} characters; {MOST_LETTERS:,} are the most")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Refused(400, "the text holds half a character (a lone surrogate)") from None
    return text


def _as_array(found: Any) -> NDArray[Any]:
    if isinstance(found, torch.Tensor):
        found = found.detach().cpu()
        return (found.float() if found.is_floating_point() else found).numpy()
    return np.asarray(found.toarray() if issparse(found) else found)


def _kind(found: Any) -> str:
    """What something is, in a sentence."""
    if inspect.iscoroutine(found) or inspect.iscoroutinefunction(found):
        return "async"
    if isinstance(found, np.ndarray):
        return f"an array of {found.dtype}"
    return "None" if found is None else f"a {type(found).__name__}"


def _said(error: BaseException) -> str:
    """An exception in one line."""
    told = ""
    with contextlib.suppress(Exception):
        told = " ".join(str(error).split())
    told = told if len(told) <= MOST_TOLD else f"{told[:MOST_TOLD]}…"
    return f"{type(error).__name__}: {told}" if told else type(error).__name__


def _without_places(error: BaseException) -> str:
    """As `_said`, but pages tell nothing of the machine: what may hold a path is left out."""
    told = _said(error)
    return type(error).__name__ if re.search(r"[/\\]", told) else told
