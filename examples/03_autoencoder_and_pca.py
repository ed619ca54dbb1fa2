"""A linear autoencoder finds what principal component analysis finds: the same subspace.

Both reduce handwritten digits to ten numbers. You will see atoms that look nothing like the
principal components, although the two span the same space: the largest angle between them is
below a thousandth of a radian. Only the subspace is determined (Baldi & Hornik 1989); the atoms are
some basis of it. Mixed by the right 10×10 matrix they are the components (last row).
"""

import sys
from pathlib import Path

import numpy as np
from scipy.linalg import lstsq, subspace_angles
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from simplecell import CompressionAutoencoder, viz

K = 10  # the 10th variance is 1.3 times the 11th: the subspace is well determined


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)
    x = load_digits().data / 16
    pca = PCA(K).fit(x)
    ae = CompressionAutoencoder(
        n_latents=K,
        activation="identity",
        output="linear",
        weight_decay=0,
        preprocess=["center"],
        dtype="float64",
        max_iter=600,
        random_state=0,
    ).fit(x)

    angles = subspace_angles(ae.components_.T, pca.components_.T)
    kept, best = ae.score(x), pca.explained_variance_ratio_.sum()
    lengths = np.linalg.norm(ae.components_, axis=1)
    cosines = np.abs(ae.components_ @ pca.components_.T) / lengths[:, None]
    best_cosine = np.median(cosines.max(axis=1))
    print(f"variance kept by the autoencoder  {kept:.6f}")
    print(f"variance kept by PCA              {best:.6f}")
    print(f"largest principal angle           {angles.max():.1e} rad")
    print(f"best |cosine| of an atom with a component: {best_cosine:.2f} (median of the atoms)")

    mixing = lstsq(ae.components_.T, pca.components_.T)[0]
    rows = np.concatenate([pca.components_, ae.components_, mixing.T @ ae.components_])
    labels = [f"{what} {i}" for what in ("PCA", "atom", "mixed") for i in range(K)]
    picture = viz.tiles(rows, (8, 8), columns=K, labels=labels)
    viz.save(picture, folder / "03_atoms_and_components.png")
    return {"angle": angles.max(), "kept": kept, "pca": best, "best_cosine": best_cosine}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
