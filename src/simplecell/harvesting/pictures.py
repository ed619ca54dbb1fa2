"""Pictures as a model is given them: from files, by a transform, batch after batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from simplecell.data.images import as_image
from simplecell.data.pages import Opener
from simplecell.data.pixels import MAX_PIXELS, BrokenPictureError
from simplecell.data.rows import Record, Skipped
from simplecell.data.source import openers_of
from simplecell.errors import DataError, UsageError
from simplecell.harvesting.frames import Frame, Ruler, Transform

_SHOWN = 3


class Pictures:
    """Pictures of files in batches [B, c, h, w]; which sample each is, and what the model sees.

    A sample's number is its picture's, in the order of the names; a picture that cannot be read is
    left out and told, and its number stays its own. Iterated again it begins anew.

    Args:
        data: a folder of pictures (those of its folders too), a file, a pattern, a list of paths
            or of Pillow's pictures.
        transform: makes of each, in RGB, the tensor [c, h, w] that the model is given.

    Raises:
        DataError: where there are none.
        UsageError: without a transform.
    """

    def __init__(self, data: Any, transform: Transform | None, size: int) -> None:
        openers = openers_of(data, MAX_PIXELS)
        if openers is None:
            raise DataError(f"{data} holds no pictures; give a folder or a file of pictures")
        if transform is None:
            raise UsageError(
                "the inputs are pictures in files; say transform=, what makes of one the tensor "
                "[c, h, w] that the model was trained on (torchvision's weights.transforms(), "
                "timm.data.create_transform(...))"
            )
        self.transform, self.size = transform, size
        self.records = [opener.record | _label(opener) for opener in openers]
        """The file of each, its page where it has several, and its folder as its label."""
        path = Path(data) if isinstance(data, str | Path) else None
        self.root = _root(path) if path is not None and path.exists() else None
        """The folder that files are named from; None where there are several."""
        self.skipped: list[Skipped] = []
        self._openers, self._ruler = openers, Ruler(transform)
        self._kept: dict[int, list[int]] = {}
        self.frames: dict[int, Frame | None] = {}
        """Of each sample of the batch that came last, what the model sees of it."""
        self._fingerprint: str | None = None

    def __len__(self) -> int:
        return -(-len(self._openers) // self.size)

    def __iter__(self) -> Iterator[Tensor | None]:
        return self.starting(0)

    def starting(self, first: int) -> Iterator[Tensor | None]:
        """Batches from the one numbered `first`; None for one of which no picture can be read."""
        if first == 0:
            self.skipped = []
        for number in range(first, len(self)):
            yield self._batch(number)

    def numbers(self, batch: int) -> list[int]:
        """Which samples the rows of the batch are that came last."""
        return self._kept[batch]

    def fingerprint(self) -> str:
        """What tells these pictures, and what the transform makes of them, from others."""
        if self._fingerprint is None:
            sha = hashlib.sha256(f"{self.size} {self.records}".encode())
            probe = Image.linear_gradient("L").resize((96, 64)).convert("RGB")
            first, again = (self._given(probe, "a test picture") for _ in range(2))
            if not torch.equal(first, again):
                raise UsageError(
                    "the transform gives another tensor each time that it is given one picture "
                    "(a random crop or flip); give the one that is used for evaluation"
                )
            sha.update(first.numpy().tobytes())
            for opener in self._openers:
                sha.update(self._digest(opener))
            self._fingerprint = sha.hexdigest()
        return self._fingerprint

    @property
    def notes(self) -> list[str]:
        """The sentence on pictures that were left out."""
        if not self.skipped:
            return []
        shown = "; ".join(f"{one.file}: {one.reason}" for one in self.skipped[:_SHOWN])
        more = " …" if len(self.skipped) > _SHOWN else ""
        n = len(self._openers)
        return [
            f"{len(self.skipped)} of {n} pictures cannot be read, and are left out: {shown}{more}"
        ]

    def _batch(self, number: int) -> Tensor | None:
        kept, given = [], []
        self.frames = {}
        last = min((number + 1) * self.size, len(self._openers))
        for sample in range(number * self.size, last):
            opener = self._openers[sample]
            try:
                image = _in_colour(opener)
            except BrokenPictureError as error:
                self.skipped.append(Skipped(opener.title, str(error)))
                continue
            given.append(self._given(image, opener.title))
            kept.append(sample)
            self.frames[sample] = self._ruler.frame(image.size)
        self._kept = {number: kept}
        return self._stacked(given, kept) if given else None

    def _given(self, image: Image.Image, name: str) -> Tensor:
        found = self.transform(image)
        if not isinstance(found, Tensor) or found.ndim != 3 or not found.is_floating_point():
            shape = f" of shape {tuple(found.shape)}" if hasattr(found, "shape") else ""
            raise UsageError(
                f"the transform makes of {name} a {type(found).__name__}{shape}; a tensor "
                "[c, h, w] of floats is needed (let it end in ToTensor or ToDtype, and Normalize)"
            )
        return found

    def _stacked(self, given: Sequence[Tensor], kept: Sequence[int]) -> Tensor:
        for sample, one in zip(kept, given, strict=True):
            if one.shape != given[0].shape:
                names = [self._openers[i].title for i in (kept[0], sample)]
                raise UsageError(
                    f"the transform makes {tuple(given[0].shape)} of {names[0]} and "
                    f"{tuple(one.shape)} of {names[1]}; a batch needs one shape: let it resize or "
                    "crop to one, or say batch_size=1"
                )
        return torch.stack(list(given))

    def _digest(self, opener: Opener) -> bytes:
        """What tells one picture from another: the bytes of its file, or its pixels."""
        if self.root is not None:
            with (self.root / opener.name).open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        try:
            pixels = opener.open().values
        except BrokenPictureError as error:
            return str(error).encode()
        return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).digest()


def are_pictures(inputs: Any) -> bool:
    """Whether inputs of a model are a path, or paths or pictures of Pillow's, and no arrays."""
    if isinstance(inputs, str | Path):
        return Path(inputs).exists()
    if not isinstance(inputs, list | tuple) or not inputs:
        return False
    if all(isinstance(one, Image.Image) for one in inputs):
        return True
    return all(isinstance(one, Path) for one in inputs)


def _in_colour(opener: Opener) -> Image.Image:
    """A picture in RGB. Raises BrokenPictureError for one that cannot be read, or has bands."""
    picture = opener.open()
    if picture.bands:
        bands = picture.values.shape[2]
        raise BrokenPictureError(f"has {bands} bands that are no colours, and the model reads RGB")
    return as_image(picture).convert("RGB")


def _root(path: Path) -> Path:
    return path.resolve() if path.is_dir() else path.resolve().parent


def _label(opener: Opener) -> Record:
    """The folder that a picture lies in, which is its class in folders of pictures."""
    folder = Path(opener.name).parent.as_posix()
    return {"label": folder} if folder != "." and not Path(opener.name).is_absolute() else {}
