"""expand_node(): a node as simpler ones, once types and constants are known."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from colonnade.ir import Node, TensorType
from colonnade.onnx.branches import take_branch
from colonnade.onnx.functions import expand_function


def expand_node(
    node: Node, types: Mapping[str, TensorType], constants: Mapping[str, np.ndarray]
) -> tuple[Node, ...]:
    """The branch of an If that runs, or the definition of a function; nothing when it stays."""
    return take_branch(node, constants) or expand_function(node, types, constants)
