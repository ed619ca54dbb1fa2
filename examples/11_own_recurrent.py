"""A recurrent network of your own: what its state is made of, step by step.

A GRU reads 16 random bits and must say, at each step, how many of the last three were ones. Its
states are harvested, a row a step, and a sparse autoencoder learns what they are made of. You will
see the codes of eight sequences, time downwards and one column a latent, and how well one latent
alone tells that all of the last three bits were ones, which nobody told the autoencoder.
"""

import sys
from pathlib import Path

import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from simplecell import TopKSparseAutoencoder, activations, viz


class Counter(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(1, 24, batch_first=True)
        self.head = nn.Linear(24, 4)

    def forward(self, bits: torch.Tensor) -> torch.Tensor:
        return self.head(self.gru(bits)[0])


def main(folder: Path) -> dict[str, float]:
    torch.manual_seed(0)
    bits = torch.randint(0, 2, (512, 16, 1)).float()
    sums = nn.functional.pad(bits[..., 0], (2, 0)).unfold(1, 3, 1).sum(2).long()
    net = Counter()
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(120):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(bits).flatten(0, 1), sums.flatten()).backward()
        optimiser.step()

    states = torch.cat([batch.x for batch in activations(net.eval(), "gru:output.0", bits)])
    sae = TopKSparseAutoencoder(16, k=4, max_samples=40_000, random_state=0).fit(states)
    codes = torch.tensor(sae.transform(states))
    right = float((net(bits).argmax(2) == sums).float().mean())
    auc = max(roc_auc_score(sums.flatten() == 3, codes[:, j]) for j in range(16))

    folder.mkdir(parents=True, exist_ok=True)
    shown = (codes / codes.amax(0).clamp(min=1e-9)).view(512, 256)[:8]
    viz.save(viz.tiles(shown, (16, 16), columns=4, signed=False), folder / "11_codes.png")
    print(f"the network is right in {right:.1%} of {sums.numel()} steps")
    print(f"its states of 24 numbers are explained to {sae.score(states):.1%} by 4 latents of 16")
    print(f"one latent tells three ones in a row from all else with AUC {auc:.3f}")
    return {"right": right, "auc": auc, "explained": float(sae.score(states))}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
