"""A trained dictionary inside of a network: a layer's output made anew from its edited codes."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from simplecell.errors import DataError, RunError, UsageError
from simplecell.harvesting.edits import Edit, edits_of
from simplecell.harvesting.listening import hooked, refuse_compiled
from simplecell.harvesting.places import Place, above, places, replaced
from simplecell.harvesting.rows import Picking
from simplecell.run.directory import Run
from simplecell.run.trained import Trained

Change = Edit | Callable[[Tensor], Tensor | None]


class Splice:
    """A dictionary in a layer, while it is attached."""

    def __init__(
        self, place: Place, sae: Any, edits: list[Change], error: bool, picking: Picking
    ) -> None:
        self.place, self.sae, self.edits, self.error = place, sae, edits, error
        self.told = "the dictionary"
        """What it is called in errors."""
        self.n_calls = 0
        """How often the layer was called."""
        self.codes: Tensor | None = None
        """Of the last call, as they were edited, [B, positions, M]; in the graph where one is."""
        self._picking = picking
        self._hits = [0] * len(edits)

    def __call__(self, value: Any) -> Any:
        """What takes the place of a layer's output (or input), laid out as that."""
        self.n_calls += 1
        if isinstance(value, PackedSequence):
            return PackedSequence(
                self._rows(value.data),
                value.batch_sizes,
                value.sorted_indices,
                value.unsorted_indices,
            )
        if value.is_nested:
            parts = list(value.unbind())
            whole = self._rows(torch.cat(parts))
            return torch.nested.as_nested_tensor(list(whole.split([len(part) for part in parts])))
        x, back = self._picking.laid_out(self.place, value)
        return back(self._changed(x))

    def refuse_silent(self, counts: dict[str, int]) -> None:
        """Raise UsageError for a layer, or an edit, that had no effect at all."""
        name = self.place.name
        if not self.n_calls:
            near = next((one for one, calls in counts.items() if calls), None)
            shown = "the whole model ('')" if near == "" else f"'{near}'"
            rest = f"; the nearest that was is {shown}" if near is not None else ""
            raise UsageError(
                f"layer '{name}' ({type(self.place.module).__name__}) was not called while the "
                f"dictionary was attached, so nothing was changed{rest}"
            )
        for edit, hits in zip(self.edits, self._hits, strict=True):
            if not hits:
                raise UsageError(
                    f"the edit {edit} changed nothing in {self.n_calls} calls of layer '{name}', "
                    "which had none of its positions or samples"
                )

    def _rows(self, x: Tensor) -> Tensor:
        """Rows [N, D] whose samples and positions are mixed."""
        if any(
            isinstance(e, Edit) and (e.positions, e.samples) != (None, None) for e in self.edits
        ):
            raise UsageError(
                f"layer '{self.place.name}' gives packed or nested sequences, whose positions and "
                "samples an edit cannot name; pad them, or edit all"
            )
        return self._changed(x[:, None])[:, 0]

    def _changed(self, x: Tensor) -> Tensor:
        """[B, P, D] made anew from its edited codes, and what the dictionary does not hold."""
        fine = x.float() if x.element_size() < 4 else x  # small edits are lost in half precision
        self._refuse_width(x.shape[-1])
        codes = self.sae.encode(fine)
        edited, added = codes, None
        for k, edit in enumerate(self.edits):
            edited, more = self._one(k, edit, edited)
            if more is not None:
                added = more if added is None else added + more
        edited = edited.clone()
        if edited.requires_grad:
            edited.retain_grad()
        self.codes = edited
        recon = self.sae.decode(edited)
        if recon.shape != fine.shape:
            raise DataError(
                f"the dictionary makes {recon.shape[-1]} numbers, but layer '{self.place.name}' "
                f"has {x.shape[-1]}; a transcoder cannot stand in one layer"
            )
        if self.error:
            # In this order: where nothing is edited the difference is 0, and x stays as it is.
            change = recon - self.sae.decode(codes)
            return x + (change if added is None else change + added).to(x.dtype)
        return (recon if added is None else recon + added).to(x.dtype)

    def _refuse_width(self, width: int) -> None:
        """Raise DataError where the dictionary says that it is for other rows."""
        wanted = getattr(self.sae, "n_inputs", width)
        if wanted != width:
            raise DataError(
                f"layer '{self.place.layer}' gives rows of {width} numbers, but {self.told} was "
                f"trained on {wanted}; attach it to the layer that it was trained on"
            )

    def _atoms(self, codes: Tensor) -> Tensor:
        """What a code of 1 of each latent adds to a row, [M, D]."""
        if hasattr(self.sae, "atoms"):
            return self.sae.atoms()
        ones = torch.eye(codes.shape[-1], dtype=codes.dtype, device=codes.device)
        return self.sae.decode(ones) - self.sae.decode(torch.zeros_like(ones))

    def _one(self, k: int, edit: Change, codes: Tensor) -> tuple[Tensor, Tensor | None]:
        if isinstance(edit, Edit):
            self._hits[k] += int(edit.where(codes).any())
            return edit.change(codes, lambda: self._atoms(codes))
        self._hits[k] += 1
        new = edit(codes)
        if new is None:
            return codes, None
        if not isinstance(new, Tensor) or new.shape != codes.shape:
            raise UsageError(
                f"the edit gave {_described(new)} for codes of shape {tuple(codes.shape)}; a "
                "tensor of that shape, or None, is needed"
            )
        return new, None


