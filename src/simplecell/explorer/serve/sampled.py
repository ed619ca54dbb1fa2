"""Any sample of a run as a person sees it, read from the run's data when it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from simplecell.errors import SimplecellError
from simplecell.explorer.make.contents import Photo, Sample
from simplecell.explorer.make.samples import Samples, photo_name
from simplecell.explorer.serve.messages import Refused
from simplecell.run.build import all_data
from simplecell.run.trained import Trained


class SampleReader:
    """Reads one sample at a time of the data that a run is shown with.

    Raises:
        Refused: 404, when the data are gone or have changed.
    """

    def __init__(self, trained: Trained, data: Any = None, meta: str | Path | None = None) -> None:
        self._alone = threading.Lock()
        try:
            self._samples = Samples(trained, all_data(trained, data, meta))
        except (SimplecellError, OSError) as error:
            raise _gone() from error

    def sample(self, row: int, photos: Sequence[Photo]) -> Sample:
        """The sample of a row, in one of the atlas's `photos` where its own is among these.

        Raises:
            Refused: 404, when it cannot be read.
        """
        samples = self._samples
        if row >= samples.source.n_samples:
            raise _gone()
        try:
            with self._alone:  # a source may hold one open file
                samples.photos.clear()
                found = samples.records([row])[row]
                names = [photo_name(place) for place in samples.photos]
                if samples.drawn_as == "tokens":
                    context = samples.contexts([(0, row)])[0, row]
                    tokens: list[tuple[str, float]] = [(text, 0) for text, _ in context["tokens"]]
                    found = {**found, "tokens": tokens, "at": context["at"]}
        except (SimplecellError, OSError) as error:
            raise _gone() from error
        place = found.pop("photo", None)
        kept = {photo["name"]: number for number, photo in enumerate(photos)}
        name = None if place is None else names[int(place["photo"])]
        if place is not None and name in kept:
            found["photo"] = {**place, "photo": kept[name]}
        return found


def _gone() -> Refused:
    return Refused(
        404,
        "the data of this run cannot be read, or are others than those shown; start explore again, "
        "with --data where they lie elsewhere",
    )
