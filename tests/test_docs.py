"""README and docs say what is so: their snippets run, their links and names exist."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
import tomllib
from pathlib import Path

import pytest

import simplecell
from simplecell.run import recipe

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(simplecell.__path__, "simplecell.")
    if not m.name.endswith("__main__")
)


@pytest.mark.parametrize("number", range(len(re.findall(r"```python\n", README))))
def test_readme_snippets_run(number):
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[number]
    exec(compile(code, "README.md", "exec"), {})


@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name):
    module = importlib.import_module(name)
    names = {"simplecell": simplecell, **{n: getattr(simplecell, n) for n in simplecell.__all__}}
    result = doctest.testmod(module, extraglobs=names)
    assert result.failed == 0


def test_readme_names_every_recipe_and_no_other():
    named = re.findall(r"^\| `([a-z0-9]+)` \|", README, re.MULTILINE)
    assert sorted(named) == recipe.names()


def test_links_lead_somewhere():
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("examples/*.md")]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_maths_names_code_that_exists():
    text = (ROOT / "docs" / "maths.md").read_text(encoding="utf-8")
    rooms = "model|preprocess|training|run|estimators"
    named = set(re.findall(rf"`((?:{rooms})\.[a-z_]+\.[\w.]+)`", text))
    assert len(named) > 20
    for path in named:
        room, file, *rest = path.split(".")
        found = importlib.import_module(f"simplecell.{room}.{file}")
        for part in rest:
            found = getattr(found, part)


def test_ci_runs_the_command_that_the_readme_prints():
    lines = [line for line in README.splitlines() if line.startswith("python3 -m venv")]
    assert len(lines) == 2
    assert lines[0].endswith("&& simplecell demo")
    assert "-c constraints.txt" in lines[0]
    assert "-c constraints.txt" in lines[1]
    assert "pytest" in lines[1]
    assert "grep -m1" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_constraints_pin_every_dependency():
    pins = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            pins[name.lower().replace("_", "-")] = version
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for needed in project["dependencies"] + project["optional-dependencies"]["dev"]:
        assert pins[re.split(r"[><=~]", needed)[0].lower()]
    assert pins["torch"] == "2.13.0"
