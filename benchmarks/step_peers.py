"""How each peer's users make one training step: what `steps.py` times, each in its own environment.

Every function gives, for each kind of code that the peer has, what builds a step for D inputs and M
latents; a step takes samples [B, D].
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from typing import Any
from unittest.mock import MagicMock

Step = Callable[[Any], object]
Builders = dict[str, Callable[[int, int], Step]]

LONG = 100_000
"""Steps that a training is said to have, where the peer wants to know."""


def sae_lens(batch: int, k: int, widths: tuple[int, ...]) -> Builders:
    """`SAETrainer`'s own step: Adam, clipped gradients, auxiliary loss, statistics."""
    import sae_lens
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    def made(name: str, **settings: Any) -> Callable[[int, int], Step]:
        def build(n_inputs: int, n_latents: int) -> Step:
            more = dict(settings)
            if "matryoshka_widths" in more:
                more["matryoshka_widths"] = [n_latents // w for w in widths]
            config = getattr(sae_lens, f"{name}TrainingSAEConfig")
            sae = getattr(sae_lens, f"{name}TrainingSAE")(
                config(d_in=n_inputs, d_sae=n_latents, **more)
            )
            pace = SAETrainerConfig(
                total_training_samples=LONG * batch, train_batch_size_samples=batch, lr_end=3e-5
            )
            trainer = SAETrainer(pace, sae, data_provider=iter(()))

            def step(x: Any) -> object:
                found = trainer._train_step(sae=sae, sae_in=x)
                trainer.n_training_steps += 1
                return found

            return step

        return build

    l1 = made("Standard", l1_coefficient=0.1)
    return {
        "TopK": made("TopK", k=k),
        "BatchTopK": made("BatchTopK", k=k),
        "JumpReLU": made("JumpReLU", l0_coefficient=1.0),
        "L1": l1,
        "L1 dense": l1,
        "Gated": made("Gated", l1_coefficient=0.1),
        "Matryoshka": made("MatryoshkaBatchTopK", k=k, matryoshka_widths=[]),
    }


def dictionary_learning(batch: int, k: int, widths: tuple[int, ...]) -> Builders:
    """Each trainer's `update`."""
    from dictionary_learning.trainers import batch_top_k, gdm, jumprelu, standard, top_k
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer

    ends = [0.0, *(1 / w for w in widths)]
    fractions = [b - a for a, b in itertools.pairwise(ends)]

    def made(trainer: Any, **settings: Any) -> Callable[[int, int], Step]:
        def build(n_inputs: int, n_latents: int) -> Step:
            named = {"layer": 0, "lm_name": "none", "device": "cpu", "steps": LONG}
            one = trainer(activation_dim=n_inputs, dict_size=n_latents, **named, **settings)
            done = 0

            def step(x: Any) -> object:
                nonlocal done
                done += 1
                return one.update(done, x)

            return step

        return build

    l1 = made(standard.StandardTrainer)
    return {
        "TopK": made(top_k.TopKTrainer, k=k),
        "BatchTopK": made(batch_top_k.BatchTopKTrainer, k=k),
        "JumpReLU": made(jumprelu.JumpReluTrainer, target_l0=float(k)),
        "L1": l1,
        "L1 dense": l1,
        "Gated": made(gdm.GatedSAETrainer),
        "Matryoshka": made(MatryoshkaBatchTopKTrainer, k=k, group_fractions=fractions),
    }


def sparsify(batch: int, k: int, widths: tuple[int, ...]) -> Builders:
    """`SparseCoder` with fused Adam; projection and unit norm as its trainer calls them."""
    import torch
    from sparsify import SparseCoder, SparseCoderConfig

    def build(n_inputs: int, n_latents: int) -> Step:
        coder = SparseCoder(n_inputs, SparseCoderConfig(num_latents=n_latents, k=k))
        adam = torch.optim.Adam(coder.parameters(), lr=1e-4, fused=True)

        def step(x: Any) -> object:
            adam.zero_grad()
            coder(x).fvu.backward()
            coder.remove_gradient_parallel_to_decoder_directions()
            adam.step()
            coder.set_decoder_norm_to_unit_norm()
            return None

        return step

    return {"TopK": build}


def overcomplete(batch: int, k: int, widths: tuple[int, ...]) -> Builders:
    """Its models, squared error (with L1 for the plain one), Adam, as its `train_sae` does."""
    import torch

    # Its picture models want torchvision, which PyPI makes for another torch, and its pictures a
    # matplotlib of before 3.9; no SAE of it wants either.
    for name in ("torchvision", "overcomplete.visualization"):
        sys.modules.setdefault(name, MagicMock(__spec__=None))
    from overcomplete.sae import SAE, BatchTopKSAE, JumpSAE, TopKSAE

    def made(model: Any, penalty: float = 0.0, **settings: Any) -> Callable[[int, int], Step]:
        def build(n_inputs: int, n_latents: int) -> Step:
            one = model(n_inputs, nb_concepts=n_latents, **settings)
            adam = torch.optim.Adam(one.parameters(), lr=1e-4)

            def step(x: Any) -> object:
                adam.zero_grad()
                _, code, recon = one(x)
                loss = (recon - x).square().mean() + penalty * code.abs().mean()
                loss.backward()
                adam.step()
                return loss

            return step

        return build

    l1 = made(SAE, penalty=0.1)
    return {
        "TopK": made(TopKSAE, top_k=k),
        "BatchTopK": made(BatchTopKSAE, top_k=k * batch),
        "JumpReLU": made(JumpSAE, penalty=0.1),
        "L1": l1,
        "L1 dense": l1,
    }


PEERS: dict[str, Callable[[int, int, tuple[int, ...]], Builders]] = {
    "sae-lens": sae_lens,
    "dictionary-learning": dictionary_learning,
    "sparsify": sparsify,
    "overcomplete": overcomplete,
}
