"""Sparse coding as a scikit-learn transformer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted

from simplecell.data import ArraySource, Source
from simplecell.data.rows import sampled
from simplecell.errors import DataError, DivergedError, UsageError, choice, real, switch, whole
from simplecell.estimators.contract import (
    ROWS,
    Array,
    CodeTransformer,
    follow,
    input_names,
    layout_of,
)
from simplecell.estimators.door import DOOR, check_array, validate_data
from simplecell.estimators.parameters import Check, Randomness, Steps, positive, seed_of
from simplecell.model.codes import Codes
from simplecell.model.measures import explained, fvu
from simplecell.run.evaluate import Deviation
from simplecell.run.normality import Judged, learn
from simplecell.run.recipe import DTYPES
from simplecell.sparse_coding import (
    L1,
    Alternation,
    Path,
    Penalty,
    Smooth,
    encode,
    random_dictionary,
    torus,
)
from simplecell.training.prepared import fitted, resolve_device, to_model
from simplecell.viz.grid import sample_shape, tiles
from simplecell.viz.portrait import picture_of_rows

if TYPE_CHECKING:
    from PIL import Image

PENALTIES = ("smooth", "l1")
LOOKED_AT = 2048
"""Samples that say what is normal: each code is an optimisation."""
MUST_BE: dict[str, Check] = {
    "n_latents": whole,
    "max_iter": whole,
    "batch_size": whole,
    "code_iter": whole,
    "alpha": real,
    "tol": real,
    "epsilon": positive,
    "positive": switch,
}
MAY_BE: dict[str, Check] = {
    "neighbourhood": whole,
    "gamma": real,
    "alpha_start": positive,
}  # or None


@dataclass(eq=False, repr=False)
class SparseCoding(CodeTransformer):
    """Sparse coding: each sample as a sum of few atoms of a learned dictionary.

    `min mean_i [½ ‖x_i − s_i A‖² + α S(s_i)]` over codes s [n, M] and atoms A [M, D] in the unit
    ball; S is `Σ_j |s_j|` ("l1"), `Σ_j √(s_j² + ε)` ("smooth"), or with a neighbourhood
    `Σ_g √(Σ_{j near g} s_j² + ε)`: latents that are neighbours on a torus then become alike.
    Source: UFLDL, Sparse coding. Differs: see `simplecell.sparse_coding`.

    Args:
        n_latents: M, more or fewer than inputs; a square number with a neighbourhood.
        penalty: "smooth" or "l1".
        alpha: α, as in scikit-learn's dictionary learning; the notes' λ is 2α.
        alpha_start: α of the first step, such as ten times alpha; it falls to alpha over three
            quarters of max_iter, while fewer samples count at first and latents that stand for
            nothing of their own begin anew. Finds many more atoms where they are hard to tell
            apart. None is alpha throughout. Not with gamma or a neighbourhood.
        neighbourhood: side of a neighbourhood on the torus, such as 3; "smooth" only.
        epsilon: ε of "smooth".
        gamma: γ adds `γ/2 ‖A‖²` in place of the unit ball, the notes' practical form: many latents
            then die. None is the unit ball, the notes' ideal form.
        positive: codes of at least 0.
        max_iter: dictionary steps, each on a batch of `batch_size` samples.
        code_iter: the most iterations of a code step in training; `transform` takes up to 20 times
            as many.
        tol: a code step ends when the duality gap of a sample is at most tol · ½‖x‖² ("l1"), or
            its gradient at most tol · α ("smooth"); `transform` asks for a hundredth of it.
        preprocess: None, or a list of steps such as ["remove_dc"] or ["zca_whiten"].
        dtype: precision of training, "float32" or "float64".
        random_state: an integer is the seed; None or a RandomState draws one.
        device: "auto", "cpu", "cuda", …
        verbose: progress on standard error.

    Attributes:
        components_: the dictionary A, [n_latents, n_prepared], in prepared units.
        fvu_: fraction of variance unexplained on the training samples.
        cost_curve_: the objective on its batch at each step.
        n_iter_: steps done.

    >>> from sklearn.datasets import load_digits
    >>> X = load_digits().data[:500] / 16
    >>> coder = SparseCoding(n_latents=64, penalty="l1", alpha=0.5, max_iter=20, random_state=0)
    >>> bool((coder.fit_transform(X) == 0).mean() > 0.5)
    True
    """

    n_latents: int = 100
    _: KW_ONLY
    penalty: str = "smooth"
    alpha: float = 0.1
    alpha_start: float | None = None
    neighbourhood: int | None = None
    epsilon: float = 1e-5
    gamma: float | None = None
    positive: bool = False
    max_iter: int = 200
    batch_size: int = 2000
    code_iter: int = 50
    tol: float = 1e-3
    preprocess: Steps = None
    dtype: str = "float32"
    random_state: Randomness = None
    device: str = "auto"
    verbose: bool = False

    def fit(self, X: object, y: object = None) -> Self:
        """Learn a dictionary from X [n_samples, n_features], dense or SciPy sparse; y is ignored.

        Raises:
            ValueError: for data or parameters that cannot be used.
            DivergedError: when training leaves the finite numbers.
        """
        self._check()
        rows = validate_data(self, X, **DOOR)
        return self._train(ArraySource(rows), self.max_iter, goes_on=False)

    def partial_fit(self, X: object, y: object = None) -> Self:
        """One step for each batch of `batch_size` samples of X, or one if X is smaller.

        The first call fixes the preparation from its X.
        """
        self._check()
        goes_on = hasattr(self, "components_")
        source = ArraySource(validate_data(self, X, reset=not goes_on, **DOOR))
        return self._train(source, max(1, source.n_samples // self.batch_size), goes_on=goes_on)

    def transform(self, X: object) -> Array:
        """Codes [n_samples, n_latents] of X, in float32 if X is float32, else in float64."""
        check_is_fitted(self)
        self._check()
        parts = ArraySource(validate_data(self, X, reset=False, **DOOR)).batches(ROWS)
        codes = [self._codes(self._prepared(x), int(rows[0])) for x, rows in parts]
        return np.concatenate([part.cpu().numpy() for part in codes])

    def inverse_transform(self, X: object) -> Array:
        """Samples [n_samples, n_features] in the units of the data, of codes X [n, n_latents]."""
        check_is_fitted(self)
        codes = check_array(X, dtype=[np.float64, np.float32])
        if codes.shape[1] != len(self.components_):
            raise UsageError(
                f"the codes have {codes.shape[1]} columns, but there are {len(self.components_)} "
                "latents: one column a latent is needed"
            )
        rows = torch.tensor(codes @ self.components_.astype(codes.dtype))
        return self._chain.invert(rows).numpy()

    def score(self, X: object, y: object = None) -> float:
        """1 − fvu: the fraction of the variance of prepared X that is reproduced; 1 is best.

        Where X has no variance (constant, or one row): 1.0 if it is reproduced exactly, up to
        rounding, else 0.0, as scikit-learn's r2_score has it.
        """
        check_is_fitted(self)
        self._check()
        source = ArraySource(validate_data(self, X, reset=False, **DOOR))
        error, deviation = self._errors(source)
        numbers = source.n_samples * self._chain.n_outputs
        return explained(error, deviation.sum, deviation.squares, numbers)

    def score_samples(self, X: object) -> Array:
        """How normal each sample of X is, [n_samples]: higher is more normal, *no unit*.

        As `TopKSparseAutoencoder.score_samples`, beside at most 2,048 training samples.
        """
        check_is_fitted(self)
        self._check()
        source = ArraySource(validate_data(self, X, reset=False, **DOOR))
        scores: Array = torch.cat([self._normal.score(one) for one in self._judged(source)]).numpy()
        return scores

    def plot(self, *, shape: tuple[int, ...] | None = None) -> Image.Image:
        """A picture of the atoms, in input units; those of a torus stand as they lie on it.

        `shape` is how one sample is laid out, (h, w) or (h, w, 3); found out for square grey
        pictures. Samples that are no pictures are drawn by their strongest inputs.
        """
        check_is_fitted(self)
        atoms = self._chain.atoms(torch.from_numpy(self.components_).double()).numpy()
        names = input_names(self)
        asked = None if shape is None else sample_shape(shape)
        layout = layout_of(asked, atoms.shape[1], names)
        if len(layout) > 1 and self.neighbourhood is not None:
            return tiles(atoms, layout, columns=math.isqrt(len(atoms)))
        return picture_of_rows(atoms, layout, names, "What each latent adds")

    def _check(self) -> None:
        """Every parameter that this class itself reads.

        Raises:
            UsageError: for one that is not what it must be.
        """
        for name, must_be in MUST_BE.items():
            must_be(name, getattr(self, name))
        for name, may_be in MAY_BE.items():
            if getattr(self, name) is not None:
                may_be(name, getattr(self, name))
        for name, known in (("penalty", PENALTIES), ("dtype", DTYPES)):
            choice(name, getattr(self, name), known)
        if self.penalty == "l1" and self.neighbourhood is not None:
            raise UsageError("a neighbourhood needs penalty='smooth'; with 'l1' leave it None")

    def _penalty(self) -> Penalty:
        """What a code costs."""
        if self.penalty == "l1":
            return L1(self.alpha, self.positive)
        near = self.neighbourhood
        groups = None if near is None else torus(self.n_latents, near)
        return Smooth(self.alpha, self.epsilon, groups, self.positive)

    def _train(self, source: ArraySource, steps: int, *, goes_on: bool) -> Self:
        training = self._training(source, goes_on)
        done, total = training.n_steps, training.n_steps + steps
        records = training.run(source, total)
        self.cost_curve_ = follow(records, total, done=done, verbose=self.verbose)
        self._state = {name: t.cpu() for name, t in training.state_dict().items()}
        self.components_ = self._state["dictionary"].numpy().copy()
        self.n_iter_ = training.n_steps
        self.fvu_ = self._fvu(source)
        few = sampled(source, LOOKED_AT)
        self._normal = learn(self._judged(few))
        return self

    def _training(self, source: ArraySource, goes_on: bool) -> Alternation:
        """A fresh training on a fitted preparation, or the one that `partial_fit` left."""
        device = resolve_device(self.device)
        if not goes_on:
            self._chain = fitted([] if self.preprocess is None else self.preprocess, source)
            self._seed = seed_of(self.random_state)
        start = random_dictionary(self.n_latents, self._chain.n_outputs, self._seed)
        training = Alternation(
            start.to(device, getattr(torch, self.dtype)),
            self._penalty(),
            gamma=self.gamma,
            path=None if self.alpha_start is None else Path(self.alpha_start, self.max_iter),
            preprocess=self._chain,
            batch_size=self.batch_size,
            seed=self._seed,
            code_iter=self.code_iter,
            tol=self.tol,
        )
        if goes_on:
            training.load_state_dict(self._state)
        return training

    def _prepared(self, x: Array) -> torch.Tensor:
        like = torch.empty(0, dtype=torch.from_numpy(x).dtype, device=resolve_device(self.device))
        return to_model(x, self._chain, like)

    def _codes(self, x: torch.Tensor, first: int) -> torch.Tensor:
        atoms = torch.from_numpy(self.components_).to(x)
        codes, excess, _ = encode(
            x, atoms, self._penalty(), max_iter=20 * self.code_iter, tol=self.tol / 100
        )
        if not bool(torch.isfinite(excess).all() and torch.isfinite(codes).all()):
            self._refuse_overflow(codes, first)
            raise DivergedError("the codes left the finite numbers; scale the data (preprocess)")
        return codes

    def _refuse_overflow(self, codes: torch.Tensor, first: int) -> None:
        """Raise DataError with the first sample, counted from `first`, whose code is not finite."""
        odd = (~torch.isfinite(codes).all(1)).nonzero()
        if len(odd) and bool(np.isfinite(self.components_).all()):
            raise DataError(
                f"sample {first + int(odd[0])} holds numbers so large that its code is not "
                "finite; remove it, or give it in the units that the dictionary was learned in"
            )

    def _judged(self, source: Source) -> Iterator[Judged]:
        """Samples with their codes, batch after batch."""
        first = 0
        for raw, _ in source.batches(ROWS):
            x = self._prepared(raw)
            code = self._codes(x, first)
            error = x - code @ torch.from_numpy(self.components_).to(x)
            size, left = (part.double().square().sum(1) for part in (x, error))
            yield Judged(size, left, Codes(code))
            first += len(x)

    def _fvu(self, source: ArraySource) -> float:
        error, deviation = self._errors(source)
        return fvu(error, deviation.sum)

    def _errors(self, source: ArraySource) -> tuple[float, Deviation]:
        """Squared errors of the reconstructions, and how the samples vary."""
        deviation, error = Deviation(), 0.0
        for raw, _ in source.batches(ROWS):
            x = self._prepared(raw)
            recon = self._codes(x, deviation.count) @ torch.from_numpy(self.components_).to(x)
            error += float((x - recon).double().square().sum())
            deviation.add(x)
        return error, deviation
