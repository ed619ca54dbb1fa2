"""Four inputs through two latents and back: the smallest code there is.

Exactly one of four inputs is on. Two latents have to say which, and four outputs have to repeat
it. You will see the network invent binary numbers: rounded, its codes are 00, 01, 10 and 11, one
for each input. Nobody says which input gets which code: the seed decides.
"""

import sys
from pathlib import Path

import numpy as np

from simplecell import CompressionAutoencoder, viz

SEEDS = range(12)


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)
    x = np.eye(4)
    codes, recons = [], []
    for seed in SEEDS:
        ae = CompressionAutoencoder(n_latents=2, weight_decay=1e-4, random_state=seed).fit(x)
        codes.append(ae.transform(x))
        recons.append(ae.inverse_transform(codes[-1]))

    print("input      code, seed 0   reconstruction")
    for row, code, recon in zip(x, codes[0], recons[0], strict=True):
        left, middle = " ".join(f"{v:.0f}" for v in row), " ".join(f"{v:.2f}" for v in code)
        print(f"{left}    {middle}      {' '.join(f'{v:.2f}' for v in recon)}")
    words = [tuple("".join(f"{v:.0f}" for v in code) for code in table) for table in codes]
    distinct = sum(len(set(word)) == 4 for word in words)
    repeated = sum((recon.round() == x).all() for recon in recons)
    print(f"\nfour distinct rounded codes: {distinct} of {len(SEEDS)} seeds")
    print(f"every input repeated:        {repeated} of {len(SEEDS)} seeds")
    print(f"different assignments found: {len(set(words))} (there are 24)")

    inputs = [f"input {i + 1}" for i in range(4)]
    columns = ["latent 0", "latent 1", "out 1", "out 2", "out 3", "out 4"]
    title = "Two latents name four inputs (seed 0)"
    table = np.hstack([codes[0], recons[0]])
    viz.save_figure(viz.heatmap_table(table, inputs, columns, title), folder / "01_codes.png")
    columns = [f"seed {seed}\nlatent {j}" for seed in SEEDS[:4] for j in range(2)]
    title = "Always the corners of a square; which is whose, the seed decides"
    table = np.hstack(codes[:4])
    viz.save_figure(viz.heatmap_table(table, inputs, columns, title), folder / "01_seeds.png")
    return {"distinct": distinct, "repeated": repeated, "seeds": len(SEEDS)}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
