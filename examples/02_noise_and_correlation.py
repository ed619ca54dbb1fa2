"""What can be compressed: only what hangs together.

The same linear autoencoder squeezes 100 inputs through 50 latents, once for independent noise and
once for a field whose neighbouring pixels resemble each other. You will see that noise loses half
of its variance (theory: k of n independent inputs keep k/n), and the field next to nothing: an
autoencoder lives on the structure of its data. Fresh samples show what was only learned by heart.
The field stays a little below theory, since training stops after 60 iterations.
"""

import sys
from pathlib import Path

import numpy as np

from simplecell import CompressionAutoencoder, viz
from simplecell.data import correlated_field

N, SIDE, LATENTS = 4000, 10, 50


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)
    figures, shown = {}, []
    print("share of the variance that 50 of 100 numbers keep")
    print("            training   fresh   theory")
    for name, correlation in (("noise", 0.0), ("field", 0.95)):
        x = correlated_field(N, SIDE, correlation, seed=0)
        fresh = correlated_field(N, SIDE, correlation, seed=1)
        ae = CompressionAutoencoder(
            n_latents=LATENTS,
            activation="identity",
            output="linear",
            weight_decay=0,
            dtype="float64",
            max_iter=60,
            random_state=0,
        ).fit(x)
        y, right = np.divmod(np.arange(SIDE * SIDE), SIDE)
        covariance = correlation ** np.hypot(y[:, None] - y, right[:, None] - right)
        variances = np.linalg.eigvalsh(covariance)[::-1]
        theory = variances[:LATENTS].sum() / variances.sum()
        figures[name], figures[f"{name}_fresh"] = ae.score(x), ae.score(fresh)
        figures[f"{name}_theory"] = theory
        print(f"{name:<12}{ae.score(x):8.3f}{ae.score(fresh):8.3f}{theory:9.3f}")
        shown.append((fresh[:4], ae.inverse_transform(ae.transform(fresh[:4]))))
        figure = viz.spectrum(variances, retained=LATENTS)
        figure.suptitle(f"{name}, correlation of neighbours {correlation:g}")
        viz.save_figure(figure, folder / f"02_spectrum_{name}.png")

    x, recon = (np.concatenate(part) for part in zip(*shown, strict=True))
    picture = viz.rows_of_tiles([x, recon, x - recon], (SIDE, SIDE), signed=True, zoom=8)
    viz.save(picture, folder / "02_reconstructions.png")
    return figures


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
