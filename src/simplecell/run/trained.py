"""A trained model with its preparation and its history: arrays in, arrays out."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.errors import DataError
from simplecell.model.autoencoder import Layer, Model
from simplecell.model.codes import Codes, Rows, SparseCodes
from simplecell.model.deep import exciting
from simplecell.preprocess.chain import Preprocess
from simplecell.run.info import Info
from simplecell.run.names import NO_NAMES, LatentNames
from simplecell.run.recipe import Recipe
from simplecell.run.whole import WholeModel
from simplecell.training.prepared import to_model
from simplecell.training.state import all_finite

if TYPE_CHECKING:
    from simplecell.run.normality import Normality

Floats = NDArray[np.floating]


@dataclass(frozen=True)
class Trained:
    """A model with its preparation and its history, as a run keeps it."""

    model: Model
    preprocess: Preprocess
    recipe: Recipe
    info: Info
    target_preprocess: Preprocess | None = None
    """Of a transcoder: the preparation of what it reconstructs."""
    names: LatentNames = NO_NAMES
    """What a person calls latents."""
    normal: Normality | None = None
    """What is normal of its samples; None where nobody looked."""

    @property
    def latent_names(self) -> list[str]:
        """What each latent is called, in files and by `get_feature_names_out`, [M]."""
        return self.names.all(self.model.n_latents)

    @property
    def recon_preprocess(self) -> Preprocess:
        """The preparation that reconstructions and atoms are in: the inputs' own, or a target's."""
        return self.target_preprocess or self.preprocess

    @property
    def shape(self) -> tuple[int, ...]:
        """How one sample is laid out: (D,), (h, w) or (h, w, 3)."""
        return tuple(self.info["data"]["shape"])

    @property
    def input_names(self) -> list[str] | None:
        """Names of the input columns, if they have any."""
        return self.info["data"].get("input_names")

    def model_in(self, dtype: torch.dtype) -> Model:
        """The model in another precision, for float64 answers to float64 questions."""
        if dtype == self.model.like.dtype:
            return self.model
        return copy.deepcopy(self.model).to(dtype)

    @torch.no_grad()
    def encode(self, x: Floats, first: int = 0, *, as_trained: bool = False) -> Floats:
        """Codes [B, M] of raw rows [B, D], in the precision of x, or in that of the training.

        Raises:
            DataError: for a row so large that its codes are not finite; it is counted from `first`.
        """
        model = self.model if as_trained else self.model_for(x)
        pre, codes = model.encode(to_model(x, self.preprocess, model.like))
        refuse_overflow(model, first, pre)
        return codes.dense.cpu().numpy()

    def model_for(self, values: Any) -> Model:
        """The model in float64 for values [B, …] in float64, else in float32."""
        return self.model_in(torch.float64 if values.dtype == np.float64 else torch.float32)

    @torch.no_grad()
    def decode(self, codes: Any, *, as_trained: bool = False) -> Floats:
        """Rows [B, D] in input units, of codes [B, M], NumPy or SciPy sparse.

        A transcoder's are in the units of its targets. What a sample carried itself (DC) is 0.
        `as_trained` decodes in the precision of the training, and gives the units back in float64.
        """
        model = self.model if as_trained else self.model_for(codes)
        if codes.ndim != 2 or codes.shape[1] != model.n_latents:
            raise DataError(
                f"the codes have shape {codes.shape}, but this model has {model.n_latents} "
                "latents: one row a sample, one column a latent is needed"
            )
        recon = model.decode(_as_codes(codes, model.like))
        if as_trained:
            recon = recon.cpu().double()
        return self.recon_preprocess.invert(recon).cpu().numpy()

    @torch.no_grad()
    def reconstruct(self, x: Floats) -> tuple[Floats, Floats]:
        """Prepared rows [B, D'] and their reconstructions."""
        model = self.model_for(x)
        prepared = to_model(x, self.preprocess, model.like)
        output = model(prepared)
        refuse_overflow(model, 0, output.pre, output.recon)
        return prepared.cpu().numpy(), output.recon.cpu().numpy()

    def latents(self, layer: int | None = None) -> Tensor:
        """What excites each latent most, in input units [M, D] (up to length).

        `layer` of a deep network is counted from 1; None is the innermost.

        Raises:
            UsageError: when there is no such layer.
        """
        model = self.model if layer is None else self.model.upto(layer)
        if isinstance(model, Layer):
            return self.preprocess.pixels(model.directions().double().cpu())
        prepared = torch.eye(self.preprocess.n_outputs, dtype=torch.float64)
        return exciting(model, self.preprocess.pixels(prepared)).double().cpu()

    @torch.no_grad()
    def atoms(self) -> Tensor:
        """What each latent adds to a reconstruction, in its units [M, D]."""
        return self.recon_preprocess.atoms(self.model.atoms().double().cpu())

    def module(self, dtype: torch.dtype = torch.float32) -> WholeModel:
        """Preparation and a copy of the model as one torch module, in the user's own units."""
        return WholeModel(self, dtype)


def refuse_overflow(model: Model, first: int, *results: Tensor) -> None:
    """Raise DataError if what a model makes of samples, [B, …] each, is not finite.

    Samples are counted from `first`. Of a model that diverged nothing is finite, and no sample is
    to blame: others say so.
    """
    if all(map(all_finite, results)) or not all(map(all_finite, model.parameters())):
        return
    whole = [torch.isfinite(part).reshape(len(part), -1).all(1) for part in results]
    odd = first + int((~torch.stack(whole).all(0)).nonzero()[0])
    raise DataError(
        f"sample {odd} holds numbers so large that what this model makes of them is not finite; "
        "remove it, or give it in the units that the model was trained on"
    )


def _as_codes(codes: Any, like: Tensor) -> Codes:
    if not hasattr(codes, "tocsr"):
        return Codes(torch.tensor(codes).to(like))
    rows = codes.tocsr()
    values = torch.tensor(rows.data).to(like)
    places = [torch.tensor(part, dtype=torch.int64) for part in (rows.indices, rows.indptr)]
    sparse = Rows(values, *(part.to(like.device) for part in places))
    return SparseCodes.of_rows(sparse, rows.shape[1])
