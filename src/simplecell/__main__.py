"""The entry point: settings that must stand before torch loads, then the command line."""

from __future__ import annotations

import os
import platform
import signal
import sys
from pathlib import Path
from types import FrameType


def stop(number: int, frame: FrameType | None) -> None:
    """End on SIGTERM as on Ctrl-C, so that half-written files are removed."""
    sys.exit(128 + number)


def main() -> None:
    """Run the command line and exit with its code."""
    # Idle OpenMP threads that spin cost 4-8 times when anything else runs on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if platform.machine().lower() in ("x86_64", "amd64"):
        os.environ.setdefault("MKL_CBWR", reproducible_products())
    signal.signal(signal.SIGTERM, stop)
    from simplecell.cli import run_command_line

    sys.exit(run_command_line(sys.argv[1:]))


def reproducible_products() -> str:
    """The MKL setting whose matrix products have the same bits whatever the memory alignment.

    On an AVX-512 Intel processor "AVX2,STRICT" was measured 5 to 20 times slower at 2048³ and
    half as fast in training, "AUTO,STRICT" a quarter slower in training, "AUTO" as fast as no
    setting; on other processors "AUTO" means a slow compatible path.
    """
    try:
        intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text(
            encoding="ascii", errors="replace"
        )
    except OSError:
        intel = "GenuineIntel" in platform.processor()
    return "AUTO" if intel else "AVX2,STRICT"


if __name__ == "__main__":
    main()
