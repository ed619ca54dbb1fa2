"""Sound as frames: so many samples in a row are one vector, in -1 … 1, whatever the file's bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simplecell.data.binary import MAX_BYTES
from simplecell.data.extras import needed
from simplecell.data.loaded import Loaded
from simplecell.data.options import Options
from simplecell.data.rows import Meta, Record
from simplecell.errors import DataError

FRAME = 256
"""Samples a frame unless `data.patch` says otherwise: 16 ms at 16 kHz."""
SUFFIXES = ("wav", "flac", "ogg", "mp3", "aiff", "aif")
_WIDE = ("PCM_32", "DOUBLE")


def read_sound(path: Path, options: Options) -> Loaded:
    """Frames [n, D] that follow each other without overlap, the channels averaged.

    D is `data.patch`. Raises DataError for a sound of less than one frame.
    """
    soundfile = needed("soundfile", path.name)
    size = options.patch or FRAME
    with soundfile.SoundFile(path) as file:
        rate, channels, length = file.samplerate, file.channels, file.frames
        dtype = "float64" if file.subtype in _WIDE else "float32"
        if length * channels * np.dtype(dtype).itemsize > MAX_BYTES:
            raise DataError(f"{path.name} is too long: {length / rate:.0f} s; cut it into parts")
        sound = file.read(dtype=dtype, always_2d=True)
    n_frames = len(sound) // size
    if not n_frames:
        raise DataError(
            f"{path.name} has {len(sound)} samples, fewer than a frame of {size}; say a shorter "
            "one, for instance --set data.patch=64"
        )
    mono = sound[:, 0] if channels == 1 else sound.mean(axis=1, dtype=np.float64).astype(dtype)
    frames = mono[: n_frames * size].reshape(n_frames, size)

    def record(i: int) -> Record:
        return {"file": path.name, "second": round(i * size / rate, 6)}

    records = Meta(n_frames, record)
    note = _said(path.name, len(sound), rate, channels, size)
    return Loaded(frames, records=records, notes=[note])


def _said(name: str, length: int, rate: int, channels: int, size: int) -> str:
    left = length % size
    return (
        f"{name}, {length / rate:.4g} s at {rate} Hz, is cut into {length // size} frames of "
        f"{size} samples ({1000 * size / rate:.3g} ms; data.patch says another length)"
        + (f"; its {channels} channels are averaged" if channels > 1 else "")
        + (f"; the last {left} samples are left out" if left else "")
    )
