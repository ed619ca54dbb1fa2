"""A drawing of the network itself, before and after training.

First the textbook's 6-3-6 autoencoder with its bias units. Then the same network trained on six
inputs with three hidden causes: inputs 1 and 2 always agree, so do 3 and 4, 5 and 6. You will see
the training drop all lines but twelve: each latent takes one cause, reads its two inputs and
writes them back. Orange is as good as blue: such a latent means "not A". Nobody told the network
of the causes; weight decay makes it drop every line that it can do without.
"""

import sys
from itertools import product
from pathlib import Path

import numpy as np

from simplecell import CompressionAutoencoder, viz


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)
    viz.save_figure(viz.network([6, 3, 6]), folder / "07_network.png")

    causes = np.array(list(product([0.0, 1.0], repeat=3)))
    x = causes.repeat(2, axis=1)
    ae = CompressionAutoencoder(n_latents=3, weight_decay=1e-3, random_state=0).fit(x)
    names = [f"cause {'ABC'[i // 2]}, {'again' if i % 2 else 'once'}" for i in range(6)]
    figure = viz.network([6, 3, 6], names=names, weights=(ae.encoder_, ae.components_))
    viz.save_figure(figure, folder / "07_trained.png")

    print("encoder weights (rows: latents, columns: inputs)")
    for row in ae.encoder_:
        print("  " + " ".join(f"{weight:6.2f}" for weight in row))
    strength = np.abs(ae.encoder_).reshape(3, 3, 2).sum(axis=2)
    owner = strength.argmax(axis=1)
    share = (strength.max(axis=1) / strength.sum(axis=1)).min()
    for latent, cause in enumerate(owner):
        print(f"latent {latent} stands for cause {'ABC'[cause]}")
    print(f"at least {share:.0%} of a latent's weight lies on its own cause")
    return {"causes": len(set(owner)), "share": share, "kept": ae.score(x)}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
