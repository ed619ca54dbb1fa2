"""Activations of any torch module, harvested, spliced and steered."""
