"""A room imports only what stands below it; `house.py` draws the same from the imports."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import simplecell

ROOMS = ["errors", "distributed", "data", "preprocess", "model", "training", "run"]
ROOMS += ["sparse_coding", "doctor", "viz", "explorer", "interop", "estimators", "reproduce", "cli"]
ROOT = Path(simplecell.__file__).parent
DOORS = {"__init__", "__main__"}


def room(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[0]


def imports(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names = [node.module]
            if node.module == "simplecell":
                names = [f"simplecell.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            if name.startswith("simplecell."):
                yield name.split(".")[1]


FILES = sorted(path for path in ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=[str(p.relative_to(ROOT)) for p in FILES])
def test_a_room_imports_only_what_stands_below_it(path):
    mine = room(path)
    if mine in DOORS:
        return
    assert mine in ROOMS, f"{mine} is no room"
    for other in imports(path):
        assert ROOMS.index(other) <= ROOMS.index(mine), f"{mine} imports {other}"


def test_every_module_imports_and_says_what_it_is():
    for path in FILES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_the_import_is_light():
    heavy = ("torch", "sklearn", "matplotlib", "scipy", "numpy", "PIL", "rich", "typer")
    code = f"import sys, simplecell; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_help_loads_nothing_heavy():
    code = (
        "import sys; from simplecell.cli import run_command_line as run; run(['--help']);"
        "print([m for m in ('torch', 'sklearn', 'matplotlib', 'scipy', 'numpy') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")


def test_public_names_are_few_documented_and_there():
    assert len(simplecell.__all__) <= 25
    for name in simplecell.__all__:
        assert getattr(simplecell, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        simplecell.nothing  # noqa: B018
