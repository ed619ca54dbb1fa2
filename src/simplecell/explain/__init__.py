"""Answers: which latents go with what one cares about, and whether it holds on other samples."""
