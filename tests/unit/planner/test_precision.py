"""8 bits or float32: what is asked of the tuner, and what follows from its answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from colonnade import _core
from colonnade.ir import DType, Graph, Node, TensorType
from colonnade.passes.runner import run_passes
from colonnade.passes.widen_products import make_widen_products
from colonnade.planner.choice import Trial
from colonnade.planner.precision import prefer_float32
from colonnade.planner.select import Target

ISA = "avx2" if _core.best_isa("avx2") == "avx2" else "portable"
SPARSE, DENSE = 0.9, 0.0


@dataclass
class Answering:
    """A tuner that gives these times for 8 bits and float32, and keeps the questions."""

    seconds: tuple[float, float]
    keys: list[str] = field(default_factory=list)
    trials: list[Sequence[Trial]] = field(default_factory=list)

    def time(self, key: str, trials: Callable[[], Sequence[Trial]]) -> Sequence[float]:
        if not key.endswith("8-bit|float32"):
            return [2.0, *[1.0] * key.rsplit(" ", 1)[-1].count("|")]  # sparse is faster
        self.keys.append(key)
        self.trials.append(trials())
        return self.seconds


def product(zeros: float, *, name: str = "layer", columns: int = 4096) -> Graph:
    """QLinear of 512 to 512 features, uint8 to uint8, single weights being zero."""
    rng = np.random.default_rng(3)
    w = rng.integers(-20, 21, (512, 512)).astype(np.int8)
    constants: dict[str, np.ndarray] = {
        f"{name}_w": np.where(rng.random(w.shape) < zeros, np.int8(0), w),
        "s": np.array(0.5, np.float32), "z": np.array(120, np.uint8), "wz": np.array(0, np.int8),
    }  # fmt: skip
    inputs = ("x", f"{name}_w", "s", "z", "s", "wz", "", "s", "z")
    types = {key: TensorType(DType.from_numpy(a.dtype), a.shape) for key, a in constants.items()}
    types["x"] = TensorType(DType.UINT8, (columns, 512))
    types["y"] = TensorType(DType.UINT8, (columns, 512))
    node = Node("QLinear", inputs, ("y",), {}, name, "colonnade", 1)
    return Graph("product", ("x",), ("y",), (node,), types, constants)


def target(tuner: Answering | None, isa: str = ISA) -> Target:
    return Target(isa, _core.panel_lanes(isa), 2, 1 << 15, 1 << 20, 1 << 25, tuner=tuner)


def kernels(graph: Graph, wanted: Target) -> tuple[list[str], str]:
    """Operators after the pass, and the reason that it gave."""

    def ask(eight: Graph, wide: Graph) -> str:
        return prefer_float32(eight, wide, wanted)

    report = run_passes(graph, [make_widen_products(ask)])
    (record,) = report.records
    return [node.op for node in report.graph.nodes], record.reasons.get("layer", "")


@pytest.mark.parametrize(
    ("seconds", "ops"),
    [
        ((2.0, 1.0), ["DequantizeLinear", "Linear", "QuantizeLinear"]),
        ((1.0, 2.0), ["QLinear"]),
        ((1.05, 1.0), ["QLinear"]),
    ],
)
def test_the_faster_form_runs_and_8_bits_win_ties(
    seconds: tuple[float, float], ops: list[str]
) -> None:
    found, reason = kernels(product(SPARSE), target(Answering(seconds)))
    assert found == ops
    assert ("measured 2.0x the 8-bit kernel" in reason) is (len(ops) > 1)


def test_all_calls_of_the_float32_form_are_measured_on_few_columns() -> None:
    tuner = Answering((1.0, 2.0))
    kernels(product(SPARSE), target(tuner))
    ((eight, wide),) = tuner.trials
    assert len(eight.calls) == 1 and eight.calls[0].kernel.startswith("q")
    assert [call.kernel for call in wide.calls][0] == "dequantize_columns"
    assert [call.kernel for call in wide.calls][-1] == "quantize_columns"
    assert max(operand.nbytes for operand in wide.operands if hasattr(operand, "nbytes")) < 2**20


def test_keys_say_what_is_measured_but_not_whose_layer_it_is() -> None:
    tuner = Answering((1.0, 2.0))
    for graph in (
        product(SPARSE), product(SPARSE, name="other"), product(0.8), product(SPARSE, columns=100),
    ):  # fmt: skip
        kernels(graph, target(tuner))
    same, other, fewer_zeros, fewer_columns = tuner.keys
    assert same == other
    assert len({same, fewer_zeros, fewer_columns}) == 3


@pytest.mark.skipif(ISA == "portable", reason="needs an instruction set with products of integers")
def test_nothing_is_measured_where_the_costs_are_clear() -> None:
    tuner = Answering((2.0, 1.0))
    assert kernels(product(DENSE), target(tuner))[0] == ["QLinear"]
    assert not tuner.keys


def test_without_a_tuner_the_costs_decide() -> None:
    """Plain C++ has no products of integers that pay; only plans are made here."""
    assert kernels(product(DENSE), target(None, "avx512_vnni"))[0] == ["QLinear"]
    assert kernels(product(DENSE), target(None, "portable"))[1].startswith("expected")


def test_a_product_without_a_native_float32_kernel_stays() -> None:
    graph = product(SPARSE)
    wide = graph.with_changes(nodes=(replace(graph.nodes[0], op="Unknown"),))
    assert prefer_float32(graph, wide, target(Answering((2.0, 1.0)))) == ""


def test_amx_machines_have_costs() -> None:
    assert kernels(product(DENSE), target(None, "amx"))[0] == ["QLinear"]
