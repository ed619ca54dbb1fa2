"""Values and gradients without a dense `[B, M]` detour: `classic` by hand, `sparse` by entries."""

from simplecell.model.kernels.classic import BACKWARD, FORWARD, Classic
from simplecell.model.kernels.sparse import Sparse

__all__ = ["BACKWARD", "FORWARD", "Classic", "Sparse"]
