"""Rewrite rules and custom operators: the public names for extending the compiler.

from colonnade import rewrite as rw

x = rw.var("x")
rule = rw.RewriteRule("fuse_double", (rw.op("Add", x, x),), double)
engine = colonnade.compile(model, rules=[rule])
"""

from colonnade.engine.custom import CustomOp
from colonnade.ir import DType, Graph, Instruction, Node, Patch, Program, TensorType
from colonnade.passes.pattern import Match, RewriteRule, const, op, var

__all__ = [
    "CustomOp",
    "DType",
    "Graph",
    "Instruction",
    "Match",
    "Node",
    "Patch",
    "Program",
    "RewriteRule",
    "TensorType",
    "const",
    "op",
    "var",
]
