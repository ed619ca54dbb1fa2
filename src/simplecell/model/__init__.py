"""What is trained: codes, measures, activations, autoencoders and deep networks.

A file an idea: `codes` (dense or sparse), `measures` (one pure function a formula), `activations`
(the table `ACTIVATIONS`), `autoencoder`, `deep`, `kernels` (fused gradients), `matching` (two
dictionaries atom by atom).
"""

from simplecell.model.autoencoder import Autoencoder, Layer, Model
from simplecell.model.deep import Classifier, DeepAutoencoder, ModulePair

__all__ = ["Autoencoder", "Classifier", "DeepAutoencoder", "Layer", "Model", "ModulePair"]
