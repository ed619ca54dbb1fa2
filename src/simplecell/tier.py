"""Which way sums over entries are made on the CPU: by torch, or by the library compiled beside it.

Told without loading torch, so that `simplecell info` need not either.
"""

from __future__ import annotations

import ctypes
import functools
import os
import platform
from pathlib import Path
from typing import NamedTuple

EDITION = 2
"""Of the compiled functions, as `update.cpp` says it."""
SWITCH = "SIMPLECELL_NATIVE"
"""Environment variable: 0 leaves the compiled library alone."""
PLAIN, KINDS = "torch", ("avx2", "generic")
"""Tiers: without the library, and what it is compiled for, the fastest first."""
FOLDER = Path(__file__).parent / "model" / "native"


class Tier(NamedTuple):
    """Which way sums over entries are made on the CPU."""

    name: str
    """`PLAIN`, or what the library was compiled for, of `KINDS`."""
    reason: str
    """Why, as a sentence's end."""

    @property
    def library(self) -> Path | None:
        """The compiled file, if it is one of `KINDS`."""
        return None if self.name == PLAIN else FOLDER / f"compiled-{self.name}.shared"


@functools.cache
def tier(chosen: str | None = None) -> Tier:
    """What is here, or `chosen` if that is."""
    if os.environ.get(SWITCH) == "0":
        return Tier(PLAIN, f"{SWITCH}=0 is set")
    if chosen == PLAIN:
        return Tier(PLAIN, "the run that goes on began so")
    kinds = KINDS if _has_avx2() else KINDS[1:]
    there = [kind for kind in kinds if (FOLDER / f"compiled-{kind}.shared").is_file()]
    if not there:
        return Tier(PLAIN, "no C++ compiler was found when simplecell was installed")
    name = chosen if chosen in there else there[0]
    found = Tier(name, "compiled when simplecell was installed")
    wrong = _wrong(found.library)
    return found if wrong is None else Tier(PLAIN, wrong)


def _wrong(library: Path | None) -> str | None:
    """Why a compiled library cannot be used, as a sentence's end; None where it can."""
    try:
        functions = ctypes.CDLL(str(library))
    except OSError as error:
        return f"the compiled library does not load: {error}"
    edition = getattr(functions, "edition", None)
    if edition is None or edition() != EDITION:  # sources that were fetched, and not installed
        return "the library was compiled from other sources; install simplecell again"
    return None


def _has_avx2() -> bool:
    """Whether this processor has the instructions that the faster library is made of."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    try:
        words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    except OSError:  # no Linux: the generic library runs everywhere
        return False
    return {"avx2", "fma"} <= set(words)
