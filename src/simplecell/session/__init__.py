"""Training into a run directory: begin or go on, log, checkpoint, and sum up."""

from simplecell.session.beginning import begin, default_recipe, resume
from simplecell.session.sitting import Session

__all__ = ["Session", "begin", "default_recipe", "resume"]
