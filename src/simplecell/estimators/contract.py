"""scikit-learn's contract for every trained model: transform, score, save, plot, explore."""

from __future__ import annotations

import base64
import copy
import dataclasses
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.sparse import issparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from simplecell.data import ArraySource, Source
from simplecell.data.rows import Meta
from simplecell.errors import UsageError
from simplecell.estimators.door import DOOR, check_array, source_given, validate_data
from simplecell.model.autoencoder import Autoencoder, Model
from simplecell.model.passes import Passes
from simplecell.preprocess.chain import Preprocess
from simplecell.run.build import Built
from simplecell.run.directory import Run, about_data, about_training
from simplecell.run.encoding import dense_codes
from simplecell.run.evaluate import Figures, evaluate
from simplecell.run.normality import judged, normality
from simplecell.run.notes import FILE as NOTES
from simplecell.run.notes import Notes, weights_of
from simplecell.run.progress import TrainingProgress
from simplecell.run.recipe import Recipe
from simplecell.run.resolve import with_prepared_targets
from simplecell.run.trained import Trained
from simplecell.run.whole import WholeModel
from simplecell.training.prepared import Prepared, resolve_device
from simplecell.training.trainer import Record
from simplecell.viz.grid import sample_shape
from simplecell.viz.portrait import picture

if TYPE_CHECKING:
    from simplecell.explain.explanation import Explanation
    from simplecell.explain.index import Index
    from simplecell.explorer.export import Page

Array = NDArray[np.floating]
ROWS = 8192
USELESS = 0.99  # fvu from which a code says next to nothing of its samples


class PrecisionTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """A transformer whose results are in float32 if X is float32, else in float64."""

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags


class CodeTransformer(ClassNamePrefixFeaturesOutMixin, PrecisionTransformer):  # type: ignore[misc]
    """One whose results are codes over the atoms `components_`; X may be SciPy sparse."""

    @property
    def _n_features_out(self) -> int:
        return int(self.components_.shape[0])

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


