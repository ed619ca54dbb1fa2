"""Two dictionaries atom by atom: what they share, and how much of a true one was recovered."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from simplecell.errors import DataError, UsageError
from simplecell.model.codes import Codes
from simplecell.model.measures import cosines

Atoms = Tensor | NDArray[np.generic]

SIDE = 2048
"""Cosines are made in blocks of that many atoms squared."""
LARGEST = 20_000**2
"""Pairs of atoms up to which an optimal matching is looked for: 3 GB."""
FLOAT64_PAIRS = 2**24
PAIRS_AT_ONCE = 2**22
SAME, FOREIGN = 0.9, 0.5


class Figures(TypedDict):
    """What two dictionaries share, in numbers."""

    signed: bool
    mean_cosine: float | None
    share: float | None
    mean_max: dict[str, float]
    only: dict[str, int]


@dataclass(frozen=True)
class Nearest:
    """The largest cosine of each atom with any atom of the other dictionary.

    Its P pairs are atoms that are each other's nearest.
    """

    first: NDArray[np.float64]
    """[M], of each atom of the first."""
    second: NDArray[np.float64]
    """[N], of each atom of the second."""
    rows: NDArray[np.intp]
    """[P], atoms of the first."""
    columns: NDArray[np.intp]
    """[P], their partners in the second."""
    cosines: NDArray[np.float64]
    """[P], of each pair."""

    @property
    def mean_max_first(self) -> float:
        """Mean maximal cosine: `(1/M) Σ_i max_j cos(first_i, second_j)`.

        Source: Sharkey, Braun & Millidge 2022. Exact.
        """
        return float(self.first.mean())

    @property
    def mean_max_second(self) -> float:
        """The same from the other side: `(1/N) Σ_j max_i cos(first_i, second_j)`."""
        return float(self.second.mean())

    def alone(self, threshold: float = FOREIGN) -> tuple[list[int], list[int]]:
        """Atoms of the first, and of the second, with no cosine of `threshold` or more.

        Source: ours.
        """
        first, second = (np.flatnonzero(side < threshold) for side in (self.first, self.second))
        return first.tolist(), second.tolist()


@dataclass(frozen=True)
class Match(Nearest):
    """Its pairs: one atom of the first for one of the second, the sum of cosines the largest.

    P is the size of the smaller dictionary.
    """

    @property
    def mean_cosine(self) -> float:
        """Mean cosine of the P pairs."""
        return float(self.cosines.mean())

    def share(self, threshold: float = SAME) -> float:
        """Pairs with a cosine of `threshold` or more, *fraction* of all pairs."""
        return float((self.cosines >= threshold).mean())


def nearest(first: Atoms, second: Atoms, *, signed: bool = True) -> Nearest:
    """The nearest atom in the other dictionary, both ways; first [M, D], second [N, D].

    In blocks: memory does not grow with M · N. `signed=False` takes |cosine|: where codes are
    negative too, or a bias undoes a sign (identity, tanh, sigmoid), an atom and its opposite say
    the same.

    Raises:
        DataError: for other inputs, no atoms, or numbers that are not finite.
    """
    first, second = _ready(first, second)
    best = [side.new_full((len(side),), -torch.inf) for side in (first, second)]
    partners = [torch.zeros(len(side), dtype=torch.int64) for side in (first, second)]
    for *place, block in _blocks(first, second, signed):
        for side, part in enumerate(place):
            values, found = block.max(1 - side)
            better = values > best[side][part]
            best[side][part][better] = values[better]
            partners[side][part][better] = found[better] + place[1 - side].start
    ahead, back = partners
    mutual = (back[ahead] == torch.arange(len(first))).nonzero()[:, 0]
    one, other = (side.clamp_min(-1).double().numpy() for side in best)
    return Nearest(
        first=one,
        second=other,
        rows=mutual.numpy(),
        columns=ahead[mutual].numpy(),
        cosines=one[mutual.numpy()],
    )


def match(first: Atoms, second: Atoms, *, signed: bool = True) -> Match:
    """Pairs of atoms with the largest sum of cosines; first [M, D], second [N, D].

    `signed` as in `nearest`. Source: Kuhn 1955 (the Hungarian method). Exact.

    Raises:
        UsageError: for more pairs of atoms than there is memory for.
        DataError: as `nearest` does.
    """
    from scipy.optimize import linear_sum_assignment  # half a second, which only this asks for

    if len(first) * len(second) > LARGEST:
        raise UsageError(
            f"an optimal matching of {len(first)} with {len(second)} atoms needs more memory than "
            "is sensible (20,000 with 20,000 is the most); use nearest, which needs little"
        )
    first, second = _ready(first, second)
    costs = np.empty((len(first), len(second)))
    for rows, columns, block in _blocks(first, second, signed):
        costs[rows, columns] = -block.numpy()
    mine, theirs = linear_sum_assignment(costs)
    return Match(
        first=-costs.min(1),
        second=-costs.min(0),
        rows=mine,
        columns=theirs,
        cosines=-costs[mine, theirs],
    )


def nearest_within(atoms: Atoms, most: int) -> list[list[tuple[int, float]]]:
    """For each atom of [M, D] the `most` others with the largest |cosine|: (number, cosine).

    In blocks: memory does not grow with M².
    """
    atoms = torch.as_tensor(atoms)
    most = min(most, len(atoms) - 1)
    found: list[list[tuple[int, float]]] = []
    for first in range(0, len(atoms), SIDE):
        block = cosines(atoms[first : first + SIDE], atoms)
        block[torch.arange(len(block)), torch.arange(first, first + len(block))] = 0
        places = block.abs().topk(most, dim=1).indices
        values = block.gather(1, places).clamp(-1, 1)
        found += [
            list(zip(row, value, strict=True))
            for row, value in zip(places.tolist(), values.tolist(), strict=True)
        ]
    return found


@dataclass(frozen=True)
class Comparison:
    """What two dictionaries share."""

    signed: bool
    near: Nearest
    """A `Match` unless that would have needed too much memory or time."""

    def figures(self) -> Figures:
        """The figures, ready for JSON, as `simplecell compare --json` prints them.

        `mean_cosine` and `share` are of an optimal matching, None without one. Everything else is
        of each atom's nearest.
        """
        near = self.near
        first, second = near.alone()
        return {
            "signed": self.signed,
            "mean_cosine": near.mean_cosine if isinstance(near, Match) else None,
            "share": near.share() if isinstance(near, Match) else None,
            "mean_max": {"first": near.mean_max_first, "second": near.mean_max_second},
            "only": {"first": len(first), "second": len(second)},
        }


def comparison(
    first: Atoms, second: Atoms, *, signed: bool = True, most_pairs: int = LARGEST
) -> Comparison:
    """What two dictionaries share; of more than `most_pairs` pairs of atoms without a matching.

    Raises:
        DataError: as `nearest` does.
    """
    pair = match if len(first) * len(second) <= min(most_pairs, LARGEST) else nearest
    return Comparison(signed, pair(first, second, signed=signed))


class Contingency:
    """How often each true atom and each latent are active together, over batches of samples.

    Args:
        n_truth: K, true atoms.
        n_latents: M.

    Memory is that of the [K, M] counts alone.
    """

    def __init__(self, n_truth: int, n_latents: int) -> None:
        self.together = torch.zeros(n_truth, n_latents, dtype=torch.int32)
        """Samples for which both are active, [K, M]."""
        self.truth = torch.zeros(n_truth, dtype=torch.int64)
        """Samples for which each true atom is active, [K]."""
        self.latents = torch.zeros(n_latents, dtype=torch.int64)
        """Samples for which each latent is active, [M]."""
        self.n_samples = 0

    def add(self, codes: Codes, active: Atoms) -> None:
        """Take in codes with exact zeros [B, M] and the true atoms active in each sample.

        `active` [B, n] holds numbers of atoms, none twice in a row; −1 fills up shorter rows.

        Raises:
            DataError: for another number of rows.
        """
        active = torch.as_tensor(active, dtype=torch.int64).cpu()
        _, latents, offsets = (part.cpu() for part in codes.rows())
        n_samples, n_truth = len(offsets) - 1, len(self.truth)
        if active.ndim != 2 or len(active) != n_samples or bool((active >= n_truth).any()):
            raise DataError(
                f"the true activity has shape {tuple(active.shape)} for {n_samples} codes; needed "
                f"is one row a code, of numbers of atoms below {n_truth}"
            )
        self.n_samples += n_samples
        self.truth += torch.bincount(active[active >= 0], minlength=n_truth)
        self.latents += codes.active().cpu()
        samples = torch.repeat_interleave(torch.arange(n_samples), offsets.diff())
        size = max(1, PAIRS_AT_ONCE // max(1, active.shape[1]))
        for some, sample in zip(latents.split(size), samples.split(size), strict=True):
            truth = active[sample]  # [n, n_active], beside some [n]: a row for each value of a code
            places = (truth * len(self.latents) + some[:, None])[truth >= 0]
            self.together.view(-1).index_add_(0, places, torch.ones_like(places, dtype=torch.int32))

    def f1(self, truth: Tensor, latents: Tensor) -> Tensor:
        """F1 of each pair (true atom, latent), [P]: `2 n_both / (n_truth + n_latent)`.

        That is `2 p r / (p + r)`, with precision p, the share of the latent's samples for which
        the atom is active, and recall r, the share of the atom's samples for which the latent is.
        0 where neither is ever active.
        """
        both = self.together[truth, latents].double()
        either = (self.truth[truth] + self.latents[latents]).double()
        return 2 * both / either.clamp_min(1)


@dataclass(frozen=True)
class Recovery:
    """How much of a true dictionary was found; all *fractions* 0–1, 1 is best."""

    share: float
    """True atoms that have an atom at a cosine (with its sign) of 0.9 or more."""
    mcc: float
    """Mean correlation coefficient: mean |cosine| of the optimal matching's pairs.

    Source: O'Neill et al. 2024, as SynthSAEBench takes it (Chanin & Garriga-Alonso 2026). Exact:
    the mean is over the smaller dictionary's atoms.
    """
    f1: float | None
    """F1 of the same pairs' activity, mean over the true atoms; one without partner counts 0."""
    f1_latents: float | None
    """F1 of each latent for its nearest true atom by |cosine|, mean over the latents, dead ones 0.

    Source: SynthSAEBench's F1. Exact.
    """

    def table(self) -> dict[str, float | None]:
        """The figures, ready for JSON."""
        return asdict(self)


