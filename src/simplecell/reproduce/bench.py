"""What a reproduction is given: the data it needs, how many seeds, where pictures go."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image
from sklearn.base import BaseEstimator, clone

from simplecell.data import Source, as_source
from simplecell.errors import DataError
from simplecell.run.build import Built
from simplecell.run.progress import TrainingProgress, say
from simplecell.training.trainer import Record
from simplecell.viz.files import save

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Floats = NDArray[np.float32]
Labels = NDArray[np.int64]
Estimator = TypeVar("Estimator", bound=BaseEstimator)


class Wanted(NamedTuple):
    """A data set: patterns of its official file names, and where its home is."""

    patterns: tuple[str, ...]
    home: str


DATA_SETS = {
    "mnist": Wanted(
        tuple(
            f"{part}-{what}-ubyte*"
            for part in ("train", "t10k")
            for what in ("images-idx3", "labels-idx1")
        ),
        "http://yann.lecun.com/exdb/mnist/ (mirror: https://ossci-datasets.s3.amazonaws.com/mnist/)",
    ),
    "images": Wanted(
        ("IMAGES.mat",), "http://ufldl.stanford.edu/wiki/index.php/Exercise:Sparse_Autoencoder"
    ),
    "raw images": Wanted(
        ("IMAGES_RAW.mat",), "http://ufldl.stanford.edu/wiki/index.php/Exercise:PCA_and_Whitening"
    ),
    "stl patches": Wanted(
        ("stlSampledPatches*.mat",),
        "http://ufldl.stanford.edu/wiki/index.php/"
        "Exercise:Learning_color_features_with_Sparse_Autoencoders",
    ),
    "cifar-10": Wanted(("cifar-10-*.tar.gz",), "https://www.cs.toronto.edu/~kriz/cifar.html"),
}


class Digits(NamedTuple):
    """Pictures of digits as rows in [0, 1], and their labels."""

    x: Floats
    y: Labels
    test_x: Floats
    test_y: Labels
    shape: tuple[int, int]
    about: str


@dataclass(frozen=True)
class Bench:
    """A place to measure at; `quick` means small stand-ins that every installation carries."""

    out: Path
    data: Path | None = None
    quick: bool = False

    def seeds(self, wanted: int) -> range:
        """Seeds 0 … wanted − 1; only the first when quick."""
        return range(1 if self.quick else wanted)

    def missing(self, name: str) -> str | None:
        """A sentence on what a data set lacks, or None when it is all there."""
        wanted = DATA_SETS[name]
        lacking = [pattern for pattern in wanted.patterns if self._find(pattern) is None]
        if not lacking:
            return None
        where = "no --data folder was given" if self.data is None else f"not in '{self.data}'"
        return f"{name}: {', '.join(lacking)} ({where}); official home: {wanted.home}"

    def file(self, name: str, number: int = 0) -> Path:
        """One file of a data set.

        Raises:
            DataError: when it is not there.
        """
        found = self._find(DATA_SETS[name].patterns[number])
        if found is None:
            raise DataError(self.missing(name) or name)
        return found

    def _find(self, pattern: str) -> Path | None:
        """The first match in the folder or one level below it."""
        if self.data is None:
            return None
        found = sorted(self.data.glob(pattern)) or sorted(self.data.glob(f"*/{pattern}"))
        return found[0] if found else None

    @cached_property
    def digits(self) -> Digits:
        """MNIST; when quick, scikit-learn's 1,797 small digits, split in order."""
        if self.quick:
            from sklearn.datasets import load_digits

            x, y = load_digits(return_X_y=True)
            x, y, cut = (x / 16).astype(np.float32), y.astype(np.int64), 1200
            about = "scikit-learn's 8×8 digits: 1,200 to learn from, 597 to test"
            return Digits(x[:cut], y[:cut], x[cut:], y[cut:], (8, 8), about)
        (x, y), (test_x, test_y) = (_labelled(self.file("mnist", k)) for k in (0, 2))
        about = f"MNIST: {len(x):,} pictures of 28×28 to learn from, {len(test_x):,} to test"
        return Digits(x, y, test_x, test_y, (28, 28), about)

    def picture(self, name: str, image: Image.Image | Figure) -> str:
        """Write a picture, or a figure; its name."""
        self.out.mkdir(parents=True, exist_ok=True)
        save(image, self.out / name)
        return name

    def fit(
        self, estimator: Estimator, x: ArrayLike, what: str, y: ArrayLike | None = None
    ) -> Estimator:
        """Fit with progress on standard error."""
        say(f"  {what}")
        fitted: Estimator = estimator.set_params(verbose=not self.quick).fit(x, y)
        return fitted

    def fit_seeds(self, estimator: Estimator, x: ArrayLike, wanted: int) -> list[Estimator]:
        """The estimator fitted with each of so many seeds."""
        return [
            self.fit(clone(estimator).set_params(random_state=seed), x, f"seed {seed}")
            for seed in self.seeds(wanted)
        ]

    def train(self, built: Built, source: Source) -> Record:
        """Train to the recipe's length with progress on standard error; the last record."""
        n_steps = built.recipe.n_steps
        with TrainingProgress(n_steps, quiet=self.quick) as progress:
            for record in built.trainer.run(source, n_steps):
                progress.show(record)
        return record


def _labelled(path: Path) -> tuple[Floats, Labels]:
    source = as_source(path)
    if source.labels is None:
        raise DataError(f"{path.name} has no labels beside it")
    labels = np.asarray(source.labels).astype(np.int64)
    if source.n_inputs != 28 * 28 or not np.array_equal(np.unique(labels), np.arange(10)):
        raise DataError(
            f"{path.name} holds pictures of {source.shape} with labels {sorted(set(labels))[:12]}, "
            "but MNIST's are of (28, 28) with labels 0 to 9; give the official files"
        )
    return source.read(slice(0, source.n_samples)).astype(np.float32), labels


class Clock:
    """Seconds since it was made."""

    def __init__(self) -> None:
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        return time.perf_counter() - self.started
