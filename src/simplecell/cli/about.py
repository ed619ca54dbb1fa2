"""What `info` tells: of this installation, or of a run."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from simplecell.cli.printing import figures_table
from simplecell.run import recipe
from simplecell.run.directory import Run, about_software
from simplecell.training.prepared import resolve_device


def installation() -> tuple[dict[str, Any], str]:
    """Versions, the device that would be used, the recipes; as a table and as text."""
    known = about_software(torch.get_num_threads(), str(resolve_device("auto")))
    software = {**known, "scikit-learn": metadata.version("scikit-learn")}
    recipes = {name: recipe.headline(name) for name in recipe.names()}
    lines = [f"{name:<14}{value}" for name, value in software.items()]
    lines += ["", "recipes (simplecell train DATA --out RUN --recipe NAME)"]
    lines += [f"  {name:<12}{words}" for name, words in recipes.items()]
    return {**software, "recipes": recipes}, "\n".join(lines)


def of_run(path: Path) -> tuple[dict[str, Any], str]:
    """A run's story and figures; as a table and as text."""
    run = Run(path)
    info, resolved = run.info(), run.recipe()
    data = info["data"]
    lines = [
        f"run           {path} ({info['status']}, {info['n_iter']} of {resolved.n_steps} steps)",
        f"data          {data['path'] or 'given in memory'}",
        f"samples       {data['n_samples']} for training, {data['n_held_out']} held out; "
        f"each {' × '.join(str(side) for side in data['shape'])} ({data['kind']})",
    ]
    lines += [f"              skipped {s['file']}: {s['reason']}" for s in data["skipped"]]
    software = info["software"]
    lines.append(
        f"made with     simplecell {software['simplecell']}, torch {software['torch']}, "
        f"{software['threads']} threads, {software['device']}, seed {info['seed']}"
    )
    if figures := info["figures"]:
        lines += ["", figures_table({**figures, "seconds": info["seconds"]})]
    lines += ["", resolved.text().rstrip()]
    return {"run": str(path), **info, "recipe": resolved.table()}, "\n".join(lines)