@contextlib.contextmanager
def attach(
    model: nn.Module,
    layer: str,
    sae: Any,
    edit: Any = None,
    *,
    error: bool = True,
    axis: int | None = None,
    sample_axis: int | None = None,
) -> Iterator[Splice]:
    """Within the `with`, a layer of a model gives what a dictionary makes of it, edited.

    The layer's output x becomes `x + (decode(edited codes) − decode(codes))`: the edited
    reconstruction plus the error, which is not touched; without an edit it is x, bit for bit.
    Gradients flow through. The model keeps its mode, and is as before when the `with` ends.

    Args:
        layer: a name of `model.named_modules()`; `NAME:input` and paths as in `activations`.
        sae: a run's path, a fitted estimator, or a torch module with `encode` and `decode` in the
            layer's units (`simplecell.load(run).model`).
        edit: ("off", latent), ("times", latent, factor), ("set", latent, value), ("add", latent,
            amount) along its atom; latents may be several; a dictionary says positions and samples
            too (kind, latents, value, positions, samples); a function of codes; or a list.
        error: False leaves the error away: the reconstruction alone.
        axis, sample_axis: what the layer's axes mean, as in `activations`.

    Raises:
        UsageError: for what does not exist, and at the end of the `with` where the layer was never
            called, or an edit never applied.

    >>> import torch
    >>> from torch import nn
    >>> from sklearn.datasets import load_digits
    >>> net, x = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 3)), torch.ones(5, 64)
    >>> sae = TopKSparseAutoencoder(32, k=4, max_samples=5000, random_state=0)
    >>> sae = sae.fit(load_digits().data.astype("float32"))
    >>> before = net(x)
    >>> with attach(net, "0", sae):
    ...     print(torch.equal(net(x), before))
    True
    """
    found = places(model, layer)
    if len(found) != 1:
        raise UsageError(f"the layer '{layer}' means {len(found)} modules; attach to one at a time")
    place = found[0]
    refuse_compiled(model, found)
    picking = Picking(axis=axis, sample_axis=sample_axis)
    splice = Splice(place, module_of(sae, model), edits_of(edit), error, picking)
    if isinstance(sae, str | Path):
        splice.told = f"the run '{sae}'"
    modules = dict(model.named_modules(remove_duplicate=False))
    counts = dict.fromkeys(above(place.name), 0)
    with contextlib.ExitStack() as hooks:
        hooks.callback(_hooked(place, splice).remove)
        for name in counts:  # for the error at the end: which of those around it are called
            with contextlib.suppress(RuntimeError, AttributeError):
                hooks.callback(_counted(modules[name], counts, name).remove)
        yield splice
    splice.refuse_silent(counts)


def module_of(sae: Any, model: nn.Module) -> Any:
    """A dictionary of any kind as a torch module with `encode` and `decode` of tensors.

    Raises:
        UsageError: for anything else.
        RunError: for a directory that is no run.
    """
    if isinstance(sae, str | Path):
        if not Path(sae).exists():
            raise RunError(f"there is nothing at '{sae}'; the path of a run is needed")
        sae = Run(sae).load()
    if isinstance(sae, Trained):
        return _beside(sae.module(), model)
    if isinstance(sae, nn.Module) and hasattr(sae, "encode") and hasattr(sae, "decode"):
        return sae
    inner = None if isinstance(sae, type) else getattr(sae, "model", None)
    if isinstance(inner, nn.Module) and hasattr(inner, "encode") and hasattr(inner, "decode"):
        return _beside(inner, model)
    raise UsageError(
        f"the dictionary is a {type(sae).__name__}; a run's path, a fitted estimator, or a torch "
        "module with encode and decode is needed"
    )


def _beside(sae: nn.Module, model: nn.Module) -> nn.Module:
    """A module of our own making on the device of the model, in its precision if that is fine."""
    like = next((p for p in model.parameters() if p.is_floating_point()), None)
    if like is None or (like.device.type == "cpu" and like.dtype != torch.float64):
        return sae
    sae = copy.deepcopy(sae).to(like.device)  # the estimator keeps its own where it is
    return sae.double() if like.dtype == torch.float64 else sae


def _hooked(place: Place, splice: Splice) -> Any:
    def before(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        taken = place.take(args, kwargs, None)
        new, (key, *path) = splice(taken.value), taken.path
        if key in kwargs:
            return args, {**kwargs, key: replaced(kwargs[key], tuple(path), new)}
        return replaced(args, taken.path, new), kwargs

    def after(module: nn.Module, args: Any, kwargs: dict[str, Any], output: Any) -> Any:
        taken = place.take(args, kwargs, output)
        return replaced(output, taken.path, splice(taken.value))

    return hooked(place, before, after)


def _counted(module: nn.Module, counts: dict[str, int], name: str) -> Any:
    def hook(module: nn.Module, args: Any, output: Any) -> None:
        counts[name] += 1

    return module.register_forward_hook(hook)


def _described(new: object) -> str:
    return f"{tuple(new.shape)}" if isinstance(new, Tensor) else f"a {type(new).__name__}"
