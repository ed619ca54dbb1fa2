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
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, InvalidStateError, wait
from pathlib import Path
from queue import Full, Queue
from types import ModuleType

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import sparray, spmatrix

from simplecell.errors import UsageError
from simplecell.explorer.serve.messages import Refused
from simplecell.explorer.serve.replay import LARGEST

Function = Callable[[list[str]], object]
"""From n texts to numbers [n, D]: an array, a tensor, a sparse matrix, lists."""

MOST_LETTERS = 20_000
"""Characters of a text."""
MOST_WAITING = 8
"""Texts that wait while another is embedded."""
MOST_TOLD = 200
"""Characters of what an exception says."""
_WORD = r"[^\W\d]\w*"
_SPELLING = re.compile(rf"({_WORD}(?:\.{_WORD})*):({_WORD}(?:\.{_WORD})*)")
_log = logging.getLogger(__name__)


class Embedder:
    """A person's function under the `name` they gave it; it is asked one text at a time.

    It runs in a thread of its own, always the same, which keeps nobody from ending: what hangs in
    it is left behind by `close`.
    """

    def __init__(self, name: str, function: Function) -> None:
        self.name = name
        self._function = function
        self._asked: Queue[tuple[str, int, Future[list[float]]]] = Queue(MOST_WAITING)
        self._ended: Future[list[float]] = Future()
        threading.Thread(target=self._work, daemon=True).start()

    @property
    def at_work(self) -> bool:
        """Whether the function has not answered yet."""
        return self._asked.unfinished_tasks > 0

    def row(self, text: object, width: int) -> list[float]:
        """The numbers of a text, for a run that reads `width` columns.

        Raises:
            Refused: 400 for what is no text, 500 when the function fails or gives something else,
                503 after `close` and while too many wait.
        """
        answer: Future[list[float]] = Future()
        try:
            self._asked.put_nowait((_text(text), width, answer))
        except Full:
            raise Refused(
                503, f"{self.name} is busy and {MOST_WAITING} texts wait for it; try again later"
            ) from None
        wait([answer, self._ended], return_when=FIRST_COMPLETED)
        if not answer.done():
            raise Refused(503, "the explorer has ended; start it again")
        return answer.result()

    def close(self) -> None:
        """Keep nobody waiting any longer; harmless when said twice."""
        with contextlib.suppress(InvalidStateError):
            self._ended.set_result([])

    def _work(self) -> None:
        while not self._ended.done():
            text, width, answer = self._asked.get()
            try:
                # Standard output is for the address alone.
                with contextlib.redirect_stdout(sys.stderr):
                    row = self._row(text, width)
                answer.set_result(row)
            except Refused as refused:
                answer.set_exception(refused)
            except BaseException:  # of what is made to be in the way: this thread must live on
                self._log(odd := "gave what cannot be looked at")
                answer.set_exception(Refused(500, f"{self.name} {odd}; it must give an array"))
            self._asked.task_done()

    def _row(self, text: str, width: int) -> list[float]:
        try:
            found = self._function([text])
        except BaseException as error:
            self._log("failed")
            told = _without_places(error)
            raise Refused(
                500, f"{self.name} failed: {told}; the terminal of `simplecell explore` says more"
            ) from None
        try:
            array = _as_array(found)
        except BaseException:
            self._log("gave what is no array")
            array = np.empty(0, dtype=object)
        if array.dtype.kind not in "biuf":
            raise Refused(
                500,
                f"{self.name} gave no numbers but {_kind(found)}; it must give an array of "
                "numbers, one row for each text",
            )
        return self._checked(array, width)

    def _log(self, what: str) -> None:
        """The exception at hand, with its traceback, in the terminal."""
        with contextlib.suppress(BaseException):  # not every exception lets itself be printed
            _log.exception("%s %s", self.name, what)

    def _checked(self, array: NDArray[np.generic], width: int) -> list[float]:
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
        row = array[0].astype(np.float64)
        wrong = np.flatnonzero(~(np.abs(row) <= LARGEST))
        if len(wrong):
            raise Refused(
                500,
                f"{self.name} gave {array[0, wrong[0]]} in column {wrong[0]}; finite 32-bit "
                "numbers are needed",
            )
        return row.tolist()


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
    found: object = _module(module)
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
    _look_for_namesake(name.partition(".")[0])
    importlib.invalidate_caches()
    try:
        # Standard output is for the address alone.
        with _current_folder_first(), contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise UsageError(
                f"--embed names the module '{name}', which is not here; it must be installed, or "
                f"a file in the current folder, named without its ending .py"
            ) from error
        raise UsageError(
            f"--embed names the module '{name}', which cannot be imported: {_said(error)}; mend "
            "it, or name another"
        ) from error


@contextlib.contextmanager
def _current_folder_first() -> Iterator[None]:
    """Later imports, the server's too, look there last."""
    folder = str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(folder)
        if folder not in sys.path:
            sys.path.append(folder)


def _look_for_namesake(name: str) -> None:
    """A file of the current folder is not what is imported where its name is taken already."""
    own = [one for one in (Path(name, "__init__.py"), Path(f"{name}.py")) if one.is_file()]
    if not own or name not in sys.modules:
        return
    loaded = Path(getattr(sys.modules[name], "__file__", None) or "")
    if loaded.resolve() not in [one.resolve() for one in own]:
        raise UsageError(
            f"--embed names the module '{name}', but another module of that name is loaded "
            f"already, not {own[0]} of the current folder; rename yours"
        )


def _attribute(found: object, name: str, of: str) -> object:
    try:
        return getattr(found, name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if not isinstance(error, AttributeError):
            raise UsageError(f"--embed names '{of}.{name}', which fails: {_said(error)}") from error
        near: list[str] = []
        with contextlib.suppress(BaseException):  # of a `__dir__` of theirs
            near = difflib.get_close_matches(name, dir(found), n=1)
        guess = f"did you mean '{near[0]}'?" if near else "look at its spelling"
        raise UsageError(f"--embed: '{of}' has no '{name}'; {guess}") from error


def _text(text: object) -> str:
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


def _as_array(found: object) -> NDArray[np.generic]:
    if isinstance(found, torch.Tensor):
        found = found.detach().cpu()
        found = found if found.layout == torch.strided else found.to_dense()
        return (found.float() if found.is_floating_point() else found).numpy()
    return np.asarray(found.toarray() if isinstance(found, sparray | spmatrix) else found)


def _kind(found: object) -> str:
    """What something is, in a sentence."""
    if inspect.iscoroutine(found) or inspect.iscoroutinefunction(found):
        return "async"
    if isinstance(found, np.ndarray):
        return f"an array of {found.dtype}"
    return "None" if found is None else f"a {_type(found)}"


def _type(found: object) -> str:
    """The name of its class, whatever the class itself says."""
    return str(type.__dict__["__name__"].__get__(type(found)))


def _said(error: BaseException) -> str:
    """An exception in one line."""
    told = ""
    with contextlib.suppress(BaseException):
        told = " ".join(str(error).split())
    told = told if len(told) <= MOST_TOLD else f"{told[:MOST_TOLD]}…"
    return f"{_type(error)}: {told}" if told else _type(error)


def _without_places(error: BaseException) -> str:
    """As `_said`, but pages tell nothing of the machine: what may hold a path is left out."""
    told = _said(error)
    return _type(error) if re.search(r"[/\\]", told) else told
