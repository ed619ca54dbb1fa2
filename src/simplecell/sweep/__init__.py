"""Several models on one pass over the data: a grid of settings, seeds, a run for each model."""

from simplecell.sweep.plan import Planned, plan
from simplecell.sweep.table import sweep_table
from simplecell.sweep.together import Member, Sweep, begin_sweep

__all__ = ["Member", "Planned", "Sweep", "begin_sweep", "plan", "sweep_table"]
