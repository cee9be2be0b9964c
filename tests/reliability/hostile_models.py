"""The corpus: hostile, invalid and edge-case models, each written by a few lines.

A case says what must come of it: "refused" (one ModelError, with these words and this node),
"fails" (compiles; a run on `feeds` raises one of our errors), "runs" (a run gives `want`), or
"imports" (import_model takes it, whatever can run it).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto
from onnx import helper as h

Build = Callable[[Path], None]
Arrays = dict[str, np.ndarray]

OPSET = 17
MODEL = "model.onnx"


@dataclass(frozen=True)
class Case:
    """One model and what must come of it; `build` writes MODEL, and files beside it."""

    name: str
    build: Build
    expect: str
    words: tuple[str, ...] = ()
    node: str | None = None
    feeds: Arrays = field(default_factory=dict)
    want: Arrays = field(default_factory=dict)


CASES: list[Case] = []


def _refused(name: str, build: Build, *words: str, node: str | None = None) -> None:
    CASES.append(Case(name, build, "refused", words, node))


def _fails(name: str, build: Build, feeds: Arrays, *words: str) -> None:
    CASES.append(Case(name, build, "fails", words, feeds=feeds))


def _runs(name: str, build: Build, feeds: Arrays, want: Arrays) -> None:
    CASES.append(Case(name, build, "runs", feeds=feeds, want=want))


# --- ways to write a model ----------------------------------------------------------------------


def _value(name: str, shape: Sequence[int | str | None] | None, elem: int = 1) -> Any:
    return h.make_tensor_value_info(name, elem, shape)


def _ints(name: str, *values: int) -> TensorProto:
    return h.make_tensor(name, TensorProto.INT64, [len(values)], values)


def _floats(name: str, *values: float) -> TensorProto:
    return h.make_tensor(name, TensorProto.FLOAT, [len(values)], values)


def _scalar(name: str, value: float, elem: int = TensorProto.FLOAT) -> TensorProto:
    return h.make_tensor(name, elem, [], [value])


def _make(
    nodes: Sequence[NodeProto],
    inputs: Sequence[Any] = (),
    outputs: Sequence[Any] = (),
    tensors: Sequence[TensorProto] = (),
    *,
    opset: int = OPSET,
    functions: Sequence[FunctionProto] = (),
    domains: dict[str, int] | None = None,
    name: str = "g",
) -> ModelProto:
    graph = h.make_graph(list(nodes), name, list(inputs), list(outputs), list(tensors))
    imports = [h.make_opsetid("", opset)]
    imports += [h.make_opsetid(domain, version) for domain, version in (domains or {}).items()]
    return h.make_model(graph, ir_version=10, opset_imports=imports, functions=list(functions))


def _write(model: ModelProto | bytes) -> Build:
    content = model if isinstance(model, bytes) else model.SerializeToString()
    return lambda folder: (folder / MODEL).write_bytes(content) and None


def _one(
    op: str,
    shapes: dict[str, Sequence[int | str | None] | None],
    *tensors: TensorProto,
    inputs: Sequence[str] | None = None,
    opset: int = OPSET,
    domain: str = "",
    elem: int = TensorProto.FLOAT,
    out_elem: int = TensorProto.FLOAT,
    **attributes: Any,
) -> Build:
    """A model of one node 'n', whose inputs are graph inputs, then tensors."""
    names = inputs if inputs is not None else [*shapes, *(tensor.name for tensor in tensors)]
    node = h.make_node(op, list(names), ["y"], name="n", domain=domain, **attributes)
    values = [_value(name, shape, elem) for name, shape in shapes.items()]
    domains = {domain: 1} if domain else None
    return _write(
        _make([node], values, [_value("y", None, out_elem)], tensors, opset=opset, domains=domains)
    )


def _weights(name: str, *shape: int) -> TensorProto:
    return h.make_tensor(name, TensorProto.FLOAT, shape, np.ones(shape, np.float32).reshape(-1))


def _nothing(folder: Path) -> None:
    """Write no file."""


def _relu() -> ModelProto:
    return _make(
        [h.make_node("Relu", ["x"], ["y"], name="n")], [_value("x", [2])], [_value("y", [2])]
    )


def _changed(
    change: Callable[[ModelProto], object], base: Callable[[], ModelProto] = _relu
) -> Build:
    model = base()
    change(model)
    return _write(model)


X2 = {"x": np.array([-1, 2], np.float32)}
Y2 = {"y": np.array([0, 2], np.float32)}


def _add_w() -> ModelProto:
    """y = x + w, with w = [1, 2]."""
    node = h.make_node("Add", ["x", "w"], ["y"], name="n")
    weight = h.make_tensor("w", 1, [2], np.array([1, 2], "<f4").tobytes(), raw=True)
    return _make([node], [_value("x", [2])], [_value("y", [2])], [weight])


def _with_tensor(**fields: Any) -> Build:
    """`_add_w` with other fields in its weight."""
    model = _add_w()
    weight = model.graph.initializer[0]
    for name, value in fields.items():
        if isinstance(value, list):
            weight.ClearField(name)
            getattr(weight, name).extend(value)
        else:
            setattr(weight, name, value)
    return _write(model)


# --- row 1: not a model -------------------------------------------------------------------------

_refused("empty", _write(b""), "empty")
_refused("random", _write(np.random.default_rng(7).bytes(2048)), "not an ONNX model")
_refused("text", _write(b"hello, I am not a model\n" * 9), "not an ONNX model")
_refused("zip", _write(b"PK\x03\x04" + bytes(60)), "not an ONNX model")
_refused("truncated", _write(_add_w().SerializeToString()[:-30]), "truncated", "byte")
_refused("no graph", _write(ModelProto(ir_version=8).SerializeToString()), "no graph")
_refused("two graphs", _write(_relu().SerializeToString() * 2), "two graphs")
_refused("directory", lambda folder: (folder / MODEL).mkdir(), "not a regular file")
_refused("fifo", lambda folder: os.mkfifo(folder / MODEL), "not a regular file")
_refused("missing", _nothing, "cannot be opened")
_runs("control", _write(_relu()), X2, Y2)

# --- rows 2, 3: who makes what ------------------------------------------------------------------


def _chain(*names: str, extra: Sequence[NodeProto] = ()) -> Build:
    """Nodes n0, n1, ... where 'a>b' reads a and makes b."""
    nodes = [
        h.make_node("Relu", [pair.split(">")[0]], [pair.split(">")[1]], name=f"n{i}")
        for i, pair in enumerate(names)
    ]
    return _write(_make([*nodes, *extra], [_value("x", [2])], [_value("y", [2])]))


def _branch(reads: str, makes: str) -> GraphProto:
    node = h.make_node("Identity", [reads], [makes], name="in_branch")
    return h.make_graph([node], "branch", [], [_value(makes, [2])])


def _if(reads: str, out: str, name: str = "if") -> NodeProto:
    return h.make_node(
        "If",
        ["c"],
        [out],
        name=name,
        then_branch=_branch(reads, "t"),
        else_branch=_branch(reads, "e"),
    )


_TRUE = h.make_tensor("c", TensorProto.BOOL, [], [True])
_refused("cycle of two", _chain("x>y", "b>a", "a>b"), "cycle", "n1", "n2")
_refused("self loop", _chain("x>y", "a>a"), "cycle", node="n1")
_refused(
    "cycle through a body",
    _write(
        _make(
            [_if("z", "y"), h.make_node("Relu", ["y"], ["z"], name="n")],
            [_value("x", [2])],
            [_value("y", [2])],
            [_TRUE],
        )
    ),
    "cycle",
)
_runs("unsorted", _chain("a>y", "x>a"), X2, Y2)
_refused("duplicate output", _chain("x>y", "x>y"), "'y'", "second time", node="n1")
_refused("output named as input", _chain("x>x", "x>y"), "'x'", "second time", node="n0")
_refused("undefined input", _chain("nowhere>y"), "'nowhere'", "undefined", node="n0")
_refused("output never made", _chain("x>z"), "'y'", "never made")
_refused(
    "undefined in a body",
    _write(_make([_if("nowhere", "y")], [], [_value("y", [2])], [_TRUE])),
    "'nowhere'",
    node="if",
)
_refused(
    "duplicate initializer",
    _changed(lambda m: m.graph.initializer.append(m.graph.initializer[0]), _add_w),
    "duplicate initializer",
    "'w'",
)
_refused("duplicate input", _changed(lambda m: m.graph.input.append(m.graph.input[0])), "'x'")

# --- row 4: shapes and values -------------------------------------------------------------------

_BIG = 1 << 33
_refused("negative dim", _with_tensor(dims=[-2]), "'w'", "negative dimension -2")
_refused("dims overflow", _with_tensor(dims=[_BIG, _BIG]), "'w'", "overflow")
_refused("dims huge", _with_tensor(dims=[1 << 40]), "'w'", "4 TiB", "budget")
_refused("dims of rank 1000", _with_tensor(dims=[1] * 1000), "1000 dimensions")
_refused("raw too short", _with_tensor(raw_data=b"1234567"), "'w'", "8 bytes", "has 7")
_refused("raw too long", _with_tensor(raw_data=bytes(12)), "'w'", "8 bytes", "has 12")
_refused("no values", _with_tensor(raw_data=b""), "'w'", "has 0")
_refused("unknown element type", _with_tensor(data_type=999), "element type 999")
_refused("values of another type", _with_tensor(raw_data=b"", int64_data=[1, 2]), "int64_data")
_refused("too few floats", _with_tensor(raw_data=b"", float_data=[1.0]), "two value fields")
_refused(
    "segmented", _changed(lambda m: m.graph.initializer[0].segment.SetInParent(), _add_w), "segment"
)
_refused(
    "input of negative size",
    _changed(lambda m: m.graph.input.append(_value("z", [-5]))),
    "'z'",
    "negative dimension -5",
)
_refused(
    "input of unknown type",
    _changed(lambda m: m.graph.input.append(_value("z", [1], 77))),
    "type 77",
)
_runs(
    "raw values",
    _with_tensor(),
    {"x": np.zeros(2, np.float32)},
    {"y": np.array([1, 2], np.float32)},
)

# --- row 5: nesting -----------------------------------------------------------------------------


def _nested(depth: int) -> Build:
    """`depth` Ifs inside one another; written as bytes from the inside out, without recursion."""
    body = _branch("x", "y0").SerializeToString()
    other = h.make_attribute("else_branch", _branch("x", "e")).SerializeToString()
    for level in range(1, depth + 1):
        node = NodeProto(op_type="If", name=f"if_{level}", input=["c"], output=[f"y{level}"])
        attribute = onnx.AttributeProto(name="then_branch", type=onnx.AttributeProto.GRAPH)
        inner = attribute.SerializeToString() + _field(6, body)
        whole = node.SerializeToString() + _field(5, inner) + _field(5, other)
        graph = GraphProto(name=f"body_{level}", output=[_value(f"y{level}", [2])])
        body = graph.SerializeToString() + _field(1, whole)
    main = GraphProto(input=[_value("c", [], TensorProto.BOOL), _value("x", [2])])
    model = ModelProto(ir_version=10, opset_import=[h.make_opsetid("", OPSET)])
    return _write(model.SerializeToString() + _field(7, body + main.SerializeToString()))


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    made, rest = bytearray([number << 3 | 2]), len(content)
    while rest >= 0x80:
        made.append(rest & 0x7F | 0x80)
        rest >>= 7
    made.append(rest)
    return bytes(made) + content


_NESTED_FEEDS = {"c": np.array(True), **X2}
_runs("nested 25", _nested(25), _NESTED_FEEDS, {"y25": X2["x"]})
CASES.append(Case("nested 64", _nested(64), "imports"))
for _depth in (65, 1000):
    _refused(f"nested {_depth}", _nested(_depth), "nesting > 64")


def _nested_deep(folder: Path) -> None:
    """100,000 levels: the inner bytes are not copied once for each level."""
    heads: list[bytes] = []
    size = len(_branch("x", "y0").SerializeToString())
    attribute = onnx.AttributeProto(name="then_branch", type=onnx.AttributeProto.GRAPH)
    head = attribute.SerializeToString()
    node = NodeProto(op_type="If", input=["c"], output=["y"]).SerializeToString()
    for _ in range(100_000):
        for number, before in ((6, head), (5, node), (1, b"")):
            start = before + _field_head(number, size)
            heads.append(start)
            size += len(start)
    model = ModelProto(ir_version=10, opset_import=[h.make_opsetid("", OPSET)])
    start = model.SerializeToString() + _field_head(7, size)
    content = [start, *reversed(heads), _branch("x", "y0").SerializeToString()]
    (folder / MODEL).write_bytes(b"".join(content))


def _field_head(number: int, length: int) -> bytes:
    made = bytearray([number << 3 | 2])
    while length >= 0x80:
        made.append(length & 0x7F | 0x80)
        length >>= 7
    made.append(length)
    return bytes(made)


_refused("nested 100000", _nested_deep, "nesting > 64")


def _deep_type(folder: Path) -> None:
    """A sequence of a sequence of ..., 1,000 deep."""
    content = onnx.TypeProto().SerializeToString()
    for _ in range(1000):
        content = _field(4, _field(1, content))
    value = onnx.ValueInfoProto(name="s").SerializeToString() + _field(2, content)
    graph = _relu().graph.SerializeToString() + _field(11, value)
    model = _relu()
    model.ClearField("graph")
    (folder / MODEL).write_bytes(model.SerializeToString() + _field(7, graph))


_refused("deep type", _deep_type, "damaged")

# --- rows 6, 7: functions -----------------------------------------------------------------------


def _function(name: str, calls: Sequence[str]) -> FunctionProto:
    """A function a -> b that calls others in a row; '' is a Relu."""
    values = ["a", *(f"t{i}" for i in range(1, len(calls))), "b"]
    nodes = [
        h.make_node(call or "Relu", [values[i]], [values[i + 1]], domain="f" if call else "")
        for i, call in enumerate(calls)
    ]
    imports = [h.make_opsetid("", OPSET), h.make_opsetid("f", 1)]
    return h.make_function("f", name, ["a"], ["b"], nodes, imports)


def _calling(functions: Sequence[FunctionProto], call: str) -> Build:
    node = h.make_node(call, ["x"], ["y"], name="n", domain="f")
    return _write(
        _make([node], [_value("x", [2])], [_value("y", [2])], functions=functions, domains={"f": 1})
    )


def _doubling(levels: int) -> list[FunctionProto]:
    return [_function("f0", [""])] + [
        _function(f"f{i}", [f"f{i - 1}"] * 2) for i in range(1, levels + 1)
    ]


_refused(
    "recursive function", _calling([_function("f0", ["f0"])], "f0"), "recursive function", "f0"
)
_refused(
    "mutual recursion",
    _calling([_function("f0", ["f1"]), _function("f1", ["f0"])], "f0"),
    "recursive function",
)
_refused("function bomb", _calling(_doubling(30), "f30"), "expansion > 1e+06")
_refused("function defined twice", _calling([_function("f0", [""])] * 2, "f0"), "twice")
_runs("function", _calling(_doubling(6), "f6"), X2, Y2)

# --- rows 8, 9: size bombs ----------------------------------------------------------------------

_TERA = _ints("s", 1 << 20, 1 << 20)
_refused("ConstantOfShape bomb", _one("ConstantOfShape", {}, _TERA), "4 TiB", "budget", node="n")
_refused("Expand bomb", _one("Expand", {"x": [1, 1]}, _TERA), "4 TiB", "budget", node="n")
_refused("Tile bomb", _one("Tile", {"x": [1, 1]}, _TERA), "4 TiB", "budget", node="n")
_refused("Pad bomb", _one("Pad", {"x": [1]}, _ints("s", 0, 1 << 40)), "4.0 TiB", "budget", node="n")
_refused("negative shape", _one("ConstantOfShape", {}, _ints("s", -4)), "negative", node="n")
_refused(
    "Range bomb",
    _one("Range", {}, _scalar("a", 0, 7), _scalar("b", 1 << 60, 7), _scalar("c", 1, 7), out_elem=7),
    "EiB",
    "budget",
    node="n",
)
_refused(
    "Range by 0",
    _one("Range", {}, _scalar("a", 0), _scalar("b", 9), _scalar("c", 0)),
    "delta",
    node="n",
)
_refused(
    "OneHot bomb",
    _one("OneHot", {"x": [4]}, _scalar("d", 1 << 40, 7), _floats("v", 0, 1), elem=7),
    "budget",
    node="n",
)
_refused(
    "Resize bomb",
    _one("Resize", {"x": [1, 1]}, _floats("s", 1e6, 1e6), inputs=["x", "", "s"]),
    "budget",
    node="n",
)
_refused(
    "Upsample bomb", _one("Upsample", {"x": [1]}, _floats("s", 1e12), opset=9), "budget", node="n"
)
_refused(
    "Resize by 0",
    _one("Resize", {"x": [1]}, _floats("s", 0), inputs=["x", "", "s"]),
    "positive",
    node="n",
)
_refused("random bomb", _one("RandomNormal", {}, shape=[1 << 20, 1 << 20]), "4 TiB", node="n")
_refused(
    "computed bomb",
    _write(
        _make(
            [
                h.make_node("Mul", ["a", "a"], ["s"], name="m"),
                h.make_node("ConstantOfShape", ["s"], ["y"], name="n"),
            ],
            [],
            [_value("y", None)],
            [_ints("a", 1 << 20)],
        )
    ),
    "4 TiB",
    "budget",
    node="n",
)


def _concat_bomb() -> Build:
    """x joined with itself 40 times."""
    nodes = [
        h.make_node("Concat", [f"v{i}", f"v{i}"], [f"v{i + 1}"], name=f"n{i}", axis=0)
        for i in range(40)
    ]
    return _write(_make(nodes, [_value("v0", [2])], [_value("v40", None)]))


_refused("Concat bomb", _concat_bomb(), "budget")
_top = h.make_node("TopK", ["x", "k"], ["y", "i"], name="n")
_refused(
    "TopK bomb",
    _write(_make([_top], [_value("x", [4])], [_value("y", None)], [_ints("k", 1 << 40)])),
    "more than the 4",
    node="n",
)
_refused(
    "TopK bomb of unknown size",
    _write(_make([_top], [_value("x", ["n"])], [_value("y", None)], [_ints("k", 1 << 40)])),
    "budget",
    node="n",
)
for _op, _extra in (("ConstantOfShape", {}), ("Expand", {"x": [1]})):
    _fails(
        f"{_op} bomb as input",
        _write(
            _make(
                [h.make_node(_op, [*_extra, "s"], ["y"], name="n")],
                [*(_value(k, v) for k, v in _extra.items()), _value("s", [2], 7)],
                [_value("y", None)],
            )
        ),
        {**{k: np.ones(v, np.float32) for k, v in _extra.items()}, "s": np.array([1 << 20] * 2)},
    )

# --- row 10: indices ----------------------------------------------------------------------------

_MIN = -(1 << 63)
for _index in (10**6, -(10**6), 1 << 31, _MIN):
    _fails(
        f"Gather {_index}",
        _write(
            _make(
                [h.make_node("Gather", ["x", "i"], ["y"], name="n")],
                [_value("x", [3]), _value("i", [1], 7)],
                [_value("y", [1])],
            )
        ),
        {"x": np.ones(3, np.float32), "i": np.array([_index])},
        "ndex",
    )
for _op, _shape in (("GatherElements", [1]), ("GatherND", [1, 1])):
    _fails(
        f"{_op} {10**8}",
        _write(
            _make(
                [h.make_node(_op, ["x", "i"], ["y"], name="n")],
                [_value("x", [3]), _value("i", _shape, 7)],
                [_value("y", None)],
            )
        ),
        {"x": np.ones(3, np.float32), "i": np.full(_shape, 10**8)},
        "ndex",
    )
for _op, _shape in (("ScatterElements", [1]), ("ScatterND", [1, 1])):
    _fails(
        f"{_op} {-(10**8)}",
        _write(
            _make(
                [h.make_node(_op, ["x", "i", "u"], ["y"], name="n")],
                [_value("x", [3]), _value("i", _shape, 7), _value("u", [1])],
                [_value("y", None)],
            )
        ),
        {"x": np.ones(3, np.float32), "i": np.full(_shape, -(10**8)), "u": np.ones(1, np.float32)},
        "ndex",
    )
_refused(
    "constant Gather out of range",
    _write(
        _make(
            [h.make_node("Gather", ["w", "i"], ["y"], name="n")],
            [],
            [_value("y", None)],
            [_floats("w", 1, 2), _ints("i", 7)],
        )
    ),
    "7",
    node="n",
)

# --- row 11: Reshape ----------------------------------------------------------------------------

_refused("Reshape two -1", _one("Reshape", {"x": [4]}, _ints("s", -1, -1)), "-1", node="n")
_refused("Reshape count", _one("Reshape", {"x": [4]}, _ints("s", 3)), "[4]", "[3]", node="n")
_refused("Reshape divides", _one("Reshape", {"x": [4]}, _ints("s", 3, -1)), "[4]", node="n")
_refused(
    "Reshape 0 past the rank", _one("Reshape", {"x": [4]}, _ints("s", 4, 0)), "lacks", node="n"
)
_refused("Reshape -2", _one("Reshape", {"x": [4]}, _ints("s", -2)), "negative", node="n")
_refused(
    "Reshape 0 and -1", _one("Reshape", {"x": [4]}, _ints("s", 0, -1), allowzero=1), "both 0 and -1"
)
_runs(
    "Reshape 0 copies",
    _one("Reshape", {"x": [2, 1]}, _ints("s", 0)),
    {"x": np.ones((2, 1), np.float32)},
    {"y": np.ones(2, np.float32)},
)
_runs(
    "Reshape 0 is 0",
    _one("Reshape", {"x": [0, 3]}, _ints("s", 3, 0), allowzero=1),
    {"x": np.ones((0, 3), np.float32)},
    {"y": np.ones((3, 0), np.float32)},
)

# --- row 12: loops ------------------------------------------------------------------------------


def _loop(condition_op: str) -> Build:
    body = h.make_graph(
        [
            h.make_node(condition_op, ["go"], ["again"], name="b0"),
            h.make_node("Add", ["v", "v"], ["w"], name="b1"),
        ],
        "body",
        [_value("i", [], 7), _value("go", [], 9), _value("v", [2])],
        [_value("again", [], 9), _value("w", [2])],
    )
    node = h.make_node("Loop", ["trips", "start", "x"], ["y"], name="n", body=body)
    tensors = [_scalar("trips", 1 << 62, 7), h.make_tensor("start", 9, [], [True])]
    return _write(_make([node], [_value("x", [2])], [_value("y", [2])], tensors))


_refused("endless Loop", _loop("Identity"), "iterations", "max_loop_iterations", node="n")
_runs("Loop that stops", _loop("Not"), X2, {"y": 2 * X2["x"]})

# --- row 13: windows ----------------------------------------------------------------------------

_IMAGE: dict[str, Sequence[int | str | None] | None] = {"x": [1, 4, 8, 8]}
_KERNEL = _weights("w", 4, 4, 3, 3)
for _name, _attributes, _words in (
    ("group 0", {"group": 0}, "group"),
    ("group 3", {"group": 3}, "group"),
    ("stride 0", {"strides": [0, 1]}, "strides"),
    ("dilation 0", {"dilations": [1, 0]}, "dilations"),
    ("pads 2^40", {"pads": [0, 0, 1 << 40, 0]}, "pads"),
    ("pads bomb", {"pads": [1 << 30] * 4}, "budget"),
    ("negative pads", {"pads": [-1, 0, 0, 0]}, "pads"),
    ("three pads", {"pads": [0, 0, 0]}, "pads"),
    ("other kernel_shape", {"kernel_shape": [5, 5]}, "kernel_shape"),
    ("kernel_shape 0", {"kernel_shape": [0, 3]}, "kernel_shape"),
    ("unknown auto_pad", {"auto_pad": "WRONG"}, "auto_pad"),
    ("dilated past the input", {"dilations": [9, 9]}, "kernel larger than input"),
):
    _refused(f"Conv {_name}", _one("Conv", _IMAGE, _KERNEL, **_attributes), _words, node="n")
_refused(
    "Conv kernel larger than input",
    _one("Conv", {"x": [1, 4, 2, 2]}, _KERNEL),
    "kernel larger than input",
    node="n",
)
_refused(
    "Conv kernel larger than a later input",
    _write(
        _make(
            [
                h.make_node("MaxPool", ["x"], ["p"], name="p", kernel_shape=[4, 4], strides=[4, 4]),
                h.make_node("Conv", ["p", "w"], ["y"], name="n"),
            ],
            [_value("x", [1, 4, 8, 8])],
            [_value("y", None)],
            [_KERNEL],
        )
    ),
    "kernel larger than input",
    node="n",
)
_refused("Conv channels", _one("Conv", {"x": [1, 5, 8, 8]}, _KERNEL), "5 channels", node="n")
_refused(
    "ConvTranspose group 0", _one("ConvTranspose", _IMAGE, _KERNEL, group=0), "group", node="n"
)
for _op in ("MaxPool", "AveragePool", "LpPool"):
    _refused(
        f"{_op} stride 0",
        _one(_op, _IMAGE, kernel_shape=[2, 2], strides=[0, 0]),
        "strides",
        node="n",
    )
_refused("MaxPool kernel 0", _one("MaxPool", _IMAGE, kernel_shape=[0, 2]), "kernel_shape", node="n")
_refused(
    "MaxPool 2^40", _one("MaxPool", _IMAGE, kernel_shape=[1 << 40, 2]), "kernel_shape", node="n"
)
_refused("MaxPool no kernel", _one("MaxPool", _IMAGE), "required", "kernel_shape", node="n")
_refused(
    "AveragePool all padding",
    _one("AveragePool", _IMAGE, kernel_shape=[2, 2], pads=[2, 2, 2, 2]),
    "pads",
)

# --- rows 14 to 17: single operators ------------------------------------------------------------

for _size in (0, -2, 1 << 32):
    _refused(
        f"DepthToSpace {_size}",
        _one("DepthToSpace", _IMAGE, blocksize=_size),
        "blocksize",
        node="n",
    )
_refused("SpaceToDepth 0", _one("SpaceToDepth", _IMAGE, blocksize=0), "blocksize", node="n")
_refused("SpaceToDepth 3", _one("SpaceToDepth", _IMAGE, blocksize=3), "blocksize", node="n")

_runs(
    "MatMul of nothing",
    _one("MatMul", {"x": [2, 0], "z": [0, 3]}),
    {"x": np.zeros((2, 0), np.float32), "z": np.zeros((0, 3), np.float32)},
    {"y": np.zeros((2, 3), np.float32)},
)
_runs(
    "Conv of no batch",
    _one("Conv", {"x": [0, 4, 8, 8]}, _KERNEL),
    {"x": np.zeros((0, 4, 8, 8), np.float32)},
    {"y": np.zeros((0, 4, 6, 6), np.float32)},
)
_runs(
    "Softmax of nothing",
    _one("Softmax", {"x": [3, 0]}),
    {"x": np.zeros((3, 0), np.float32)},
    {"y": np.zeros((3, 0), np.float32)},
)
_runs(
    "ReduceMax of nothing",
    _one("ReduceMax", {"x": [2, 0]}, axes=[1], keepdims=0),
    {"x": np.zeros((2, 0), np.float32)},
    {"y": np.full(2, -np.inf, np.float32)},
)
_ZERO, _TWO = _ints("a", 0), _ints("b", 2)
_refused(
    "Slice step 0",
    _one("Slice", {"x": [4]}, _ZERO, _TWO, _ints("c", 0), _ints("d", 0)),
    "step 0",
    node="n",
)
_runs(
    "Slice step INT64_MIN",
    _one("Slice", {"x": [4]}, _TWO, _ZERO, _ints("c", 0), _ints("d", _MIN)),
    {"x": np.arange(4, dtype=np.float32)},
    {"y": np.array([2], np.float32)},
)
_refused(
    "Slice lengths", _one("Slice", {"x": [4, 4]}, _ZERO, _ints("b", 1, 1)), "different lengths"
)
_refused("Transpose perm", _one("Transpose", {"x": [2, 2]}, perm=[0, 0]), "perm", node="n")
_refused("Split of 0 outputs", _one("Split", {"x": [4]}, opset=18, num_outputs=0), "num_outputs")
_refused("Cast to nothing", _one("Cast", {"x": [2]}, to=999), "999", node="n")
_refused("Add of two types", _one("Add", {"x": [2]}, _ints("w", 1, 2)), "int64", node="n")
for _scale in (0.0, float("nan"), -1.0, float("inf")):
    _refused(
        f"QuantizeLinear scale {_scale}",
        _one("QuantizeLinear", {"x": [2]}, _scalar("s", _scale), out_elem=2),
        "scale",
        node="n",
    )
    _refused(
        f"DequantizeLinear scale {_scale}",
        _one("DequantizeLinear", {"x": [2]}, _scalar("s", _scale), elem=TensorProto.UINT8),
        "scale",
        node="n",
    )
_refused(
    "DequantizeLinear scales for another size",
    _one("DequantizeLinear", {"x": [2, 4]}, _floats("s", 1, 2, 3), elem=TensorProto.INT8),
    "3 scales for axis 1 of an input [2, 4]",
    node="n",
)
_refused(
    "QuantizeLinear scales for no axis",
    _one("QuantizeLinear", {"x": [2]}, _floats("s", 1, 2), out_elem=2),
    "for an input of 1 axes",
    node="n",
)
_refused(
    "QuantizeLinear zero point of float",
    _one("QuantizeLinear", {"x": [2]}, _scalar("s", 1), _scalar("z", 0), out_elem=2),
    "input 2",
    "float",
    node="n",
)
_refused(
    "QuantizeLinear zero point shape",
    _one(
        "QuantizeLinear",
        {"x": [2]},
        _scalar("s", 1),
        h.make_tensor("z", TensorProto.UINT8, [3], [0, 0, 0]),
        out_elem=2,
    ),
    "zero point of shape [3]",
    node="n",
)
_refused(
    "DequantizeLinear zero point type",
    _one(
        "DequantizeLinear",
        {"x": [2]},
        _scalar("s", 1),
        h.make_tensor("z", TensorProto.INT8, [], [0]),
        elem=TensorProto.UINT8,
    ),
    "int8",
    node="n",
)

# --- rows 18, 19: sparse initializers -----------------------------------------------------------


def _sparse(values: Sequence[float], indices: Sequence[int], dims: Sequence[int]) -> Build:
    model = _make(
        [h.make_node("Add", ["x", "w"], ["y"], name="n")], [_value("x", [1])], [_value("y", None)]
    )
    sparse = onnx.SparseTensorProto(dims=dims)
    sparse.values.CopyFrom(_floats("w", *values))
    sparse.indices.CopyFrom(_ints("", *indices))
    model.graph.sparse_initializer.append(sparse)
    return _write(model)


_runs(
    "sparse",
    _sparse([5, 7], [1, 3], [2, 2]),
    {"x": np.zeros(1, np.float32)},
    {"y": np.array([[0, 5], [0, 7]], np.float32)},
)
_refused("sparse out of range", _sparse([5, 7], [1, 4], [2, 2]), "'w'", "outside")
_refused("sparse negative", _sparse([5, 7], [-1, 3], [2, 2]), "'w'", "outside")
_refused("sparse unsorted", _sparse([5, 7], [3, 1], [2, 2]), "'w'", "not sorted")
_refused("sparse duplicate", _sparse([5, 7], [1, 1], [2, 2]), "'w'", "duplicate")
_refused("sparse lengths", _sparse([5, 7], [1], [2, 2]), "'w'", "2 values")
_refused("sparse bomb", _sparse([5, 7], [1, 3], [1 << 20] * 2), "'w'", "4 TiB", "budget")
_refused("sparse overflow", _sparse([5, 7], [1, 3], [_BIG] * 2), "overflow")

# --- rows 21 to 24: external data ---------------------------------------------------------------

_DATA = np.array([1, 2], "<f4").tobytes()
_ADD_FEEDS, _ADD_WANT = {"x": np.zeros(2, np.float32)}, {"y": np.array([1, 2], np.float32)}


def _external(
    location: str,
    prepare: Callable[[Path], object] = lambda folder: (folder / "w.bin").write_bytes(_DATA),
    **entries: object,
) -> Build:
    """`_add_w` with its weight in a file; the folder has a neighbour 'secret' of the right size."""
    model = _add_w()
    weight = model.graph.initializer[0]
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        weight.external_data.add(key=key, value=str(value))

    def build(folder: Path) -> None:
        (folder.parent / "secret").write_bytes(_DATA)
        prepare(folder)
        (folder / MODEL).write_bytes(model.SerializeToString())

    return build


def _make_parent_link(folder: Path) -> None:
    (folder.parent / "other").mkdir(exist_ok=True)
    (folder.parent / "other" / "w.bin").write_bytes(_DATA)
    (folder / "sub").symlink_to(folder.parent / "other")


def _make_subfolder(folder: Path) -> None:
    (folder / "sub").mkdir()
    (folder / "sub" / "w.bin").write_bytes(_DATA)


_WHAT = "external data"
_runs("external", _external("w.bin"), _ADD_FEEDS, _ADD_WANT)
_runs("external in a subfolder", _external("./sub//w.bin", _make_subfolder), _ADD_FEEDS, _ADD_WANT)
_runs(
    "external at an odd offset",
    _external("w.bin", lambda f: (f / "w.bin").write_bytes(b"123" + _DATA), offset=3, length=8),
    _ADD_FEEDS,
    _ADD_WANT,
)
_runs(
    "external with unknown keys",
    _external("w.bin", __class__="evil", evil_attr="1", checksum="0"),
    _ADD_FEEDS,
    _ADD_WANT,
)
for _path in ("../secret", "a/../../secret", "..", "w.bin/../../secret"):
    _refused(f"external {_path}", _external(_path), _WHAT, "leaves the model's folder")
for _path in ("/dev/zero", "/proc/self/environ", "/etc/hostname"):
    _refused(f"external {_path}", _external(_path), _WHAT, "leaves the model's folder")
_refused(
    "external link",
    _external("w.bin", lambda f: (f / "w.bin").symlink_to(f.parent / "secret")),
    _WHAT,
    "without following links",
)
_refused(
    "external parent link", _external("sub/w.bin", _make_parent_link), _WHAT, "following links"
)
_refused(
    "external hard link",
    _external("w.bin", lambda f: os.link(f.parent / "secret", f / "w.bin")),
    _WHAT,
    "hard links",
)
_refused("external fifo", _external("w.bin", lambda f: os.mkfifo(f / "w.bin")), "regular file")
_refused("external directory", _external("w.bin", lambda f: (f / "w.bin").mkdir()), "regular file")
_refused("external missing", _external("w.bin", _nothing), _WHAT, "cannot be opened")
_refused("external no location", _external(""), _WHAT, "names no file")
_refused("external NUL", _external("w.bin\0x"), _WHAT, "leaves")
_refused("external past the end", _external("w.bin", offset=4), _WHAT, "outside")
_refused("external offset 2^62", _external("w.bin", offset=1 << 62), _WHAT, "outside")
_refused("external negative offset", _external("w.bin", offset=-8), _WHAT, "offset")
_refused("external negative length", _external("w.bin", length=-8), _WHAT, "length")
_refused("external length 2^52", _external("w.bin", length=1 << 52), _WHAT, "needs 8")
_refused("external length 10^9999", _external("w.bin", length="9" * 9999), _WHAT, "length")
_refused(
    "external too short", _external("w.bin", lambda f: (f / "w.bin").write_bytes(b"123")), "outside"
)


def _overlapping() -> Build:
    build = _external("w.bin", offset=0)
    extra = h.make_tensor("v", 1, [2], [0, 0])
    extra.ClearField("float_data")
    extra.data_location = TensorProto.EXTERNAL
    extra.external_data.add(key="location", value="./w.bin")
    extra.external_data.add(key="offset", value="4")

    def both(folder: Path) -> None:
        build(folder)
        (folder / "w.bin").write_bytes(_DATA + _DATA)
        model = onnx.load(folder / MODEL, load_external_data=False)
        model.graph.initializer.append(extra)
        (folder / MODEL).write_bytes(model.SerializeToString())

    return both


_refused("external overlap", _overlapping(), "overlaps")
_refused(
    "int8 tensor of 2^31 + 1 in 8 bytes",
    _with_tensor(data_type=TensorProto.INT8, dims=[(1 << 31) + 1]),
    str((1 << 31) + 1),
)

# --- row 25: versions, domains, operators -------------------------------------------------------

for _version in (0, 27, 999, -1):
    _refused(
        f"opset {_version}",
        _one("Relu", {"x": [2]}, opset=_version),
        f"opset {_version}",
        "expected",
    )
_refused("IR 999", _changed(lambda m: setattr(m, "ir_version", 999)), "IR version 999")
_refused("no opset", _changed(lambda m: m.ClearField("opset_import")), "opset", node="n")
_refused("unknown domain", _one("Relu", {"x": [2]}, domain="com.nobody"), "com.nobody", node="n")
_refused("unknown operator", _one("Frobnicate", {"x": [2]}), "Frobnicate", "opset 17", node="n")
_refused("operator too new", _one("Gelu", {"x": [2]}), "Gelu", "opset 17", node="n")
_refused(
    "operator in the wrong domain",
    _one("Relu", {"x": [2]}, domain="ai.onnx.ml"),
    "'ai.onnx' has",
    node="n",
)
_refused("ml operator", _one("Scaler", {"x": [2]}), "'ai.onnx.ml' has one", node="n")
_refused("contrib operator", _one("Relu9", {"x": [2]}, domain="com.microsoft"), "Relu9", node="n")
_refused("withdrawn operator", _one("Upsample", {"x": [1]}, _floats("s", 2), opset=13), "Upsample")
_refused("too many inputs", _one("Relu", {"x": [2], "z": [2]}), "2 inputs", node="n")
_refused("too few inputs", _one("Add", {"x": [2]}), "1 inputs", node="n")
_refused("absent input", _one("Relu", {"x": [2]}, inputs=[""]), "input 0", node="n")
_refused("unknown attribute", _one("Relu", {"x": [2]}, wrong=1), "wrong", node="n")
_refused("attribute of another kind", _one("Softmax", {"x": [2]}, axis=1.5), "axis", node="n")
_refused("missing attribute", _one("Cast", {"x": [2]}), "'to'", node="n")


def _twice(model: ModelProto) -> None:
    model.graph.node[0].attribute.extend([h.make_attribute("axis", 0)] * 2)


_refused("attribute twice", _changed(_twice), "twice", node="n")


def _dangling(model: ModelProto) -> None:
    model.graph.node[0].attribute.add(name="a", ref_attr_name="b", type=1)


_refused("attribute reference", _changed(_dangling), "outside of a function", node="n")

# --- row 26: names ------------------------------------------------------------------------------

_LONG = "n" * (10 << 20)


def _renamed(name: str) -> Build:
    return _chain(f"x>{name}", f"{name}>y")


def _invalid_text(number: int) -> Build:
    """A node whose field `number` is not UTF-8."""
    model = _relu()
    node = model.graph.node[0].SerializeToString() + _field(number, b"\xff\xfe\x80")
    model.graph.ClearField("node")
    graph = model.graph.SerializeToString() + _field(1, node)
    model.ClearField("graph")
    return _write(model.SerializeToString() + _field(7, graph))


_refused("value name of 10 MB", _renamed(_LONG), "characters", node=None)
_refused(
    "node name of 10 MB", _changed(lambda m: setattr(m.graph.node[0], "name", _LONG)), "node name"
)
_refused(
    "operator of 10 MB", _changed(lambda m: setattr(m.graph.node[0], "op_type", _LONG)), "operator"
)
_refused("name with NUL", _renamed("a\0b"), "NUL")
_refused(
    "no operator name",
    _changed(lambda m: m.graph.node[0].ClearField("op_type")),
    "operator",
    node="n",
)
for _number, _what in ((2, "output"), (3, "node name"), (4, "operator"), (1, "input")):
    _refused(f"{_what} not UTF-8", _invalid_text(_number), _what)
_runs("name of a path", _renamed("../../x"), X2, Y2)
_runs("nameless node", _changed(lambda m: m.graph.node[0].ClearField("name")), X2, Y2)


def _many_entries(folder: Path) -> None:
    entry = onnx.StringStringEntryProto(key="k", value="v").SerializeToString()
    content = _relu().SerializeToString() + _field(14, entry) * 1_000_000
    (folder / MODEL).write_bytes(content)


_refused("1e6 metadata entries", _many_entries, "more than 100000 metadata entries")

# --- row 27: two sets of values -----------------------------------------------------------------

_refused("raw and float values", _with_tensor(float_data=[1.0, 2.0]), "two value fields")
_refused("raw and int values", _with_tensor(int32_data=[1, 2]), "two value fields")


def _both_large() -> Build:
    """Raw and float values, both large enough to be left in the file."""
    model = _add_w()
    weight = model.graph.initializer[0]
    weight.dims[0] = 1 << 16
    weight.raw_data = bytes(4 << 16)
    weight.float_data.extend([1.0] * (1 << 16))
    return _write(model)


_refused("two large sets of values", _both_large(), "two value fields", "'w'")


def _two_in_constant() -> NodeProto:
    tensor = h.make_tensor("t", 1, [2], [1.0, 2.0])
    tensor.raw_data = bytes(8)
    return h.make_node("Constant", [], ["w"], name="const", value=tensor)


_refused(
    "two sets of values in a Constant",
    _write(
        _make(
            [_two_in_constant(), h.make_node("Add", ["x", "w"], ["y"])],
            [_value("x", [2])],
            [_value("y", [2])],
        )
    ),
    "two value fields",
    node="const",
)


def _two_in_function() -> Build:
    function = _function("f0", [""])
    function.node.insert(0, _two_in_constant())
    return _calling([function], "f0")


_refused("two sets of values in a function", _two_in_function(), "two value fields", node="const")
_refused(
    "external and raw values",
    _changed(
        lambda m: setattr(m.graph.initializer[0], "data_location", TensorProto.EXTERNAL), _add_w
    ),
    "two value fields",
)


def _hostile_function() -> Build:
    """group=0 reaches a Conv through a function's attribute."""
    node = h.make_node("Conv", ["a", "k"], ["b"], name="inner")
    node.attribute.add(name="group", ref_attr_name="g", type=onnx.AttributeProto.INT)
    function = h.make_function(
        "f", "f0", ["a", "k"], ["b"], [node], [h.make_opsetid("", OPSET)], attributes=["g"]
    )
    call = h.make_node("f0", ["x", "w"], ["y"], name="n", domain="f", g=0)
    return _write(
        _make(
            [call],
            [_value("x", [1, 4, 8, 8])],
            [_value("y", None)],
            [_KERNEL],
            functions=[function],
            domains={"f": 1},
        )
    )


