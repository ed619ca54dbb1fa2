"""Compiles the optional library beside the package: without a compiler the install still succeeds.

A plain C interface over arrays, so that it depends neither on Python's version nor on torch's; its
name is not that of a Python module, which it is not.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

FLAGS = ("-O3", "-std=c++17", "-shared", "-fPIC", "-fno-math-errno", "-fno-trapping-math")
VARIANTS = {"generic": (), "avx2": ("-mavx2", "-mfma")}
"""Which of them a processor can run is seen when the library is loaded."""


class Compile(BuildHookInterface[Any]):
    """`native/*.cpp` → `compiled-VARIANT.shared`, for as many variants as the compiler makes."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before a wheel, or an editable one, is put together."""
        folder = Path(self.root, "src", "simplecell", "model", "native")
        compiler = next(filter(None, map(shutil.which, _compilers())), None)
        x86 = platform.machine().lower() in ("x86_64", "amd64")
        made = []
        for name, flags in VARIANTS.items():
            if compiler and os.name == "posix" and (x86 or not flags):
                made += self._compile(compiler, folder, name, flags)
        if made:
            build_data["artifacts"] += [f"/{path.relative_to(self.root)}" for path in made]
            tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
            build_data["pure_python"], build_data["tag"] = False, f"py3-none-{tag}"

    def _compile(
        self, compiler: str, folder: Path, name: str, flags: tuple[str, ...]
    ) -> list[Path]:
        library = folder / f"compiled-{name}.shared"
        sources = map(str, sorted(folder.glob("*.cpp")))
        command = [compiler, *FLAGS, *flags, *sources, "-o", str(library)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return [library]
        self.app.display_warning(f"{library.name} was not compiled: {done.stderr.strip()}")
        library.unlink(missing_ok=True)
        return []


def _compilers() -> list[str]:
    named = os.environ.get("CXX")
    return [*([named] if named else []), "c++", "g++", "clang++"]
