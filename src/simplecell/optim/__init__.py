"""What moves the weights: initialisation, one flat parameter vector, L-BFGS, Adam, unit norm."""

from simplecell.optim.adam import Adam, UnitNorm
from simplecell.optim.lbfgs import LBFGS
from simplecell.optim.start import STARTS, flatten, initialise
from simplecell.pace import SCHEDULES

__all__ = ["LBFGS", "SCHEDULES", "STARTS", "Adam", "UnitNorm", "flatten", "initialise"]
