"""The entry point: settings that must stand before torch loads, then the command line."""

from __future__ import annotations

import os
import platform
import sys


def main() -> None:
    """Run the command line and exit with its code."""
    # Idle OpenMP threads that spin cost 4-8 times when anything else runs on the machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if platform.machine().lower() in ("x86_64", "amd64"):
        # Matrix products whose bits do not depend on memory alignment.
        os.environ.setdefault("MKL_CBWR", "AVX2,STRICT")
    from simplecell.cli import run_command_line

    sys.exit(run_command_line(sys.argv[1:]))


if __name__ == "__main__":
    main()
