"""The rows that every library is trained and judged on, as one file per data set.

    python benchmarks/fronts/rows.py DATA_FOLDER OUT_FOLDER

DATA_FOLDER holds the three arrays named in `SETS`. Each becomes OUT_FOLDER/<name>.npz with `train`
[N, D] and `held` [H, D], float32, in raw units. The held rows are the first of a permutation
seeded with 0, so a run's own seed never changes them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

# Name: file below DATA_FOLDER, number of held rows. Of an .npz the key `emb` is read.
SETS: dict[str, tuple[str, int]] = {
    "activations": ("activations/dev_resid_post3_102400x64_f16.npy", 10_000),
    "reuters": ("embeddings/reuters_lsa128.npz", 3_000),
    "words": ("embeddings/imdb_ppmi_words_20000x100.npz", 3_000),
}


def read(path: Path) -> np.ndarray[Any, Any]:
    """All rows of one array [N, D], float32."""
    if path.suffix == ".npy":
        return np.asarray(np.load(path, allow_pickle=False), dtype=np.float32)
    with np.load(path, allow_pickle=False) as archive:
        return np.asarray(archive["emb"], dtype=np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data_folder", type=Path)
    parser.add_argument("out_folder", type=Path)
    args = parser.parse_args()
    args.out_folder.mkdir(parents=True, exist_ok=True)
    for name, (file, n_held) in SETS.items():
        x = read(args.data_folder / file)
        order = np.random.default_rng(0).permutation(len(x))
        held, train = x[order[:n_held]], x[order[n_held:]]
        np.savez(args.out_folder / f"{name}.npz", train=train, held=held)
        print(f"{name}: train {train.shape}, held {held.shape}")


if __name__ == "__main__":
    main()
