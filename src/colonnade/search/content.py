"""What a model is, as a short text: another graph has another one, whatever its file is called."""

from __future__ import annotations

import hashlib

import numpy as np

from colonnade.ir import Graph, Node, Subgraph


def hash_content(graph: Graph, *, with_values: bool = True) -> str:
    """Of nodes, shapes and constants. Without values only the zeros of float constants count, which
    is what a trained network's time depends on."""
    digest = hashlib.sha256()

    def add(text: str) -> None:
        digest.update(text.encode() + b"\n")

    add(f"{graph.outputs} {sorted(graph.opsets.items())}")
    for name in graph.inputs:
        add(f"{name} {graph.types.get(name)}")
    for node in graph.nodes:
        add(_describe(node))
    for name, array in sorted(graph.constants.items()):
        add(f"{name} {array.dtype} {array.shape}")
        is_numbers = with_values or array.dtype.kind != "f"
        digest.update(array.tobytes() if is_numbers else np.packbits(array == 0).tobytes())
    return digest.hexdigest()[:32]


def _describe(node: Node) -> str:
    attrs = {name: _plain(value) for name, value in sorted(node.attrs.items())}
    return (
        f"{node.name} {node.domain} {node.op} {node.version} {node.inputs} {node.outputs} {attrs}"
    )


def _plain(value: object) -> object:
    """Something whose repr is all of it."""
    if isinstance(value, np.ndarray):
        return str(value.dtype), value.shape, value.tobytes()
    return value.proto if isinstance(value, Subgraph) else value