class ModelTransformer(CodeTransformer):
    """A trained model behind scikit-learn's contract; a subclass says how it is fitted."""

    _trained: Trained
    _whole: WholeModel | None = None
    device: str
    solver: str
    notes_: list[str]
    cure = (
        "for tables and embeddings try preprocess=['standardize'], output='linear' and a larger "
        "target"
    )

    def transform(self, X: object) -> Array:
        """Codes [n_samples, n_latents] of X, in float32 if X is float32, else in float64."""
        check_is_fitted(self)
        return self._coded(source_given(self, X, reset=False))

    def inverse_transform(self, X: object) -> Array:
        """Samples [n_samples, n_features] in the units of the data, of codes X [n, n_latents].

        X may be SciPy sparse, and is not made dense.
        """
        check_is_fitted(self)
        codes = check_array(X, accept_sparse="csr", dtype=[np.float64, np.float32])
        if issparse(codes):
            codes.check_format(full_check=True)  # an index beyond the latents would reach torch
        trained = self._on_device()
        n, rows = codes.shape[0], Passes(trained.model).n_rows
        return np.concatenate([trained.decode(codes[i : i + rows]) for i in range(0, n, rows)])

    def score(self, X: object, y: object = None) -> float:
        """1 − fvu: the fraction of the variance of prepared X that is reproduced; 1 is best.

        Where X has no variance (constant, or one row): 1.0 if it is reproduced exactly, up to
        rounding, else 0.0, as scikit-learn's r2_score has it.
        """
        check_is_fitted(self)
        return self._scored(source_given(self, X, reset=False))

    def _scored(self, source: Source) -> float:
        trained = self._on_device()
        return evaluate(trained.model, trained.preprocess, source).score

    def score_samples(self, X: object) -> Array:
        """How normal each sample of X is, [n_samples], beside those of the training: higher is
        more normal, as scikit-learn has it; *no unit*.

        `−max(z(ln ‖x − recon‖²), z(ln distance of the code))`, z a standard score among (at most
        8,192 of) the training samples: `simplecell.run.normality` has the formula and its source.

        Raises:
            UsageError: for a transcoder, and a run that does not know what is normal.
        """
        check_is_fitted(self)
        source = source_given(self, X, reset=False)
        trained = self._on_device()
        if trained.normal is None:
            raise UsageError(
                "this run does not know which samples are normal: it is a transcoder, was "
                "converted, or was made before rows were scored; train it anew"
            )
        model = trained.model_for(source.read(slice(0, 1)))
        samples = Prepared(source, trained.preprocess, model, keep=False)
        parts = [trained.normal.score(one) for _, one in judged(model, samples)]
        scores: Array = torch.cat(parts).numpy()
        return scores

    @property
    def model(self) -> WholeModel:
        """The whole as one torch module: tensors in the units of the data, gradients through.

        Preparation included, where `model_` is the bare autoencoder. Its weights are copies: moved,
        cast or trained, it leaves the estimator as it is. Its codes are the encoder's, also where
        `transform` gives exact ones, which have no gradient.
        """
        check_is_fitted(self)
        if self._whole is None:
            self._whole = self._trained.module()
        return self._whole

    def save(self, path: str | Path) -> None:
        """Write a run directory that `simplecell.load` and the command line open.

        Names that latents were given come along.

        Raises:
            RunError: when something else than a run lies there.
            WriteError: when it cannot be written.
        """
        check_is_fitted(self)
        run, trained = Run(path), self._trained
        run.refuse_strangers()
        run.begin(trained.recipe, trained.info, trained.preprocess, trained.target_preprocess)
        run.write_model(trained.model)
        run.write_normal(trained.normal)
        if trained.names.given:
            Notes(run.path / NOTES).rename(trained.names.given, weights_of(run.path))

    def plot(
        self,
        what: str = "latents",
        *,
        shape: tuple[int, ...] | None = None,
        layer: int | None = None,
    ) -> Image.Image:
        """A picture of what excites each latent ("latents") or of what each adds ("atoms").

        `shape` is how one sample is laid out, (h, w) or (h, w, 3); found out for square grey
        pictures. Samples that are no pictures are drawn by their strongest inputs. `layer` of a
        deep network's latents is counted from 1, the innermost unless given: found by ascent over
        inputs of length at most 1, in closed form for layer 1.
        """
        check_is_fitted(self)
        if what not in ("latents", "atoms"):
            raise UsageError(f"plot draws 'latents' or 'atoms', not {what!r}")
        if layer is not None and what == "atoms":
            raise UsageError("layer is for latents, not for atoms; leave it out")
        trained = self._trained
        if what == "atoms" and trained.target_preprocess is not None:
            n_outputs = trained.target_preprocess.n_inputs
            layout = layout_of(shape or (n_outputs,), n_outputs, None)
        else:
            layout = layout_of(shape or self._shape(), trained.preprocess.n_inputs, None)
        return picture(trained, what, layout, layer=layer)

    def explore(
        self,
        X: object,
        y: object = None,
        *,
        about: Iterable[Mapping[str, object]] | None = None,
        shape: tuple[int, ...] | None = None,
    ) -> Page:
        """The explorer over samples X, a `Page`: a notebook shows it, `save(path)` writes it.

        `y` are labels to hold latents against; `about` is a record a sample (text, title, token,
        any label …); `shape` is how a sample is laid out, as in `plot`.
        """
        check_is_fitted(self)
        from simplecell.explorer.export import page_of  # a web page is more than most fits need

        rows = validate_data(self, X, reset=False, **DOOR)
        n_samples, n_inputs = rows.shape
        layout = self._trained.shape if issparse(rows) else self._shape()
        if shape is not None:
            layout = shape if shape == (n_inputs,) else sample_shape(shape)
        if math.prod(layout) != n_inputs or (issparse(rows) and len(layout) > 1):
            raise UsageError(
                f"shape {layout} needs {math.prod(layout)} dense inputs a sample; there are "
                f"{n_inputs}"
            )
        labels = None if y is None else np.asarray(y)
        if labels is not None and labels.shape != (n_samples,):
            raise UsageError(
                f"y has the shape {labels.shape}, but one label a sample is needed: ({n_samples},)"
            )
        source = ArraySource(
            rows if len(layout) == 1 else rows.reshape(-1, *layout),
            kind="array" if len(layout) == 1 else "pictures",
            name="X",
            input_names=input_names(self),
            labels=labels,
            meta=None if about is None else meta_of(about, n_samples),
        )
        return page_of(self.save, source, type(self).__name__)

    def explain(
        self,
        X: object,
        y: object,
        groups: object = None,
        *,
        by: object = None,
        kind: str = "auto",
        random_state: int = 0,
    ) -> Explanation:
        """Which latents go with y, one number or class a sample of X; and whether that holds.

        Where a sample may be of several classes, y holds a list of them a sample, or is a table of
        0 and 1 [n_samples, n_classes] (a data frame's columns are the names). `groups` [n_samples]
        says which samples belong together: these are never parted, and are what p-values count.
        Rows with the same value of `by` [n_samples] are parts of one sample, such as tokens of a
        text: each latent counts by its largest code there. `kind` is "number" or "classes" where
        "auto" would take whole numbers for the other; `random_state` says what is held out. None
        and NaN in y are left out.
        """
        check_is_fitted(self)
        from simplecell.explain.answer import samples_of
        from simplecell.explain.asked import of_values
        from simplecell.explain.target import listed, targets

        rows = validate_data(self, X, reset=False, **DOOR)
        source = ArraySource(rows, name="X", input_names=input_names(self))
        name = getattr(y, "name", None)
        return of_values(
            samples_of(self._on_device(), source),
            name if isinstance(name, str) else "y",
            targets(y),
            None if groups is None else listed("groups", groups),
            None if by is None else listed("by", by),
            kind=kind,
            seed=random_state,
        )

    def index(self, X: object, *, names: Sequence[str] | None = None) -> Index:
        """Rows of X by their codes: those in which a latent fires, and those nearest to another.

        `names` [n_samples] are what rows are called. `simplecell.Index` says how to ask.

        Raises:
            UsageError: for codes that are never 0.
        """
        check_is_fitted(self)
        from simplecell.explain.index import Index  # with SciPy, which most fits need not

        source = source_given(self, X, reset=False)
        return Index.of(self._on_device(), source, names=names)

    def features(
        self, X: object, y: object = None, groups: object = None, *, kind: str = "auto"
    ) -> list[dict[str, Any]]:
        """Of each latent what a person or a language model can name it by, ready for JSON.

        Its top samples of X and examples at quantiles, the inputs that go with it, and, where y is
        given, its effects: what `simplecell features` writes. `y`, `groups` and `kind` are those of
        `explain`.
        """
        check_is_fitted(self)
        from simplecell.explain.answer import samples_of
        from simplecell.explain.features import features

        rows = validate_data(self, X, reset=False, **DOOR)
        source = ArraySource(rows, name="X", input_names=input_names(self))
        answer = None if y is None else self.explain(X, y, groups, kind=kind)
        trained = self._on_device()
        return list(features(trained, source, samples_of(trained, source), answer))

    def latents(self, layer: int | None = None) -> NDArray[np.float64]:
        """What excites each latent most, [n_latents, n_features], in the units of the data.

        Up to length; `layer` as in `plot`.
        """
        check_is_fitted(self)
        return self._trained.latents(layer).numpy()

    def atoms(self) -> NDArray[np.float64]:
        """What each latent adds, [n_latents, n_features], in the units of the data.

        `components_` are the same in prepared units.
        """
        check_is_fitted(self)
        return self._trained.atoms().numpy()

    def get_feature_names_out(self, input_features: object = None) -> NDArray[np.object_]:
        """What latents are called, [n_latents]: as in the files that `simplecell encode` writes."""
        check_is_fitted(self)
        return np.array(self._trained.names.all(self._n_features_out), dtype=object)

    def _coded(self, source: Source) -> Array:
        """Codes [n_samples, n_latents] of a source."""
        return dense_codes(self._on_device(), source)

    def _shape(self) -> tuple[int, ...]:
        if len(self._trained.shape) > 1:
            return self._trained.shape
        return layout_of(None, self._trained.preprocess.n_inputs, input_names(self))

    def _keep(
        self, built: Built, requested: Recipe, source: Source, *, held_out: Source | None = None
    ) -> Figures:
        """Take over what was learned: NumPy attributes, and a compact copy on the CPU.

        Gives what a pass over the training samples found.
        """
        trainer, recipe, chain = built.trainer, built.recipe, built.target_preprocess
        model = recipe.build_model(trainer.model.n_inputs, trainer.model.n_outputs)
        model.load_tensors(trainer.model.tensors())
        pairs = with_prepared_targets(source, chain, model.like)
        in_use = self._in_use(model, built.preprocess, recipe, source)
        figures = evaluate(in_use, built.preprocess, pairs)
        info = about_training(requested, recipe, trainer, about_data(None, source, held_out))
        info |= {"status": "finished", "stopped": trainer.stopped}
        info["data"]["input_names"] = input_names(self)
        normal = None if chain is not None else normality(in_use, built.preprocess, source)
        self._take(Trained(model, built.preprocess, recipe, info, chain, normal=normal))
        self.notes_ = [*source.notes, *built.notes]
        self._judge(figures)
        return figures

    def _in_use(
        self, model: Model, preprocess: Preprocess, recipe: Recipe, source: Source
    ) -> Model:
        """What makes the codes that `transform` gives: the model that was trained."""
        return model

    def _judge(self, figures: Figures) -> None:
        """What a pass over the training samples found."""
        self.fvu_ = figures.fvu
        self.mean_activation_ = figures.mean_activation
        if figures.fvu > USELESS and isinstance(self.model_, Autoencoder):
            self.notes_.append(f"{figures.fvu:.1%} of the variance is unexplained: {self.cure}")

    def _take(self, trained: Trained) -> None:
        """The public fitted attributes of a trained model."""
        model = trained.model
        self._trained, self._whole = trained, None
        self.model_, self.preprocess_ = model, trained.preprocess
        self.components_ = model.atoms().cpu().numpy().copy()
        if isinstance(model, Autoencoder):
            tensors = model.tensors()
            for name in ("encoder", "bias", "offset", *model.activation.weights()):
                if name in tensors:
                    setattr(self, f"{name}_", tensors[name].numpy().copy())
        self.n_iter_ = self._iterations(trained)

    def _iterations(self, trained: Trained) -> int:
        """Iterations done, or passes over the data of Adam."""
        recipe, steps = trained.recipe, int(trained.info["n_iter"])
        if recipe.optim.kind == "adam" and self.solver == "adam":
            steps = max(1, steps * recipe.optim.batch_size // trained.info["data"]["n_samples"])
        return steps

    def _on_device(self) -> Trained:
        device = resolve_device(self.device)
        if device.type == "cpu":
            return self._trained
        model = copy.deepcopy(self._trained.model).to(device)
        return dataclasses.replace(self._trained, model=model)

    def _repr_mimebundle_(self, **kwargs: object) -> dict[str, str]:
        """scikit-learn's own view, and below it the picture once there is one."""
        bundle: dict[str, str] = super()._repr_mimebundle_(**kwargs)
        if "text/html" in bundle and hasattr(self, "_trained"):
            buffer = io.BytesIO()
            self.plot().save(buffer, format="png")
            picture = base64.b64encode(buffer.getvalue()).decode()
            alt = "what excites each latent most"
            bundle["text/html"] += f'<img alt="{alt}" src="data:image/png;base64,{picture}">'
        return bundle


def follow(
    records: Iterable[Record], steps: int, *, done: int = 0, verbose: bool
) -> NDArray[np.float64]:
    """Train to the end, with progress on standard error where asked; the cost of each step."""
    curve = []
    with TrainingProgress(steps, done, quiet=not verbose) as progress:
        for record in records:
            curve.append(record.cost)
            progress.show(record)
    return as_curve(curve)


def input_names(estimator: BaseEstimator) -> list[str] | None:
    """Names of the columns that an estimator was fitted to, if they had any."""
    names = getattr(estimator, "feature_names_in_", None)
    return None if names is None else [str(name) for name in names]


def as_curve(costs: Sequence[torch.Tensor]) -> NDArray[np.float64]:
    """Costs as an array."""
    return torch.stack([*costs]).double().cpu().numpy() if costs else np.empty(0)


def layout_of(
    shape: tuple[int, ...] | None, n_inputs: int, names: Sequence[str] | None
) -> tuple[int, ...]:
    """How a sample is drawn: as asked, else a square grey picture where it may be one.

    Raises:
        UsageError: for a shape of another number of inputs.
    """
    side = math.isqrt(n_inputs)
    square = side * side == n_inputs and side >= 4 and names is None
    layout = shape or ((side, side) if square else (n_inputs,))
    if math.prod(layout) != n_inputs:
        raise UsageError(
            f"shape {layout} needs {math.prod(layout)} inputs a sample; there are {n_inputs}"
        )
    return layout


def meta_of(about: Iterable[Mapping[str, object]], n_samples: int) -> Meta:
    """Records about samples, one each.

    Raises:
        UsageError: for another number of them, or what is no record.
    """
    records = list(about)
    if len(records) != n_samples:
        raise UsageError(f"about has {len(records)} records for {n_samples} samples; one each")
    if not all(isinstance(one, Mapping) for one in records):
        raise UsageError("about is a list of records, such as {'title': …}; give one a sample")
    return Meta(n_samples, lambda i: dict(records[i]))
