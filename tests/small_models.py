"""Small networks as people write them, for harvesting and splicing."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Block(nn.Module):
    """Pre-norm attention and MLP, causal."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = nn.MultiheadAttention(width, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(width, 16), nn.GELU(), nn.Linear(16, width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        h = self.norm1(x)
        padding = None if mask is None else mask == 0
        x = x + self.attn(h, h, h, key_padding_mask=padding, need_weights=False)[0]
        return x + self.mlp(self.norm2(x))


class Tokens(nn.Module):
    """A transformer over token numbers; `forward` takes what a tokenizer gives."""

    def __init__(self, n_tokens: int = 20, width: int = 8, depth: int = 3) -> None:
        super().__init__()
        self.embed = nn.Embedding(n_tokens, width)
        self.place = nn.Embedding(12, width)
        self.blocks = nn.ModuleList(Block(width) for _ in range(depth))
        self.head = nn.Linear(width, n_tokens)

    def forward(self, input_ids, attention_mask=None, position_ids=None):
        places = torch.arange(input_ids.shape[1]) if position_ids is None else position_ids
        x = self.embed(input_ids) + self.place(places)
        for block in self.blocks:
            x = block(x, mask=attention_mask)
        return {"logits": self.head(x), "last": x}


class Pictures(nn.Module):
    """A convolutional network with ReLUs that change what they are given."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 3, 3, padding=1)
        self.act = nn.ReLU(inplace=True)
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(3, 2)

    def forward(self, x):
        x = self.drop(self.norm(self.act(self.conv(x))))
        return self.head(x.mean((2, 3)))


class Steps(nn.Module):
    """A recurrent cell called once a step, and one linear module used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.cell = nn.GRUCell(3, 5)
        self.shared = nn.Linear(5, 5)

    def forward(self, x):
        h = x.new_zeros(len(x), 5)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.shared(torch.relu(self.shared(h)))


def seeded(kind, seed: int = 0, **told):
    """A network whose weights depend on the seed alone."""
    torch.manual_seed(seed)
    return kind(**told)
