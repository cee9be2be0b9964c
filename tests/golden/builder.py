"""Cases of the golden tests: a graph as ONNX text, the pass under test, and what it may read.

The text is what `onnx.parser` reads. Constants that are tedious to write as text come from Python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import numpy_helper, parser

from colonnade.ir import Graph, TensorType
from colonnade.onnx.contrib_types import infer_any_node
from colonnade.onnx.importer import import_model
from colonnade.passes.runner import Pass
from colonnade.passes.specialise import specialise
from colonnade.reference import evaluate

Constants = Mapping[str, "np.ndarray | float"]


@dataclass(frozen=True)
class Case:
    """One graph for one pass. A near miss has `fuses` False: the pass must leave it alone."""

    one_pass: Pass
    name: str
    text: str
    """`(float[2,3] x) => (float[2,3] y) { y = Relu(x) }`"""
    constants: Constants = field(default_factory=dict)
    fuses: bool = True
    after: Sequence[Pass] = ()
    """Passes that make what this one reads."""
    opset: int = 17
    feeds: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Inputs that are not to be random."""
    has_reference: bool = True
    """False for operators of ONNX Runtime's own: it is the oracle then."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Of the last node."""

    @property
    def key(self) -> str:
        """Where the text lies, below tests/golden."""
        return f"{self.one_pass.__name__}/{self.name}"


def weights(*shape: int, seed: int = 3) -> np.ndarray:
    """Random float32 numbers, the same for the same shape and seed."""
    return np.random.default_rng([seed, *shape]).standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    """An int64 vector."""
    return np.array(values, np.int64)


def build_model(case: Case) -> onnx.ModelProto:
    """The case as an ONNX model."""
    imports = f'opset_import: ["" : {case.opset}, "com.microsoft" : 1]'
    model = parser.parse_model(f"<ir_version: 9, {imports}>\n{case.name} {case.text}")
    for name, value in case.constants.items():
        array = value if isinstance(value, np.ndarray) else np.array(value, np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    for key, text in case.metadata.items():
        model.graph.node[-1].metadata_props.add(key=key, value=text)
    return model


def build_graph(case: Case) -> Graph:
    """The case as the passes see it: imported, with every shape known."""
    graph = import_model(build_model(case))
    shapes = {name: _static(graph.types[name]) for name in graph.inputs}
    return specialise(graph, shapes, infer_any_node, evaluate)


def make_feeds(case: Case, graph: Graph) -> dict[str, np.ndarray]:
    """Random inputs, but for those that the case gives."""
    rng = np.random.default_rng(5)
    random = {
        name: rng.standard_normal(_static(graph.types[name])).astype(graph.dtype(name).numpy)
        for name in graph.inputs
    }
    return {**random, **case.feeds}


def _static(known: TensorType) -> tuple[int, ...]:
    return tuple(int(dim) for dim in known.shape or ())  # type: ignore[arg-type]
