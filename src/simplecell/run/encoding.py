"""The codes of whole sources: batch after batch, dense in one array, or their entries alone."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch

from simplecell.data import Source
from simplecell.data.rows import row_in_data, sampled
from simplecell.model.autoencoder import Model
from simplecell.model.codes import Codes, Rows
from simplecell.model.exact import alpha_for
from simplecell.model.passes import Passes
from simplecell.preprocess.chain import Preprocess
from simplecell.run.trained import Floats, Trained, refuse_overflow
from simplecell.training.prepared import to_model

_LOOKED_AT = 2048
"""Samples that α is chosen by."""


def encoded(trained: Trained, source: Source, *, as_trained: bool = False) -> Iterator[Codes]:
    """The codes of each batch of a source, in order; good until the next.

    In the precision of the samples, or with `as_trained` in that of the training. Where the source
    is some rows of the data, those of a batch follow one another there.

    Raises:
        DataError: for a sample so large that its code is not finite.
    """
    passes = Passes(trained.model)
    for x, rows in source.batches(passes.n_rows):
        if not as_trained:
            model = trained.model_for(x)
            passes = passes if model is passes.model else Passes(model)
            as_trained = True  # a source has one precision: found out once
        model = passes.model
        pre, code = passes.encode(to_model(x, trained.preprocess, model.like))
        refuse_overflow(model, row_in_data(source, int(rows[0])), pre)
        yield code


def dense_codes(trained: Trained, source: Source) -> Floats:
    """Codes [n, M] of a source, each batch written where it belongs. Raises as `encoded` does."""
    whole, first = None, 0
    for code in encoded(trained, source):
        if whole is None:
            whole = zeros(source.n_samples, code)
        last = first + code.n_samples
        code.fill(torch.from_numpy(whole[first:last]))
        first = last
    assert whole is not None, "a source has samples"
    return whole


def dense_pieces(trained: Trained, source: Source) -> Iterator[Floats]:
    """Codes [B, M] of each batch, as trained, in one array that the next overwrites.

    Raises as `encoded` does.
    """
    whole: Floats | None = None
    for code in encoded(trained, source, as_trained=True):
        if whole is None:
            whole = zeros(code.n_samples, code)
        else:
            whole.fill(0)
        piece = whole[: code.n_samples]
        code.fill(torch.from_numpy(piece))
        yield piece


def sparse_pieces(trained: Trained, source: Source, *, as_trained: bool = False) -> Iterator[Rows]:
    """The non-zero values of each batch, on the CPU. Raises as `encoded` does."""
    for code in encoded(trained, source, as_trained=as_trained):
        yield Rows(*(part.cpu() for part in code.rows()))


def sparse_codes(trained: Trained, source: Source) -> Rows:
    """The non-zero values of a whole source, on the CPU. Raises as `encoded` does."""
    parts = list(sparse_pieces(trained, source))
    counts = torch.cat([part.offsets.diff() for part in parts])
    return Rows(
        torch.cat([part.values for part in parts]),
        torch.cat([part.indices for part in parts]),
        torch.cat([counts.new_zeros(1), counts.cumsum(0)]),
    )


def alpha_on(source: Source, model: Model, preprocess: Preprocess) -> float:
    """The α at which exact codes of a source leave as many latents active as the encoder does.

    Found on at most 2,048 of its samples, evenly spread. Raises as `model.exact.alpha_for`.
    """
    some = sampled(source, _LOOKED_AT)
    x = to_model(some.read(slice(0, some.n_samples)), preprocess, model.like)
    with torch.no_grad():
        wanted = float(model.encode(x)[1].l0().double().mean())
    return alpha_for(model, x, wanted)


def zeros(n: int, like: Codes) -> Floats:
    """[n, M], of the precision of some codes."""
    # Nothing is written here: the system hands out pages of zeros as they are first touched.
    precision = torch.empty(0, dtype=like.dtype).numpy().dtype
    return np.zeros((n, like.n_latents), precision)
