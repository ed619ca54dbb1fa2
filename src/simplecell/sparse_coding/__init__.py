"""Sparse coding: a dictionary whose few active atoms rebuild each sample, and its codes.

`J(A, s) = (1/B) Σ_i [½ ‖x_i − s_i A‖² + α S(s_i)] + (γ/2) ‖A‖²`, x [B, D], codes s [B, M],
dictionary A [M, D]. Two penalties S: `L1`, `Σ_j |s_j|`, and `Smooth`, `Σ_g √((V s²)_g + ε)`, whose
groups V may be the neighbourhoods of a torus. The atoms are held down by γ, or lie in the unit ball
(γ = 0), which is the notes' ideal problem with C = 1.

Source: UFLDL, Sparse coding. Differs: halved, so that α is scikit-learn's, the notes' λ is 2α and
their γ is γ. Where the notes contradict themselves: the penalty is averaged over the batch like
the residual (their program sums it: its λ of 5e-5 on 2,000 patches is α = 0.05 here); groups add
up squares, `V(s∘s)`; and codes start from `A x / ‖A‖₂²`, where the text divides by each atom's norm
and the program by its square: on IMAGES.mat, with atoms that γ has shrunk, J at these starts
exceeds its optimum 0.6, 5 and 190 times.
"""

from simplecell.model.code_step import L1, Encoded, Penalty, Projection, Smooth, encode, torus
from simplecell.sparse_coding.alternation import (
    Alternation,
    code_gradient,
    dictionary_gradient,
    objective,
    random_dictionary,
    solve_dictionary,
)
from simplecell.sparse_coding.path import Path
from simplecell.training.refine import improve_atoms

__all__ = [
    "L1",
    "Alternation",
    "Encoded",
    "Path",
    "Penalty",
    "Projection",
    "Smooth",
    "code_gradient",
    "dictionary_gradient",
    "encode",
    "improve_atoms",
    "objective",
    "random_dictionary",
    "solve_dictionary",
    "torus",
]
