"""Any two torch modules as encoder and decoder, under one objective.

Objective and trainer do not ask what encodes. Here a small convolutional network does, which
nobody told of sparsity, and a plain linear layer decodes. The objective wants each latent's
average activation to be 0.1, exactly over all digits. You will see it hold for every latent,
reconstructions of digits that were not trained on, and what each latent adds to a picture: bows,
bars, whole digits. Without the KL term the same modules explain more, with every latent half on.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

from simplecell import Objective, Trainer, as_source, viz
from simplecell.model.deep import ModulePair

TERMS = {"reconstruction": {"weight": 0.5}, "decay": {"weight": 5e-5}}


def trained(x: torch.Tensor, terms: dict[str, dict[str, float]]) -> ModulePair:
    torch.manual_seed(0)
    image, narrow = nn.Unflatten(1, (1, 8, 8)), nn.Linear(216, 36)
    encoder = nn.Sequential(image, nn.Conv2d(1, 6, 3), nn.Tanh(), nn.Flatten(), narrow)
    pair = ModulePair(encoder, nn.Linear(36, 64), n_inputs=64, activation="sigmoid")
    for _ in Trainer(pair, Objective(terms)).run(as_source(x.numpy()), 80):
        pass  # whoever loops decides what to do with the records
    return pair


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)
    digits = torch.from_numpy(load_digits().data / 16).float()
    x, fresh = digits[:1500], digits[1500:]
    figures = {}
    for name, more in (("free", {}), ("sparse", {"kl": {"weight": 3.0, "target": 0.1}})):
        pair = trained(x, {**TERMS, **more})
        with torch.no_grad():
            code, recon = pair.encode(x)[1].dense, pair(fresh).recon
        average = code.mean(0)
        figures[name] = float((fresh - recon).square().sum() / (fresh - x.mean(0)).square().sum())
        figures |= {f"{name}_least": float(average.min()), f"{name}_most": float(average.max())}
        print(f"{name}: codes of shape {tuple(code.shape)}, reconstructions {tuple(recon.shape)}")
        print(f"  average activation of the latents {average.min():.3f} to {average.max():.3f}")
        print(f"  variance of new digits not explained: {figures[name]:.2f}")

    rows = torch.cat([fresh[:8], recon[:8]])
    viz.save(viz.tiles(rows, (8, 8), columns=8, signed=False), folder / "08_digits.png")
    viz.save(viz.tiles(pair.atoms(), (8, 8)), folder / "08_atoms.png")
    return figures


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
