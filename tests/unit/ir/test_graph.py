"""Graph queries, verification and the printed form."""

from __future__ import annotations

import numpy as np
import pytest

from colonnade.ir import (
    DType,
    Graph,
    Instruction,
    Node,
    Program,
    Subgraph,
    TensorType,
    format_graph,
    verify_graph,
)
from colonnade.ir.program import ARITY, verify_program
from colonnade.ir.verify import GraphError

FLOAT = TensorType(DType.FLOAT32, (2, "n"))


def make_graph(*nodes: Node, outputs: tuple[str, ...] = ("z",)) -> Graph:
    names = {"x", *(out for node in nodes for out in node.outputs)}
    constants = {"w": np.ones((2, 8), np.float32), "axis": np.array([1])}
    return Graph("g", ("x",), outputs, nodes, dict.fromkeys(names, FLOAT), constants)


def test_consumers_count_a_reader_once_and_see_captures() -> None:
    twice = Node("Mul", ("x", "x"), ("y",))
    body = Node("If", ("y",), ("z",), {"else_branch": Subgraph(b"", ("x",))})
    graph = make_graph(twice, body)
    assert graph.consumers["x"] == (twice, body)
    assert graph.producer["y"] is twice
    assert graph.sole_consumer("y") is body
    assert graph.sole_consumer("x") is None


def test_a_graph_output_has_no_sole_consumer() -> None:
    graph = make_graph(Node("Exp", ("x",), ("y",)), Node("Neg", ("y",), ("z",)), outputs=("y", "z"))
    assert graph.sole_consumer("y") is None


def test_verify_accepts_constants_and_absent_inputs() -> None:
    verify_graph(make_graph(Node("Clip", ("x", "", "w"), ("z",))))


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ((Node("Exp", ("y",), ("z",)), Node("Exp", ("x",), ("y",))), "before it is made"),
        ((Node("Exp", ("x",), ("z",)), Node("Neg", ("x",), ("z",))), "a second time"),
        ((Node("Exp", ("x",), ("y",)),), "never made"),
        ((Node("Exp", ("x",), ("x",)),), "a second time"),
    ],
)
def test_verify_refuses(nodes: tuple[Node, ...], message: str) -> None:
    with pytest.raises(GraphError, match=message):
        verify_graph(make_graph(*nodes))


def test_verify_refuses_an_untyped_output() -> None:
    graph = make_graph(Node("Exp", ("x",), ("z",)))
    with pytest.raises(GraphError, match="has no type"):
        verify_graph(graph.with_changes(types={"x": FLOAT}))


def test_verify_refuses_a_bad_program() -> None:
    bad = Program(1, (Instruction("add", (0, 1)),))
    graph = make_graph(Node("Elementwise", ("x",), ("z",), {"program": bad}, domain="colonnade"))
    with pytest.raises(ValueError, match="not made yet"):
        verify_graph(graph)


def test_text_shows_types_attributes_and_small_constants() -> None:
    graph = make_graph(
        Node("ReduceSum", ("x", "axis"), ("y",), {"keepdims": 1}),
        Node(
            "Elementwise",
            ("y", "w"),
            ("z",),
            {"program": Program(2).then("add", 1)},
            "",
            "colonnade",
        ),
    )
    assert format_graph(graph) == (
        "graph g\n"
        "  input %x: float[2,n]\n"
        "  %y: float[2,n] = ReduceSum(%x, int64[1]) {keepdims=1}\n"
        "  %z: float[2,n] = colonnade.Elementwise(%y, const float32[2, 8]) "
        "{program=<%2=add(%0, %1)>}\n"
        "  output %z\n"
    )


def test_program_appends_to_its_result() -> None:
    program = Program(2).then("mul", 1).then("clip", imm=(0.0, 6.0))
    assert program.result == 3
    assert str(program) == "%2=mul(%0, %1); %3=clip(%2, 0, 6)"
    assert str(Program(1)) == "identity"
    verify_program(program)


@pytest.mark.parametrize(
    ("instruction", "message"),
    [
        (Instruction("nonsense", (0,)), "unknown opcode"),
        (Instruction("add", (0,)), "takes 2 operands"),
        (Instruction("add", (0, 2)), "not made yet"),
        (Instruction("neg", (-1,)), "not made yet"),
    ],
)
def test_program_refuses(instruction: Instruction, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verify_program(Program(2, (instruction,)))


def test_arity_is_one_two_or_three() -> None:
    assert set(ARITY.values()) == {1, 2, 3}


def test_dtype_round_trip() -> None:
    for dtype in DType:
        if dtype not in (DType.BFLOAT16, DType.OTHER):
            assert DType.from_numpy(dtype.numpy) is dtype
    assert DType.from_numpy(np.dtype("U3")) is DType.STRING
    assert DType.from_numpy(np.dtype(">f4")) is DType.FLOAT32
    assert DType.from_numpy(np.dtype("M8[s]")) is DType.OTHER
    assert DType.BFLOAT16.itemsize == 2
    assert DType.OTHER.itemsize == DType.STRING.itemsize == 0
