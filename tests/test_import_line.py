"""A room imports only what stands below it; `house.py` draws the same from the imports."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import simplecell
from simplecell.model.activations import ACTIVATIONS
from simplecell.run import declared
from simplecell.run.declared import _written
from simplecell.training.objective import TERMS

ROOMS = ["errors", "tier", "distributed", "data", "preprocess", "model", "training", "run"]
ROOMS += [
    "sparse_coding",
    "harvesting",
    "doctor",
    "viz",
    "explain",
    "explorer",
    "interop",
    "estimators",
    "hub",
]
ROOMS += ["reproduce", "cli"]
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


HEAVY = ("torch", "scipy", "sklearn", "matplotlib", "sympy", "pandas", "torch._dynamo")


def loaded_by(folder, *words):
    """Exit code of a command, and which of `HEAVY` it has loaded in a process of its own."""
    code = (
        "import contextlib, io, sys\n"
        "from simplecell.cli import run_command_line as run\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    code = run({list(words)!r})\n"
        f"print(code, [name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder
    )
    number, names = done.stdout.strip().split(" ", 1)
    return int(number), ast.literal_eval(names), done.stderr


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    np.save(folder / "x.npy", np.random.default_rng(0).normal(size=(60, 6)).astype(np.float32))
    (folder / "bad.toml").write_text("[model]\nn_latent = 3\n", encoding="utf-8")
    code, names, _ = loaded_by(folder, "train", "x.npy", "--out", "run", "--set", "train.steps=5")
    assert (code, names) == (0, ["torch"])  # and nothing of the others
    return folder


TRAIN = ("train", "x.npy", "--out", "other")
WITHOUT_TORCH = {
    "version": (0, ("--version",)),
    "help of a verb": (0, ("train", "--help")),
    "info": (0, ("info", "--json")),
    "info of a run": (0, ("info", "run")),
    "wrong flag": (2, ("train", "x.npy", "--nope")),
    "wrong key": (2, (*TRAIN, "--set", "model.n_latent=3")),
    "wrong key beside a recipe": (2, (*TRAIN, "--recipe", "topk", "--set", "model.tresh=1")),
    "wrong key of a term": (2, (*TRAIN, "--set", "objective.kl.targt=0.1")),
    "wrong term": (2, (*TRAIN, "--set", "objective.kll.target=0.1")),
    "wrong value": (2, (*TRAIN, "--set", "model.n_latents=many")),
    "wrong key of a sweep": (2, ("sweep", *TRAIN[1:], "--set", "model.n_latent=3")),
    "wrong recipe file": (2, (*TRAIN, "--recipe", "bad.toml")),
    "no recipe file": (2, (*TRAIN, "--recipe", "gone.toml")),
    "wrong recipe": (2, (*TRAIN, "--recipe", "topkk")),
    "no data": (3, ("train", "gone.npy", "--out", "other")),
}


@pytest.mark.parametrize("case", WITHOUT_TORCH)
def test_what_needs_no_torch_does_not_load_it(small, case):
    code, words = WITHOUT_TORCH[case]
    assert loaded_by(small, *words)[:2] == (code, [])
    assert not (small / "other").exists()


@pytest.mark.parametrize("words", [("encode", "run", "x.npy", "--out", "codes.npy")])
def test_codes_and_figures_load_torch_alone(small, words):
    assert loaded_by(small, *words)[:2] == (0, ["torch"])
    assert loaded_by(small, "evaluate", "run", "x.npy")[:2] == (0, ["torch"])


def test_a_short_training_costs_little_more_than_torch(small, monkeypatch, tmp_path):
    # 1.2 to 1.3 was measured, on a busy machine. Compiled files, which an installed package has
    # after its first start, are made in the first round.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    monkeypatch.setenv("PYTHONPYCACHEPREFIX", str(tmp_path))
    code = (
        "import time, torch\n"
        "torch_alone = time.process_time()\n"
        "from simplecell.cli import run_command_line as run\n"
        f"run({[*TRAIN, '--restart', '--set', 'train.steps=5', '--json']!r})\n"
        "print(time.process_time() / torch_alone)"
    )
    ratios = []
    for _ in range(3):
        words = [sys.executable, "-c", code]
        done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=small)
        ratios.append(float(done.stdout.split()[-1]))
    shutil.rmtree(small / "other")
    assert min(ratios) < 1.6


def test_a_setting_is_read_from_the_source_as_its_class_has_it():
    assert ACTIVATIONS.keys() == _written(declared.ACTIVATIONS).keys()
    assert TERMS.keys() == _written(declared.TERMS).keys()
    code = (
        "import sys; from simplecell.run import declared as d;"
        f"print([d.settings_of(k) for k in {list(ACTIVATIONS)!r}], d.recipe_settings(),"
        "d.stated_settings(), sorted(d.term_settings().items()), 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kinds = [declared.settings_of(kind) for kind in ACTIVATIONS]
    rest = declared.recipe_settings(), declared.stated_settings()
    terms = sorted(declared.term_settings().items())
    assert done.stdout.strip() == " ".join(map(str, (kinds, *rest, terms, False)))


def test_public_names_are_few_documented_and_there():
    assert len(simplecell.__all__) <= 30
    for name in simplecell.__all__:
        assert getattr(simplecell, name).__doc__, name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        simplecell.nothing  # noqa: B018
