"""A transformer of your own, in plain torch: a latent found, and the model steered by it.

It learns to go on counting, 0 1 2 … 9 0 1 or backwards. The states behind its last layer are
harvested, a row a token. Of the latents found there one tells that a 7 comes next, which nobody
told it. You will see codes, and what the model says while that atom is added.
"""

import sys
from pathlib import Path

import torch
from sklearn.metrics import roc_auc_score
from torch import nn

from simplecell import TopKSparseAutoencoder, activations, attach, viz


class Next(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(32, 4, 64, 0.0, batch_first=True)
        self.embed, self.place = nn.Embedding(10, 32), nn.Embedding(12, 32)
        self.body, self.head = nn.TransformerEncoder(layer, 2), nn.Linear(32, 10)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1])
        x = self.embed(ids) + self.place.weight[: ids.shape[1]]
        return self.head(self.body(x, mask=mask, is_causal=True))


def main(folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    step, begin = torch.randint(0, 2, (256, 1)) * 2 - 1, torch.randint(0, 10, (256, 1))
    ids, following = ((begin + step * (torch.arange(12) + i)) % 10 for i in (0, 1))
    optimiser = torch.optim.Adam((net := Next()).parameters(), 0.003)
    for _ in range(100):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(ids)[:, 1:].mT, following[:, 1:]).backward()
        optimiser.step()
    rows = [x for x, _, _ in activations(net.eval(), "body.layers.1", ids, positions="not_first")]
    sae = TopKSparseAutoencoder(16, k=4, max_samples=60_000, random_state=0).fit(torch.cat(rows))
    codes = torch.tensor(sae.transform(torch.cat(rows)))
    seven = following[:, 1:].flatten() == 7
    auc = [roc_auc_score(seven, codes[:, j]) for j in range(16)]
    latent, says = auc.index(max(auc)), {}
    amount = 5 * codes[:, latent].max().item()
    print(f"latent {latent} tells that 7 comes next with AUC {auc[latent]:.3f}")
    for name, edit in (("as it is", []), ("added", ("add", latent, amount))):
        with attach(net, "body.layers.1", sae, edit=edit):
            says[name] = float((net(ids)[:, 1:].argmax(2) == 7).float().mean())
        print(f"the latent {name}: the model says 7 in {says[name]:.1%} of all steps")
    shown = (codes / codes.amax(0).clamp(min=1e-9)).view(256, 11 * 16)[:8]
    viz.save(viz.tiles(shown, (11, 16), columns=2, signed=False), folder / "12_codes.png")
    return {"auc": auc[latent], **says}


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
