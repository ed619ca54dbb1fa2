"""Sparse codes as features: a step of a scikit-learn pipeline.

A linear classifier reads handwritten digits from their 64 pixels, or from 100 sparse codes that
were learned from the training half alone, without its labels. You will see the errors on the test
half for four splits fall to about half, and beside them those of the same network left untrained,
because any 100 random features might help: these do not. The classifier's C is the one that suits
raw pixels best; all settings were chosen on other splits.
"""

import sys
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from simplecell import SparseAutoencoder, viz


def codes(iterations: int) -> SparseAutoencoder:
    return SparseAutoencoder(
        n_latents=100, target=0.05, sparsity_weight=1, max_iter=iterations, random_state=0
    )


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)
    x, y = load_digits(return_X_y=True)
    x = x / 16
    splits = list(StratifiedShuffleSplit(4, test_size=0.5, random_state=1).split(x, y))
    features = {"pixels": [], "untrained codes": [codes(1)], "sparse codes": [codes(100)]}
    errors = {}
    for name, steps in features.items():
        model = make_pipeline(*steps, LinearSVC(C=1, random_state=0))
        scores = [model.fit(x[train], y[train]).score(x[test], y[test]) for train, test in splits]
        errors[name] = 100 * (1 - np.array(scores))
    table = np.array([[*row, row.mean()] for row in errors.values()])

    print("test errors in per cent")
    columns = [*(f"split {i + 1}" for i in range(len(splits))), "mean"]
    print(" " * 16 + "".join(f"{column:>9}" for column in columns))
    for name, row in zip(errors, table, strict=True):
        print(f"{name:<16}" + "".join(f"{value:9.2f}" for value in row))

    figure = viz.heatmap_table(table, list(errors), columns, "Test errors, per cent")
    viz.save_figure(figure, folder / "05_errors.png")
    viz.save(model[0].plot(), folder / "05_strokes.png")
    return {name: row[-1] for name, row in zip(errors, table, strict=True)}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
