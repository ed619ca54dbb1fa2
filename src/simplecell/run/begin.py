"""How a session comes about: a run begun, gone on with, or refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import torch

from simplecell.data import Source
from simplecell.data.rows import Survey, survey, targets_of
from simplecell.data.shard_index import read_index
from simplecell.data.source import openers_of
from simplecell.distributed import ALONE, Alone
from simplecell.errors import DataError, RunError, UsageError
from simplecell.model import native
from simplecell.preprocess.chain import Preprocess
from simplecell.preprocess.moments import Moments
from simplecell.run.build import Built, build, open_data, refuse_pipe, trainer_on
from simplecell.run.directory import Run, about_data, about_training
from simplecell.run.estimate import estimate
from simplecell.run.info import Info
from simplecell.run.memory import too_wide
from simplecell.run.recipe import Recipe
from simplecell.run.resolve import kind_of, resolve, suited, with_prepared_targets
from simplecell.run.session import Session
from simplecell.run.storage import Lock
from simplecell.training.lbfgs import LBFGS
from simplecell.training.parts import own_part
from simplecell.training.prepared import JUDGED

WIDE = ("optim.kind=adam", "optim.learning_rate=0.01")
"""Of the recipe for tables, where they are too wide for L-BFGS. On 200 rows of 200 columns it gives
held-out fvu 0.121 where L-BFGS gives 0.124; 0.003 leaves the codes far from their target."""


def begin(
    data: object,
    out: str | Path,
    recipe: Recipe | None = None,
    *,
    settings: Sequence[str] = (),
    restart: bool = False,
    source: Source | None = None,
    ranks: Alone = ALONE,
) -> Session:
    """Start a run on `data` in directory `out`, or go on where the same call was cut off.

    Without a recipe the data's kind chooses one; `notes` says which. Nothing is written before
    all of the data has been read once and found good. `source` is `data` opened already, for
    several runs that read together; the run still remembers `data`. `ranks` are the processes that
    the session will be shared by; nothing is asked of them yet.

    Raises:
        UsageError: a setting differs from the run's own (only the length may grow).
        DataError: the data cannot be used, or are not those that the run began with.
        RunError: something else than a run lies at `out`.
    """
    run = Run(out)
    run.refuse_strangers()
    notes: list[str] = []
    if recipe is None:
        recipe, notes, opened = default_recipe(data, settings)
        source = opened if source is None else source
    recipe = _with_whole_paths(recipe.changed(settings))
    if run.exists and not restart:
        return _go_on(run, data, recipe, source, ranks)
    return _start(run, data, recipe, notes, restart, source, ranks)


def _with_whole_paths(recipe: Recipe) -> Recipe:
    """`resume` may be said elsewhere."""
    path = recipe.data.targets
    if path is None:
        return recipe
    targets = str(Path(path).resolve())
    return dataclasses.replace(recipe, data=dataclasses.replace(recipe.data, targets=targets))


def resume(out: str | Path, *, steps: int | None = None, ranks: Alone = ALONE) -> Session:
    """Go on with a run that was cut off, from what it remembers; `ranks` as in `begin`."""
    run = Run(out)
    info = run.info()
    path = info["data"].get("path")
    _refuse_converted(run, info)
    if path is None:
        raise RunError(
            f"'{out}' was trained on data that it cannot read again (standard input, or an array "
            "in memory); give them once more: simplecell train DATA --out RUN"
        )
    refuse_pipe(path)
    recipe = run.requested(info)
    if steps is not None:
        recipe = recipe.changed([f"train.steps={steps}"])
    return _go_on(run, path, recipe, ranks=ranks)


def default_recipe(
    data: object, settings: Sequence[str]
) -> tuple[Recipe, list[str], Source | None]:
    """The recipe that suits the kind of the data, and sentences that say so.

    With them the data, where they had to be opened to be known and the recipe reads them so too.
    Pictures are told by their names, and decoded when their patches are cut.
    """
    plain = Recipe().changed([s for s in settings if s.startswith("data.")])
    if plain.data.kind != "array" and openers_of(data, plain.data.max_pixels) is not None:
        name, reason = suited("patches")
        return Recipe.load(name), [_chosen(name, reason)], None
    source = plain.source(data, n_patches=2)
    kind = kind_of(source)
    name, reason = suited(kind, source.n_samples, source.n_inputs)
    if kind == "array" and (sparse := _why_sparse(data, settings)):
        name, reason = "topk", sparse
    recipe, notes = Recipe.load(name), [_chosen(name, reason)]
    if name == "edges" and source.read(slice(0, 2)).min() < 0:
        notes.append("these pictures hold values below 0: if whitened already, use --recipe ufldl")
    recipe, wide = _within_memory(recipe, settings, source)
    notes += wide
    read = dataclasses.replace(recipe.changed(settings).data, kind=plain.data.kind)
    if source.kind != "patches" and read == plain.data:
        return recipe, notes, source
    # The recipe's own reading will not say what the data were taken for; the count of two
    # patches, which the first note is, says nothing.
    return recipe, notes + source.notes[source.kind == "patches" :], None


def _why_sparse(data: object, settings: Sequence[str]) -> str | None:
    """Why rows of numbers want few active latents a sample, if somebody said so."""
    if any(setting.partition("=")[0].strip() == "model.target_l0" for setting in settings):
        return "model.target_l0 is said: a few active latents a sample"
    folder = Path(data) if isinstance(data, str | Path) and data != "-" else None
    index = read_index(folder) if folder is not None and folder.is_dir() else None
    harvested = index is not None and "harvest" in index
    return "activations of a model: a few active latents a sample" if harvested else None


def _within_memory(
    recipe: Recipe, settings: Sequence[str], source: Source
) -> tuple[Recipe, list[str]]:
    """The recipe with Adam where the history of L-BFGS would not fit, and a sentence on it.

    Only for what nobody chose: a recipe or a solver that was named is taken, or refused.
    """
    if any(setting.partition("=")[0].strip() in ("optim", "optim.kind") for setting in settings):
        return recipe, []
    sized, _ = resolve(recipe.changed(settings), source, Survey("", 0.0, 1.0))
    reason = too_wide(sized, source.n_inputs, source.n_samples)
    if reason is None:
        return recipe, []
    return recipe.changed(WIDE), [f"optimiser: adam, since {reason}"]


def _chosen(name: str, reason: str) -> str:
    return f"recipe: {name} ({reason}); choose another with --recipe"


def _start(
    run: Run,
    data: object,
    requested: Recipe,
    notes: list[str],
    restart: bool,
    opened: Source | None = None,
    ranks: Alone = ALONE,
) -> Session:
    source, held_out = open_data(data if opened is None else opened, requested)
    moments = raw_moments(requested)
    look = None if moments is None else lambda x: moments.add(torch.from_numpy(x))
    found = survey(source, look)
    if held_out is not None:
        survey(held_out)  # reading checks: all of the data are good, or nothing is written
    built = build(requested, source, found, moments, ranks)
    about = about_data(data, source, held_out, found.fingerprint)
    info = about_training(requested, built.recipe, built.trainer, about)
    if source.kind == "table" and requested.data.label is None:
        notes.append(
            f"no label column is named: all {source.n_inputs} inputs are learned from "
            "(--set data.label=NAME keeps a column out)"
        )
    notes = list(dict.fromkeys([*notes, *source.notes, *built.notes]))
    model = built.trainer.model
    notes += _dealt(built)
    notes += estimate(built.recipe, model.n_inputs, source, model.n_outputs, model.holders)
    notes += _looked_at(built, source, held_out)
    session = session_on(run, built, info, source, held_out, notes)
    session.lock = _begin_here(run, built, info, restart)
    return session


def _dealt(built: Built) -> list[str]:
    """The sentence on latents that are dealt to processes, where they are."""
    model = built.trainer.model
    if model.holders == 1:
        if built.recipe.train.shard != "latents":
            return []
        return [
            "train.shard=latents: this one process holds all latents; --processes N deals them to N"
        ]
    return [
        f"latents: {model.n_latents} in each of {model.holders} processes; the doctor looks at the "
        "data alone (simplecell evaluate RUN DATA measures the run)"
    ]


def _looked_at(built: Built, source: Source, held_out: Source | None) -> list[str]:
    """The sentence on figures of some samples only, where there are very many."""
    counts = [0 if isinstance(built.trainer.solver, LBFGS) else source.n_samples]
    counts += [] if held_out is None else [held_out.n_samples]
    if max(counts) <= JUDGED:
        return []
    return [f"figures are those of {JUDGED:,} samples at most, evenly spread over all"]


def raw_moments(requested: Recipe) -> Moments | None:
    """What the first reading may tell of the preparation; None: nothing that serves it."""
    steps = requested.preprocess.steps
    return None if isinstance(steps, str) else Preprocess(steps).raw_moments()


def session_on(
    run: Run, built: Built, info: Info, source: Source, held_out: Source | None, notes: list[str]
) -> Session:
    """A session on what was built, the targets of a transcoder prepared."""
    chain, like = built.target_preprocess, built.trainer.model.like
    source = with_prepared_targets(source, chain, like)
    if held_out is not None:
        held_out = with_prepared_targets(held_out, chain, like)
    return Session(run, built.recipe, info, built.trainer, source, held_out, chain, notes)


def _begin_here(run: Run, built: Built, info: Info, restart: bool) -> Lock:
    run.make()
    lock = run.lock()
    if run.exists and not restart:
        raise RunError(
            f"another process has just begun '{run.path}'; say the same again to continue it"
        )
    run.begin(built.recipe, info, built.preprocess, built.target_preprocess)
    return lock


def _refuse_converted(run: Run, info: Info) -> None:
    """Raise RunError for a model that was not trained here: there is nothing to go on from."""
    if converted := info.get("converted"):
        raise RunError(
            f"'{run.path}' was converted ({converted['kind']}) and not trained here, so that no "
            "training goes on; in Python: simplecell.load(run).partial_fit(X), or train into "
            "another --out"
        )


def _go_on(
    run: Run,
    data: object,
    requested: Recipe,
    opened: Source | None = None,
    ranks: Alone = ALONE,
) -> Session:
    run.refuse_strangers()
    info = run.info()
    _refuse_converted(run, info)
    run.refuse_edits(info)
    _refuse_changes(run, run.requested(info), requested)
    steps = requested.train.steps
    steps = run.recipe().n_steps if isinstance(steps, str) else steps
    if _is_done(info, steps):
        session = _reopened(run, info, data, requested, steps, opened, ranks)
        session.done = True
        if session.trainer.model.holders == 1:  # else nobody asks for it, and it may be too large
            session.trainer.model.load_tensors(run.load().model.tensors())
        return session
    lock = run.lock()
    try:
        info = run.info()  # whoever had the lock may have written it anew
        session = _reopened(run, info, data, requested, steps, opened, ranks)
        session.lock = lock
        _take_up(session, requested)
    except BaseException:
        lock.release()
        raise
    return session


def _reopened(
    run: Run,
    info: Info,
    data: object,
    requested: Recipe,
    steps: int,
    opened: Source | None,
    ranks: Alone,
) -> Session:
    """A session on a run that is there, its trainer at the start."""
    train = requested.train
    now = {"train.steps": steps, "train.memory": train.memory, "train.shard": train.shard}
    recipe = run.recipe().changed(now)
    source, held_out = open_data(data if opened is None else opened, requested)
    refuse_other_data(run, info, data, source, requested)
    threads = info["software"]["threads"]
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)  # the same bits need the same number
    notes = with_kernels_of(info)
    preprocess, of_targets = run.preprocess(recipe), run.target_preprocess(recipe, info)
    trainer = trainer_on(source, recipe, preprocess, of_targets, ranks)
    built = Built(recipe, preprocess, trainer, [], of_targets)
    return session_on(run, built, info, source, held_out, notes)


def with_kernels_of(info: Info) -> list[str]:
    """Go on with the tier that the run began with: the same bits need the same sums."""
    began = info["software"].get("kernels")
    if began is None or native.choose(began):
        return []
    now = native.tier()
    return [
        f"kernels: this run began with those compiled for '{began}', which are not here; with "
        f"'{now.name}' ({now.reason}) the last digits may differ from an uninterrupted run's"
    ]


def refuse_other_data(
    run: Run, info: Info, data: object, source: Source, requested: Recipe
) -> None:
    """Raise DataError unless these are the samples, and the targets, that the run began with."""
    if source.fingerprint() != info["data"]["fingerprint"]:
        raise DataError(
            f"the data at '{data}' are not those that '{run.path}' was trained on; "
            "give the same data, another --out, or --restart"
        )
    targets = targets_of(source)
    found = None if targets is None else targets.fingerprint()
    if found != info["data"].get("targets_fingerprint"):
        raise DataError(
            f"the targets at '{requested.data.targets}' are not those that '{run.path}' was "
            "trained on; give the same, another --out, or --restart"
        )


def _is_done(info: Info, steps: int) -> bool:
    ended = info["status"] == "finished" and info["figures"] is not None
    return ended and (info["n_iter"] >= steps or info.get("stopped") in ("converged", "early"))


def _take_up(session: Session, requested: Recipe) -> None:
    """Continue from the last checkpoint, or from the start where there is none."""
    run, trainer = session.run, session.trainer
    state = run.last_checkpoint()
    if state is not None:
        try:
            trainer.load_state_dict(own_part(state, trainer.model))
        except (LookupError, TypeError, ValueError, RuntimeError, OSError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(
                f"the checkpoint of '{run.path}' does not fit: {reason}; begin anew with --restart"
            ) from error
        if not bool(torch.isfinite(trainer.flat).all()):
            raise RunError(
                f"the checkpoint of '{run.path}' is damaged: it holds weights that are not finite; "
                "begin anew with --restart"
            )
    run.cut_log(trainer.n_steps)
    session.seconds = max((record["seconds"] for record in run.records()), default=0.0)
    session.notes.append(f"continuing '{run.path}' after step {trainer.n_steps}")
    session.info |= {
        "status": "running",
        "requested": requested.table(),
        "resolved": session.recipe.table(),
    }
    run.begin_again(session.recipe, session.info)


def _refuse_changes(run: Run, before: Recipe, now: Recipe) -> None:
    changed = before.differences(now)
    mine, theirs = now.train.steps, before.train.steps
    longer = isinstance(mine, int) and isinstance(theirs, int) and mine >= theirs
    # A falling rate ends at the last step, and patience puts the best weights back.
    if before.optim.kind != "lbfgs":  # where it ends in other digits, the bound is as before
        free = ("train.memory:", "train.shard:")
        changed = [line for line in changed if not line.startswith(free)]
    if longer and before.optim.schedule == "constant" and not before.train.patience:
        changed = [line for line in changed if not line.startswith("train.steps:")]
    if changed:
        raise UsageError(
            f"'{run.path}' was begun with other settings ({'; '.join(changed)}: then, now); "
            "say them as before, choose another --out, or begin anew with --restart"
        )