_refused("group 0 through a function", _hostile_function(), "group")


# --- small models to truncate and to flip bits of ------------------------------------------------


def _conv_net() -> ModelProto:
    nodes = [
        h.make_node("Conv", ["x", "w"], ["a"], name="conv", pads=[1, 1, 1, 1], strides=[2, 2]),
        h.make_node("BatchNormalization", ["a", "s", "s", "s", "s"], ["b"], name="norm"),
        h.make_node("Relu", ["b"], ["c"], name="relu"),
        h.make_node("GlobalAveragePool", ["c"], ["d"], name="pool"),
        h.make_node("Flatten", ["d"], ["e"], name="flat"),
        h.make_node("Gemm", ["e", "g", "s"], ["f"], name="fc", transB=1),
        h.make_node("Softmax", ["f"], ["y"], name="soft"),
    ]
    tensors = [_weights("w", 2, 1, 3, 3), _floats("s", 1, 2), _weights("g", 2, 2)]
    return _make(nodes, [_value("x", [1, 1, 6, 6])], [_value("y", [1, 2])], tensors)


def _shape_net() -> ModelProto:
    nodes = [
        h.make_node("Shape", ["x"], ["s"], name="shape"),
        h.make_node("Gather", ["s", "i"], ["b"], name="gather", axis=0),
        h.make_node("Concat", ["b", "m"], ["t"], name="concat", axis=0),
        h.make_node("Reshape", ["x", "t"], ["r"], name="reshape"),
        h.make_node("Transpose", ["r"], ["p"], name="transpose", perm=[1, 0]),
        h.make_node("Slice", ["p", "i", "e"], ["q"], name="slice"),
        h.make_node("Cast", ["q"], ["c"], name="cast", to=1),
        h.make_node("ReduceSum", ["c", "i"], ["y"], name="sum", keepdims=0),
    ]
    tensors = [_ints("i", 0), _ints("m", -1), _ints("e", 3)]
    return _make(nodes, [_value("x", [2, 2, 3])], [_value("y", None)], tensors)


