"""Structural checks that need a budget, a call from Python, or a look at the message's text."""

from __future__ import annotations

import pytest
from onnx import ModelProto
from onnx import helper as h

from colonnade.errors import ModelError
from colonnade.onnx import parser
from colonnade.onnx.budget import Budget
from colonnade.onnx.importer import import_model
from colonnade.onnx.scopes import check_name, resolve, shown


def chain(*nodes: tuple[str, str, str], functions: int = 0) -> ModelProto:
    """Nodes (op, input, output) from x to y; `functions` of them doubling in the domain f."""
    made = [
        h.make_node(op, [source], [target], domain="f" if op.startswith("f") else "")
        for op, source, target in nodes
    ]
    imports = [h.make_opsetid("", 17), h.make_opsetid("f", 1)]
    bodies = [
        h.make_function(
            "f",
            f"f{i}",
            ["a"],
            ["b"],
            [h.make_node(f"f{i - 1}", ["a"], ["t"], domain="f"),
             h.make_node(f"f{i - 1}", ["t"], ["b"], domain="f")]
            if i
            else [h.make_node("Relu", ["a"], ["b"])],
            imports,
        )
        for i in range(functions)
    ]  # fmt: skip
    value = h.make_tensor_value_info
    graph = h.make_graph(made, "g", [value("x", 1, [2])], [value("y", 1, [2])])
    return h.make_model(graph, functions=bodies, ir_version=10, opset_imports=imports)


def test_expansion_is_counted_exactly() -> None:
    model = chain(("f5", "x", "a"), ("Relu", "a", "y"), functions=6)
    budget = Budget(max_function_expansion=33)
    assert len(import_model(model, budget=budget).nodes) == 33
    with pytest.raises(ModelError, match="expansion > 32"):
        import_model(model, budget=Budget(max_function_expansion=32))


def test_many_expanded_nodes_take_linear_time() -> None:
    model = chain(("f13", "x", "y"), functions=14)
    assert len(import_model(model).nodes) == 1 << 13


def test_a_long_chain_is_no_recursion() -> None:
    nodes = [("Relu", f"v{i}", f"v{i + 1}") for i in range(1, 20_000)]
    model = chain(*reversed(nodes), ("Relu", "x", "v1"), ("Relu", "v20000", "y"))
    assert [node.inputs[0] for node in import_model(model).nodes[:3]] == ["x", "v1", "v2"]


def test_a_cycle_is_named_from_its_first_node() -> None:
    nodes = [("Relu", f"v{i}", f"v{(i + 1) % 1000}") for i in range(1000)]
    with pytest.raises(ModelError, match=r"cycle of 1000 nodes: .* -> \.\.\."):
        import_model(chain(*nodes, ("Relu", "x", "y")))


def test_scopes() -> None:
    graph = chain(("Relu", "a", "y"), ("Relu", "x", "a")).graph
    assert resolve(graph, Budget()).order == (1, 0)


@pytest.mark.parametrize("name", ["a\0", "x" * 100_000, b"\xff"])
def test_names(name: str | bytes) -> None:
    with pytest.raises(ModelError) as caught:
        check_name(name, "value", Budget())
    assert len(str(caught.value)) < 400
    check_name("../../x", "value", Budget())


def test_shown_names_are_escaped_and_short() -> None:
    assert shown("a\n\x1b") == "'a\\n\\x1b'"
    assert len(shown("x" * 10_000)) < 120


def test_pure_python_protobuf_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parser.api_implementation, "Type", lambda: "python")
    with pytest.raises(ModelError, match="pure Python"):
        import_model(chain(("Relu", "x", "y")))


def test_errors_name_the_node_of_a_body() -> None:
    body = h.make_graph(
        [h.make_node("Frob", ["x"], ["t"], name="inner")],
        "b",
        [],
        [h.make_tensor_value_info("t", 1, [2])],
    )
    model = chain(("Relu", "x", "y"))
    model.graph.node.append(
        h.make_node("If", ["c"], ["z"], name="outer", then_branch=body, else_branch=body)
    )
    model.graph.input.append(h.make_tensor_value_info("c", 9, []))
    with pytest.raises(ModelError, match="Frob") as caught:
        import_model(model)
    assert caught.value.node == "inner"
