"""Sound as libsndfile writes it: the samples whatever the bits, cut into frames."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simplecell.data import as_source
from simplecell.errors import DataError

soundfile = pytest.importorskip("soundfile")

X = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)


def read(data: object, **options: object) -> np.ndarray:
    return as_source(data, **options).read(slice(None))


STEPS = {"PCM_16": 2**-15, "PCM_24": 2**-23, "PCM_32": 2**-31, "FLOAT": 0, "PCM_U8": 2**-7}


@pytest.mark.parametrize("bits", STEPS)
def test_sound_of_any_bits(bits: str, tmp_path: Path) -> None:
    sound = np.clip(X.ravel() / 4, -0.9, 0.9)
    soundfile.write(tmp_path / "x.wav", sound, 16_000, subtype=bits)
    source = as_source(tmp_path / "x.wav", patch=4)
    assert (source.kind, source.shape, source.n_samples) == ("array", (4,), 6)
    np.testing.assert_allclose(source.read(slice(None)), sound.reshape(6, 4), atol=STEPS[bits])
    assert source.about(slice(2, 3)) == [{"row": 2, "file": "x.wav", "second": 0.0005}]


def test_other_sound_and_channels(tmp_path: Path) -> None:
    both = np.stack([np.linspace(-0.5, 0.5, 600), np.zeros(600)], axis=1)
    for name in ("x.flac", "x.ogg", "x.aiff", "x.mp3"):
        soundfile.write(tmp_path / name, both, 16_000)
        source = as_source(tmp_path / name)
        assert source.shape == (256,)
        assert "its 2 channels are averaged" in source.notes[0]
    mono = read(tmp_path / "x.flac")
    np.testing.assert_allclose(mono.ravel(), both[:512].mean(axis=1), atol=2**-14)
    assert "the last 88 samples are left out" in as_source(tmp_path / "x.flac").notes[0]
    with pytest.raises(DataError, match="fewer than a frame of 1000"):
        as_source(tmp_path / "x.flac", patch=1000)
