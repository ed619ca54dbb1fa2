"""A convolutional network of your own: harvested, trained on, looked at, ablated.

The network learns ten digits. What its convolution gives at each place of a picture is harvested,
16 numbers a place, and a sparse autoencoder with 32 latents learns what they are made of. You will
see the digits that excite eight of the latents most, and how much the loss grows when one latent
alone is switched off inside of the network, everything else left as it is.
"""

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import nn

from simplecell import TopKSparseAutoencoder, activations, attach, loss_recovered, viz


def main(folder: Path) -> dict[str, float]:
    torch.manual_seed(0)
    digits = load_digits()
    x = torch.tensor(digits.data[:600] / 16).float().view(-1, 1, 8, 8)
    y = torch.tensor(digits.target[:600])
    net = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10))
    optimiser = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimiser.step()

    places = torch.cat([batch.x for batch in activations(net.eval(), "1", x)])
    sae = TopKSparseAutoencoder(32, k=4, max_samples=60_000, random_state=0).fit(places)
    with attach(net, "1", sae) as splice:
        net(x)
    most = splice.codes.amax(1)  # of each digit, wherever it is in the picture
    losses = []
    for latent in range(32):
        with attach(net, "1", sae, edit=("off", latent)), torch.no_grad():
            losses.append(float(nn.functional.cross_entropy(net(x), y)))
    kept = loss_recovered(net, "1", sae, (x, y), loss, call=lambda net, xy: net(xy[0]))

    folder.mkdir(parents=True, exist_ok=True)
    best = most[:, most.amax(0).topk(8).indices].topk(8, 0).indices.T.flatten()
    viz.save(viz.tiles(x[best].flatten(1), (8, 8), columns=8, signed=False), folder / "10_best.png")
    figures = {"loss": kept.loss, "ablated": max(losses), "recovered": kept.recovered}
    print(f"{len(places)} places of 16 numbers, in {sae.n_latents} latents, 4 at a time")
    print(f"the loss of the network is {kept.loss:.4f}; its worst latent off, {max(losses):.4f}")
    print(f"{kept.recovered:.1%} of the loss is recovered from the reconstruction alone")
    return figures


def loss(output: torch.Tensor, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return nn.functional.cross_entropy(output, batch[1])


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "pictures"))
