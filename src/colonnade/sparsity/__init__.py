"""Sparsity as arithmetic on matrices: patterns, masks, allocation over layers, one-shot solvers.

Weights are [rows, cols] = [outputs, inputs]; a convolution is [C_out, kh * kw * C_in]. Pure numpy:
the ONNX path (`colonnade.pruning`) and the torch path (`colonnade.sparsify`) share it.
"""

from colonnade.sparsity.masks import make_mask, sparsity_of
from colonnade.sparsity.patterns import NM, Block, Pattern, Unstructured, Vector, parse_pattern
from colonnade.sparsity.solvers.solve import METHODS, Method, Pruned, Tuning, solve, solve_many

__all__ = [
    "METHODS",
    "NM",
    "Block",
    "Method",
    "Pattern",
    "Pruned",
    "Tuning",
    "Unstructured",
    "Vector",
    "make_mask",
    "parse_pattern",
    "solve",
    "solve_many",
    "sparsity_of",
]
