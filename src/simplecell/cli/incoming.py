"""Bytes that come through a pipe: what is there is taken at once, and no more is waited for."""

from __future__ import annotations

import queue
import threading
from typing import IO, Any

from simplecell.errors import DataError

NAME = "standard input"
_CHUNK, _CHUNKS = 2**16, 64
"""Bytes that a pipe holds, and how many of those may wait: 4 MiB, whatever comes."""
_LONGEST = 2**26
"""Bytes of a line."""


class Incoming:
    """A stream read by a thread of its own, so that a batch is what came in while the last one was
    computed: a single row where rows are rare, thousands where they are many.

    Raises DataError, by each method, where the stream breaks.
    """

    def __init__(self, stream: IO[bytes]) -> None:
        # Not through the buffer: its lock, held by a thread that waits for input, would be waited
        # for in turn when the interpreter ends.
        self._raw: Any = getattr(stream, "raw", stream)
        self._waiting: queue.Queue[bytes | Exception] = queue.Queue(_CHUNKS)
        self._held = bytearray()
        self.ended = False
        self.n_lines = 0
        """Lines taken."""
        threading.Thread(target=self._fill, daemon=True).start()

    def _fill(self) -> None:
        try:
            while chunk := self._raw.read(_CHUNK):
                self._waiting.put(chunk)
            self._waiting.put(b"")
        except (OSError, ValueError) as error:
            self._waiting.put(error)

    def more(self) -> None:
        """Wait until something comes, or the end, and take what is there."""
        self._take(self._waiting.get())
        for _ in range(_CHUNKS):  # and not for ever, where somebody sends faster than this
            if self.ended:
                return
            try:
                self._take(self._waiting.get_nowait())
            except queue.Empty:
                return

    def _take(self, chunk: bytes | Exception) -> None:
        if isinstance(chunk, Exception):
            raise DataError(f"{NAME} cannot be read: {chunk}") from chunk
        self._held += chunk
        self.ended = self.ended or not chunk

    def _until(self, n: int) -> None:
        while len(self._held) < n and not self.ended:
            self.more()

    def peek(self, n: int) -> bytes:
        """The next n bytes, fewer at the end; they stay."""
        self._until(n)
        return bytes(self._held[:n])

    def read(self, n: int) -> bytes:
        """The next n bytes, fewer at the end."""
        self._until(n)
        taken = bytes(self._held[:n])
        del self._held[:n]
        return taken

    def pieces(self, size: int, most: int) -> bytes:
        """As many pieces of `size` bytes as are there, at least one but at the end, `most` at most.

        What is left at the end may be shorter.
        """
        self._until(size)
        n = min(max(len(self._held) // size, 1), most)
        return self.read(min(n * size, len(self._held)))

    def lines(self) -> list[str]:
        """The lines that are there, at least one; none at the end.

        Raises DataError for what is no text, or a line without an end.
        """
        while not self.ended and b"\n" not in self._held:
            if len(self._held) > _LONGEST:
                raise DataError(
                    f"{NAME} has a line of more than {_LONGEST >> 20} MiB; send so many numbers "
                    "as .npy"
                )
            self.more()
        end = len(self._held) if self.ended else self._held.rfind(b"\n") + 1
        if not end:
            return []
        # No other letters end a line: JSON has some of them inside its texts.
        lines = self._text(end).removesuffix("\n").split("\n")
        self.n_lines += len(lines)
        return [line.rstrip("\r") for line in lines]

    def _text(self, n: int) -> str:
        """The next n bytes; of those that are no text, the lines before."""
        content = self.read(n)
        try:
            return content.decode()
        except UnicodeDecodeError as error:
            good = content.rfind(b"\n", 0, error.start) + 1
            if good:  # the rest comes next, and says what is wrong
                self._held[:0] = content[good:]
                return content[:good].decode()
            raise DataError(
                f"line {self.n_lines + 1} of {NAME} is no text in UTF-8 ({error.reason}); send one "
                "of .npy, JSON lines and csv"
            ) from error
