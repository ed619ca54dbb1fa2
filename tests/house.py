"""The house drawn from its imports: `python tests/house.py` prints floors, rooms and arrows.

A room is a folder or a file right below `simplecell/`; an arrow goes from a room to one that it
imports, also inside functions; a room stands one floor above the highest that it imports.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

HOUSE = Path(__file__).parents[1] / "src" / "simplecell"
DOORS = {"__init__", "__main__"}


def room_of(path: Path) -> str:
    """The room that a file is in."""
    return path.relative_to(HOUSE).with_suffix("").parts[0]


def imports(path: Path) -> Iterator[str]:
    """The rooms that a file imports, its own among them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            inside = node.module == "simplecell"
            names = [f"simplecell.{a.name}" for a in node.names] if inside else [node.module]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("simplecell."))


def arrows() -> dict[str, set[str]]:
    """The rooms that each room imports."""
    found: dict[str, set[str]] = {}
    for path in sorted(HOUSE.rglob("*.py")):
        if room_of(path) not in DOORS:
            found.setdefault(room_of(path), set()).update(imports(path))
    return {room: (others & found.keys()) - {room} for room, others in found.items()}


def floor_of(room: str, below: dict[str, set[str]]) -> int:
    """1 for a room that imports no other."""
    return 1 + max((floor_of(other, below) for other in below[room]), default=0)


def drawing() -> str:
    """Floors from the top, each room with the number of rooms that it imports."""
    house = arrows()
    floors = {room: floor_of(room, house) for room in house}
    lines = []
    for number in sorted(set(floors.values()), reverse=True):
        rooms = [f"{room} ({len(house[room])})" for room in house if floors[room] == number]
        lines.append(f"floor {number:>2}  {', '.join(rooms)}")
    total = sum(map(len, house.values()))
    lines.append(f"{len(house)} rooms, {max(floors.values())} floors, {total} arrows")
    return "\n".join(lines)


if __name__ == "__main__":
    print(drawing())
