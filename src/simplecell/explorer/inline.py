"""The pages for a notebook: one HTML text that needs no server, shown in a frame of its own."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from simplecell.data import Source
from simplecell.explorer.atlas import build_atlas
from simplecell.explorer.export import page
from simplecell.explorer.library import Library
from simplecell.progress import follow_share
from simplecell.run import Run
from simplecell.storage import write_whole

HEIGHT = 760


@dataclass(frozen=True, repr=False)
class Page:
    """The explorer of one model as a single HTML text; a notebook shows it where it stands."""

    html: str
    height: int = HEIGHT
    """Of the frame in a notebook, *pixels*."""

    def save(self, path: str | Path) -> None:
        """Write it as a file that any browser opens. Raises WriteError when that fails."""
        write_whole(Path(path), self.html.encode())

    def _repr_html_(self) -> str:
        # Sandboxed: the page computes, but reaches neither the notebook nor the network.
        return (
            f'<iframe sandbox="allow-scripts" srcdoc="{html.escape(self.html)}" '
            f'style="width:100%;height:{self.height}px;border:0" title="simplecell explorer">'
            "</iframe>"
        )

    def __repr__(self) -> str:
        return f"Page of {len(self.html) / 2**20:.1f} MB; show it in a notebook, or .save(path) it"


def page_of(save: Callable[[Path], None], source: Source, name: str) -> Page:
    """The page of a model that `save` writes as a run directory, over the samples of `source`."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / name)
        save(run.path)
        follow_share(f"looking at {name}", build_atlas(run, run.load(), source))
        return Page(page(Library([run])))
