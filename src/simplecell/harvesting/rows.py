"""Rows of what a layer gave: which axis is the sample, which holds the numbers, which positions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from simplecell.errors import UsageError, unknown
from simplecell.harvesting.patch_tokens import CLASS, PatchTokens
from simplecell.harvesting.places import Place, Taken, is_time_first
from simplecell.harvesting.records import Places

POSITIONS = ("auto", "all", "not_padding", "not_first", "last", "mean", CLASS)
_CHANNELS_FIRST = (
    nn.modules.conv._ConvNd,
    nn.modules.batchnorm._NormBase,
    nn.modules.pooling._MaxPoolNd,
    nn.modules.pooling._AvgPoolNd,
    nn.modules.pooling._AdaptiveAvgPoolNd,
    nn.modules.pooling._AdaptiveMaxPoolNd,
    nn.GroupNorm,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.PixelShuffle,
    nn.Upsample,
)


class Rows(NamedTuple):
    """Rows [R, D] of one call, with where each came from."""

    x: Tensor
    n_samples: int
    sample: list[int]
    """Within the batch, [R]."""
    position: Places | None
    """Of each row [R] (of pictures y and x, or a token's name); None where a sample has one row."""
    known: bool
    """Whether the samples are known: else `sample` counts rows of the call."""
    n_padding: int
    """Positions left out because they are padding."""
    notes: list[str]
    grid: bool = False
    """Whether `sample` [B] and `position` [P] are said once, for B · P rows."""
    sides: tuple[int, ...] = ()
    """Of the grid that positions are places of."""


@dataclass(frozen=True)
class Picking:
    """Which positions are picked, and what the axes of a layer's tensor mean.

    `positions`: "auto" (those that are no padding, where that is known), "all" (padded ones too),
    "not_padding", "not_first" (without padding and without the first), "last", "mean", or numbers
    counted among those that are no padding, from the end where negative. `axis` holds the numbers
    of a row, `sample_axis` the samples; None: by the kind of module.

    Of a vision transformer positions are its patches, row by row; its other tokens come in with
    "all" alone, and "class" is the class token.
    """

    positions: str | int | Sequence[int] = "auto"
    axis: int | None = None
    sample_axis: int | None = None
    tokens: PatchTokens | None = field(default=None, repr=False)
    """Of a model that is given pictures and has tokens of their patches."""
    channels_last: bool = field(default=False, repr=False)
    """Whether its maps are [B, h, w, c]."""

    def __post_init__(self) -> None:
        if isinstance(self.positions, str) and self.positions not in POSITIONS:
            raise unknown("choice of positions", self.positions, POSITIONS)

    def rows(
        self, place: Place, taken: Taken, mask: Tensor | None, leading: tuple[int, ...] | None
    ) -> Rows:
        """The picked rows of one call; `mask` [B, T] of the batch, `leading` its shape."""
        value, own_mask, sample_axis = _opened(taken, mask, self._sample_axis(place, taken))
        mask = mask if own_mask is None else own_mask
        x, axis = self._arranged(place, value, sample_axis)
        notes = _notes(place, taken, value, axis, self.axis)
        sizes = [len(mask)] if mask is not None else list(leading or ())[: sample_axis + 1]
        if sizes and len(x) not in sizes:
            x, known = _as_samples(x, sizes[0], mask, leading)
            if not known:
                return self._unknown(place, x, sizes[0], mask, notes)
        sides = self.tokens.sides(x.shape[1], leading) if self.tokens and x.ndim == 3 else None
        if self.tokens is not None and sides is not None:
            return self._of_patches(place, x, self.tokens, sides, notes)
        if self.positions == CLASS:
            raise UsageError(
                f"layer '{place.layer}' has no class token that is known of; say positions='mean', "
                "or positions='all'"
            )
        return self._picked(place, x, mask, notes)

    def _of_patches(
        self,
        place: Place,
        x: Tensor,
        tokens: PatchTokens,
        sides: tuple[int, int],
        notes: list[str],
    ) -> Rows:
        """Rows of the tokens [B, T, D] of a vision transformer, patches at their places."""
        names = tokens.leading[: x.shape[1] - sides[0] * sides[1]]
        if self.positions == CLASS:
            if names[:1] != (CLASS,):
                raise UsageError(
                    f"layer '{place.layer}' has no class token; say positions='mean', or "
                    "positions='auto' for its patches"
                )
            return self._picked(place, x[:, 0], None, notes)
        if self.positions not in ("all", "not_first"):
            if names:
                told = ", ".join(names)
                notes = [
                    *notes,
                    f"layer '{place.layer}': rows are of its patches; tokens that stand for none "
                    f"({told}) are left out (positions='all' keeps them)",
                ]
            return self._picked(place, x[:, len(names) :].unflatten(1, sides), None, notes)
        found = self._picked(place, x, None, notes)
        spots = [_spot(i, names, sides[1]) for i in found.position or []]  # type: ignore[arg-type]
        return found._replace(position=spots, sides=sides)

    def laid_out(self, place: Place, value: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        """A layer's tensor as [B, positions, D], and the way back to its own layout."""
        sample_axis = self._sample_axis(place, Taken(value, place.path, []))
        x, axis = self._arranged(place, value, sample_axis)
        shape = x.shape

        def back(new: Tensor) -> Tensor:
            new = new.reshape(shape)
            return new[:, 0] if value.ndim == 1 else new.movedim((0, -1), (sample_axis, axis))

        return x.reshape(len(x), -1, shape[-1]), back

    def _sample_axis(self, place: Place, taken: Taken) -> int:
        if self.sample_axis is not None:
            return self.sample_axis
        if (
            isinstance(place.module, nn.RNNBase)
            and place.side == "output"
            and taken.path[:1] == ("1",)
        ):
            return 1  # the last states are (layers · directions, B, H), whatever batch_first says
        return int(place.time_first)

    def _arranged(self, place: Place, value: Tensor, sample_axis: int) -> tuple[Tensor, int]:
        """[B, …, D], and which axis of the layer's tensor D was."""
        if value.ndim == 0 or sample_axis >= value.ndim:
            raise UsageError(
                f"layer '{place.layer}' gives a tensor of shape {tuple(value.shape)}, which has no "
                f"axis {sample_axis} of samples; harvest another layer, or say sample_axis"
            )
        axis = self.axis
        if axis is None:
            first = value.ndim >= 3 and isinstance(place.module, _CHANNELS_FIRST)
            last = self.channels_last or isinstance(place.module, nn.Linear | nn.LayerNorm)
            first |= value.ndim >= 4 and not last
            axis = 1 if first else value.ndim - 1
        axis = axis % value.ndim
        if value.ndim == 1:
            return value[:, None], 0
        if axis == sample_axis:
            raise UsageError(
                f"axis {axis} of layer '{place.layer}' cannot hold both samples and the numbers of "
                "a row; say axis and sample_axis"
            )
        return value.movedim((sample_axis, axis), (0, -1)), axis

    def _unknown(
        self, place: Place, x: Tensor, n: int, mask: Tensor | None, notes: list[str]
    ) -> Rows:
        """All rows of a layer that does not keep samples apart (experts, windows of pictures)."""
        if mask is not None or self.positions not in ("auto", "all"):
            raise UsageError(
                f"layer '{place.layer}' gives {len(x)} rows for {n} samples, and which belongs to "
                "which cannot be told, so no positions can be picked and no padding dropped; say "
                "sample_axis, or harvest a layer that keeps samples apart"
            )
        notes = [
            *notes,
            f"layer '{place.layer}' gives {len(x)} rows for {n} samples; which belongs to which "
            "cannot be told, and records say batch and number alone",
        ]
        flat = x.reshape(-1, x.shape[-1])
        return Rows(flat, n, list(range(len(flat))), None, False, 0, notes)

    def _picked(self, place: Place, x: Tensor, mask: Tensor | None, notes: list[str]) -> Rows:
        n, sides = len(x), tuple(x.shape[1:-1])
        if not sides:
            if self.positions == "not_first":
                raise UsageError(
                    f"layer '{place.layer}' has one row a sample, so none would be left without "
                    "the first; say positions='all'"
                )
            return Rows(x, n, list(range(n)), None, True, 0, notes)
        real = self._real(place, sides, n, mask)
        flat = x.reshape(n, -1, x.shape[-1])
        n_padding = int((~real).sum())
        if self.positions == "mean":
            weights = real.to(flat.device, torch.float32)[..., None]
            total = (
                (flat.float() * weights).nan_to_num(0.0).sum(1)
                if n_padding
                else flat.float().sum(1)
            )
            mean = total / weights.sum(1).clamp(min=1)
            return Rows(mean.to(x.dtype), n, list(range(n)), None, True, n_padding, notes)
        notes = [*notes, *self._missing(place, real)]
        chosen = self._chosen(real)
        if bool(chosen.all()):
            return self._whole(x, n, sides, notes)
        sample, spot = (part.tolist() for part in chosen.nonzero(as_tuple=True))
        return Rows(
            flat[chosen.to(flat.device)],
            n,
            sample,
            spot if len(sides) == 1 else _unravelled(spot, sides),
            True,
            n_padding,
            notes,
            sides=sides,
        )

    def _whole(self, x: Tensor, n: int, sides: tuple[int, ...], notes: list[str]) -> Rows:
        """Every position of every sample, for which nothing has to be gathered."""
        size = int(torch.Size(sides).numel())
        spots = list(range(size)) if len(sides) == 1 else _unravelled(list(range(size)), sides)
        flat = x.reshape(-1, x.shape[-1])
        return Rows(flat, n, list(range(n)), spots, True, 0, notes, grid=True, sides=sides)

    def _real(self, place: Place, sides: tuple[int, ...], n: int, mask: Tensor | None) -> Tensor:
        """Which positions count, [B, positions]."""
        size = int(torch.Size(sides).numel())
        if self.positions == "all":
            return torch.ones(n, size, dtype=torch.bool)
        if mask is None:
            if self.positions == "not_padding":
                raise UsageError(
                    "positions='not_padding' needs a mask, and the batch has none; give mask=, or "
                    "say positions='all'"
                )
            return torch.ones(n, size, dtype=torch.bool)
        if mask.shape != (n, size):
            raise UsageError(
                f"layer '{place.layer}' has {size} positions a sample, but the mask has the shape "
                f"{tuple(mask.shape)}, so padding cannot be dropped by it; say positions='all'"
            )
        return mask

    def _chosen(self, real: Tensor) -> Tensor:
        """Of the positions that count, those that are picked, [B, positions]."""
        if self.positions in ("auto", "all", "not_padding"):
            return real
        rank = real.long().cumsum(1) - 1
        if self.positions == "not_first":
            return real & (rank > 0)
        wanted = [-1] if self.positions == "last" else _numbers(self.positions)
        from_end = rank - real.long().sum(1, keepdim=True)
        hit = torch.stack([(rank if number >= 0 else from_end) == number for number in wanted])
        return real & hit.any(0)

    def _missing(self, place: Place, real: Tensor) -> list[str]:
        """Sentences on numbered positions that some samples do not have."""
        if isinstance(self.positions, str):
            return []
        shortest = int(real.long().sum(1).min()) if len(real) else 0
        return [
            f"layer '{place.name}': some samples have no position {number}, and no row of it"
            for number in _numbers(self.positions)
            if not -shortest <= number < shortest
        ]


def _spot(i: int, names: Sequence[str], columns: int) -> str | list[int]:
    """Where token i stands: the name of one before the patches, else row and column."""
    return names[i] if i < len(names) else list(divmod(i - len(names), columns))


def _numbers(positions: object) -> list[int]:
    numbers = [positions] if isinstance(positions, int) else list(positions)  # type: ignore[call-overload]
    if not numbers or not all(isinstance(number, int) for number in numbers):
        raise UsageError(f"positions are {positions!r}; whole numbers or a word is needed")
    return numbers


def _opened(
    taken: Taken, mask: Tensor | None, sample_axis: int
) -> tuple[Tensor, Tensor | None, int]:
    """A plain tensor, the mask that it brought itself, and its axis of samples."""
    value: Any = taken.value
    if isinstance(value, PackedSequence):
        padded, lengths = pad_packed_sequence(value, batch_first=True)
        return padded, torch.arange(padded.shape[1]) < lengths[:, None], 0
    if not value.is_nested:
        return value, None, sample_axis
    parts = list(value.unbind())
    lengths = torch.tensor([len(part) for part in parts])
    if mask is None or not torch.equal(mask.sum(1), lengths):
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
    whole = parts[0].new_zeros((*mask.shape, *parts[0].shape[1:]))
    whole[mask.to(whole.device)] = torch.cat(parts)
    return whole, mask, 0


def _as_samples(
    x: Tensor, n: int, mask: Tensor | None, leading: tuple[int, ...] | None
) -> tuple[Tensor, bool]:
    """Rows of flattened tokens [B·T, D] as [B, T, D], where they are exactly that."""
    shape = mask.shape if mask is not None else (leading or ())[:2]
    if x.ndim == 2 and len(shape) == 2 and shape[0] == n and len(x) == shape[0] * shape[1]:
        return x.reshape(*shape, x.shape[-1]), True
    return x, False


def _unravelled(spots: list[int], sides: tuple[int, ...]) -> list[list[int]]:
    places = torch.stack(torch.unravel_index(torch.tensor(spots, dtype=torch.int64), sides), 1)
    return places.tolist()


def doubts(model: nn.Module, place: Place, value: Any, picking: Picking) -> list[str]:
    """Sentences where the model makes another reading of a layer's axes likely."""
    if not isinstance(value, Tensor) or value.is_nested or value.ndim != 3:
        return []
    sides, name, found = " x ".join(map(str, value.shape)), place.name, []
    late = any(map(is_time_first, model.modules()))
    if picking.sample_axis is None and late and not place.time_first:
        found.append(
            f"layer '{name}' gives {sides}; the first axis is taken for the samples, but the model "
            "has modules built with batch_first=False: where time is first, say sample_axis=1"
        )
    waves = any(isinstance(module, nn.Conv1d) for module in model.modules())
    if picking.axis is None and waves and not isinstance(place.module, _CHANNELS_FIRST):
        found.append(
            f"layer '{name}' gives {sides}; the last axis is taken for the inputs of a row, but "
            "the model has convolutions: where channels are the second, say axis=1"
        )
    return found


def _notes(place: Place, taken: Taken, value: Tensor, axis: int, said: int | None) -> list[str]:
    """What was chosen for the person."""
    found = []
    if taken.others:
        here = ".".join(taken.path)
        found.append(
            f"layer '{place.name}' gives several tensors; {place.side}.{here} is taken, and "
            f"{', '.join(taken.others)} left (say '{place.name}:{place.side}.{taken.others[0]}')"
        )
    if said is None and value.ndim >= 3 and axis != value.ndim - 1:
        found.append(
            f"layer '{place.name}' gives {' x '.join(map(str, value.shape[1:]))} a sample; its "
            f"{value.shape[axis]} channels (axis {axis}) are the inputs of a row, and each place "
            "is a row (axis= says otherwise)"
        )
    return found
