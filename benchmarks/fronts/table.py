"""The fronts as a page and a picture, from the results of ours.py and queue_peers.py.

    python benchmarks/fronts/table.py WORK OUT

Reads WORK/ours.jsonl and WORK/peers.jsonl; writes OUT/fronts.jsonl (every training that is
shown), OUT/fronts.md and OUT/fronts.png. Of a peer that was tried at several learning rates the
one with the lowest error on the held rows is shown, and its own rate beside it.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

Line = dict[str, Any]
OURS = "simplecell"
MARKS = {"topk": "o", "batchtopk": "s", "matryoshka": "^", "jumprelu": "D", "gated": "v", "l1": "P"}
COLOURS = {
    OURS: "#d55e00",
    "sae-lens": "#0072b2",
    "dictionary-learning": "#009e73",
    "eai-sparsify": "#cc79a7",
    "overcomplete": "#666666",
}
TOLERANCE = 0.05


def read(path: Path) -> list[Line]:
    """The lines of one results file; none when it is not there."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def kept(lines: Iterable[Line]) -> list[Line]:
    """One line a point: the best learning rate, l0 as asked to 5 %; of ours all, met or not."""
    best: dict[tuple[Any, ...], Line] = {}
    for line in lines:
        if line["library"] != OURS and abs(line["l0"] / line["l0_asked"] - 1) > TOLERANCE:
            continue
        variant = line["variant"].removesuffix("-adam")
        key = (line["data"], line["l0_asked"], variant, line["library"], line["seed"])
        if key not in best or line["fvu"] < best[key]["fvu"]:
            best[key] = line | {"variant": variant}
    return list(best.values())


def grouped(lines: Iterable[Line]) -> dict[tuple[str, int, str], dict[str, list[Line]]]:
    """(data, l0, variant) → library → its seeds."""
    groups: dict[tuple[str, int, str], dict[str, list[Line]]] = defaultdict(dict)
    for line in lines:
        place = groups[line["data"], line["l0_asked"], line["variant"]]
        place.setdefault(line["library"], []).append(line)
    return groups


def own_rate(lines: Sequence[Line], like: Line) -> str:
    """The error at the library's own learning rate, where that was tried."""
    keys = ("data", "l0_asked", "library", "variant")
    for line in lines:
        if all(line[key] == like[key] for key in keys) and line.get("lr_times") == 1.0:
            return f"{line['fvu']:.4f}"
    return "–"


def cell(lines: Sequence[Line]) -> str:
    """Mean and range over seeds."""
    errors = [line["fvu"] for line in lines]
    spread = f" ({min(errors):.4f}–{max(errors):.4f})" if len(errors) > 1 else ""
    return f"{fmean(errors):.4f}{spread}"


def page(ours: list[Line], peers: list[Line]) -> str:
    """The table: a row for each point of ours, the best peer of the same kind beside it."""
    lines = [
        "# Fronts: error at the same l0, beside other libraries",
        "",
        "Made by `benchmarks/fronts/table.py`; do not edit. fvu on held-out rows, the same rows,",
        "samples and latents (8 for each input) for all; one seed unless a range stands there.",
        "*At its own rate*: the peer with its recommended learning rate; *rate tuned*: the best of",
        "the rates that were tried, chosen on the held-out rows. An empty cell was not measured.",
        "Ours stand here also where l0 in use misses what was asked by more than 5 %: they learned",
        "from all training rows, as the peers did, while `simplecell train` holds a tenth out and",
        "sets l0 by it (benchmarks/README.md).",
        "",
        "![Error against l0](fronts.png)",
        "",
        "| data | l0 | codes | ours: fvu | l0 in use | dead | best peer, rate tuned "
        "| at its own rate | ours / peer |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    groups = grouped(kept([*ours, *peers]))
    for (data, l0, variant), libraries in sorted(groups.items()):
        if OURS not in libraries:
            continue
        mine = libraries.pop(OURS)
        cells = [data, str(l0), variant, cell(mine)]
        cells += [f"{fmean(m['l0'] for m in mine):.2f}", f"{max(m['dead'] for m in mine):.3f}"]
        if libraries:
            name = min(libraries, key=lambda lib: fmean(p["fvu"] for p in libraries[lib]))
            best = libraries[name]
            times = best[0].get("lr_times") or 1
            ratio = fmean(m["fvu"] for m in mine) / fmean(p["fvu"] for p in best)
            dead = max(p["dead"] for p in best)
            words = f"{cell(best)} {name}, rate × {times:g}, dead {dead:.3f}"
            cells += [words, own_rate(peers, best[0]), f"{ratio:.3f}"]
        else:
            cells += ["–", "–", "–"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def picture(lines: list[Line]) -> Figure:
    """Error against l0, one panel a data set; ours filled, peers hollow."""
    data = sorted({line["data"] for line in lines})
    figure = Figure(figsize=(5 * len(data), 4.2), layout="constrained")
    for place, name in zip(figure.subplots(1, len(data), squeeze=False)[0], data, strict=True):
        for (where, l0, variant), libraries in grouped(lines).items():
            for library, runs in libraries.items() if where == name else ():
                colour = COLOURS[library]
                mine = library == OURS
                place.plot(
                    l0 * (1 + 0.012 * list(COLOURS).index(library)),
                    fmean(run["fvu"] for run in runs),
                    MARKS[variant],
                    color=colour,
                    markerfacecolor=colour if mine else "none",
                    markersize=8 if mine else 7,
                )
        place.set(title=name, xlabel="l0, active latents a sample", xscale="log", yscale="log")
        place.set_xticks([8, 16, 32], ["8", "16", "32"])
        place.minorticks_off()
        place.grid(alpha=0.3)
    place = figure.axes[0]
    place.set_ylabel("fvu on held-out rows")
    for name, mark in MARKS.items():
        place.plot([], [], mark, color="black", label=name)
    for name, colour in COLOURS.items():
        place.plot([], [], "o", color=colour, label=name)
    place.legend(fontsize=7, ncols=2)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    ours, peers = read(args.work / "ours.jsonl"), read(args.work / "peers.jsonl")
    args.out.mkdir(parents=True, exist_ok=True)
    lines = [*ours, *peers]
    # Times were taken beside other jobs, and files lie on one machine.
    shown = [{k: v for k, v in line.items() if k not in ("seconds", "file")} for line in lines]
    text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in shown)
    (args.out / "fronts.jsonl").write_text(text)
    (args.out / "fronts.md").write_text(page(ours, peers))
    picture(kept(lines)).savefig(args.out / "fronts.png", dpi=110)
    print((args.out / "fronts.md").read_text())


if __name__ == "__main__":
    main()
