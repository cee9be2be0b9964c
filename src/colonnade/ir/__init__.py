"""The Graph: typed, verified and immutable; import, passes and tests speak it."""

from colonnade.ir.dtype import DType
from colonnade.ir.exact import BYTE_DEPTH_MAX, FLOAT_EXACT_MAX
from colonnade.ir.graph import AttrValue, Graph, Node, Subgraph, TensorType, captures
from colonnade.ir.patch import Patch, apply_patch, apply_patches
from colonnade.ir.program import Instruction, Program
from colonnade.ir.shape import Dim, Shape, is_static, num_elements
from colonnade.ir.text import format_graph
from colonnade.ir.verify import verify_graph

__all__ = [
    "BYTE_DEPTH_MAX",
    "FLOAT_EXACT_MAX",
    "AttrValue",
    "DType",
    "Dim",
    "Graph",
    "Instruction",
    "Node",
    "Patch",
    "Program",
    "Shape",
    "Subgraph",
    "TensorType",
    "apply_patch",
    "apply_patches",
    "captures",
    "format_graph",
    "is_static",
    "num_elements",
    "verify_graph",
]