def recovery(atoms: Atoms, truth: Atoms, activity: Contingency | None = None) -> Recovery:
    """How much of the dictionary truth [K, D] is in atoms [M, D].

    Both F1 need the activity of latents and true atoms, K × M; None without.

    Raises:
        UsageError, DataError: as `match` does.
        DataError: when the activity is of other dictionaries.
    """
    pairs = match(truth, atoms, signed=False)
    share = float((nearest(truth, atoms).first >= SAME).mean())
    if activity is None:
        return Recovery(share, pairs.mean_cosine, None, None)
    if activity.together.shape != (len(truth), len(atoms)):
        raise DataError(
            f"the activity counts {tuple(activity.together.shape)} true atoms and latents, but "
            f"the dictionaries have {len(truth)} and {len(atoms)}; count those of the same two"
        )
    found = activity.f1(torch.as_tensor(pairs.rows), torch.as_tensor(pairs.columns))
    rows, columns = _ready(truth, atoms)
    closest = torch.cat([cosines(rows, part).abs().argmax(0) for part in columns.split(SIDE)])
    each = activity.f1(closest, torch.arange(len(atoms)))
    return Recovery(share, pairs.mean_cosine, float(found.sum()) / len(truth), float(each.mean()))


def _ready(first: Atoms, second: Atoms) -> tuple[Tensor, Tensor]:
    """Both as matrices on the CPU; float32 where there are many pairs."""
    dtype = torch.float64 if len(first) * len(second) <= FLOAT64_PAIRS else torch.float32
    both = [torch.as_tensor(atoms).detach().to("cpu", dtype) for atoms in (first, second)]
    shapes = [tuple(atoms.shape) for atoms in both]
    if any(len(shape) != 2 or not shape[0] for shape in shapes) or shapes[0][1] != shapes[1][1]:
        raise DataError(
            f"dictionaries of shapes {shapes[0]} and {shapes[1]} cannot be compared; atoms over "
            "the same number of inputs are needed: [M, D] and [N, D]"
        )
    if not all(bool(torch.isfinite(atoms).all()) for atoms in both):
        raise DataError("a dictionary holds numbers that are not finite; compare others")
    return both[0], both[1]


def _blocks(first: Tensor, second: Tensor, signed: bool) -> Iterator[tuple[slice, slice, Tensor]]:
    for i in range(0, len(first), SIDE):
        for j in range(0, len(second), SIDE):
            rows, columns = slice(i, i + SIDE), slice(j, j + SIDE)
            block = cosines(first[rows], second[columns])
            yield rows, columns, block if signed else block.abs()
