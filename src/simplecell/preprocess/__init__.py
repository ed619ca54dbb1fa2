"""How samples are prepared: a `chain` of steps, each per sample or one affine map; `whitening`."""

from simplecell.preprocess.chain import Prepared, Preprocess

__all__ = ["Prepared", "Preprocess"]