def _control_net() -> ModelProto:
    call = h.make_node("f1", ["x"], ["a"], name="call", domain="f")
    pick = h.make_node("Constant", [], ["k"], name="const", value_floats=[1.0, 2.0])
    add = h.make_node("Add", ["a", "k"], ["z"], name="add")
    model = _make(
        [call, pick, add, _if("z", "y")],
        [_value("x", [2]), _value("c", [], TensorProto.BOOL)],
        [_value("y", [2])],
        functions=_doubling(1),
        domains={"f": 1},
    )
    model.metadata_props.add(key="author", value="nobody")
    return model


def _quantized_net() -> ModelProto:
    scale, zero = _scalar("s", 0.5), h.make_tensor("z", TensorProto.UINT8, [], [128])
    nodes = [
        h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], name="q"),
        h.make_node("DequantizeLinear", ["q", "s", "z"], ["d"], name="d"),
        h.make_node("Resize", ["d", "", "k"], ["r"], name="resize", mode="nearest"),
        h.make_node("TopK", ["r", "n"], ["y", "i"], name="top", axis=-1),
    ]
    tensors = [scale, zero, _floats("k", 1, 2), _ints("n", 2)]
    return _make(nodes, [_value("x", [1, 3])], [_value("y", None)], tensors)


SMALL_MODELS: dict[str, Build] = {
    "conv": _write(_conv_net()),
    "shape": _write(_shape_net()),
    "control": _write(_control_net()),
    "quantized": _write(_quantized_net()),
    "sparse": _sparse([5, 7], [1, 3], [2, 2]),
}
