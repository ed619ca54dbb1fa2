"""README and docs say what is so: their snippets run, their links and names exist."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import pkgutil
import re
import runpy
import tomllib
from pathlib import Path

import pytest

import simplecell
from simplecell.data.files import READERS
from simplecell.run import recipe
from simplecell.run.schema import Data

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


def named_on_the_map():
    """The files of src that docs/architecture.md names, each as often as it does."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)(/|\.py)` \| .+? \|(.*)\|$", text, re.MULTILINE)
    places = [("", f"`{room}.py`") for room, end, _ in rows if end == ".py"]
    places += [(f"{room}/", part) for room, _, files in rows for part in files.split("<br>")]
    browser = text.partition("`explorer/static/`")[2].partition("\n## ")[0]
    places += [("explorer/static/", part) for part in browser.split("\n- ")]
    for folder, part in places:
        inside = re.match(r"\s*`(\w+/)`", part)
        for name in re.findall(r"`([\w-]+\.(?:py|js))`", part):
            yield folder + (inside[1] if inside else "") + name


def test_the_map_names_every_file_once_and_none_that_is_gone():
    house = Path(simplecell.__path__[0])
    doors = {"__init__", "__main__"}
    files = [path for end in ("py", "js") for path in house.rglob(f"*.{end}")]
    there = [path.relative_to(house).as_posix() for path in files if path.stem not in doors]
    assert sorted(named_on_the_map()) == sorted(there)


def test_the_map_draws_the_house_as_it_stands():
    drawn = runpy.run_path(str(ROOT / "tests" / "house.py"))["drawing"]()
    assert f"```text\n{drawn}\n```" in (ROOT / "docs" / "architecture.md").read_text("utf-8")


def test_every_room_has_its_line_in_the_docstring_of_the_package():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^\| `(\w+)(?:/|\.py)` \|", text, re.MULTILINE)
    assert re.findall(r"^    (\w+)  ", simplecell.__doc__, re.MULTILINE) == rooms


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
        assert pins[re.split(r"[><=~]", needed)[0].lower().replace("_", "-")]
    assert pins["torch"] == "2.13.0"


def test_the_data_page_has_every_key_and_every_format():
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `data\.(\w+)` \|", page, re.MULTILINE)) == {
        field.name for field in dataclasses.fields(Data)
    }
    suffixes = set(re.findall(r"`\.(\w+)`", page.split("## Several files")[0]))
    assert set(READERS) - {"ubyte"} <= suffixes
    assert "…-ubyte" in page
