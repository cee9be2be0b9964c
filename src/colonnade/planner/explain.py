"""What was chosen for every node, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from colonnade.planner.select import NodeRecord, StripeRecord


@dataclass(frozen=True)
class PassRecord:
    """What a pass did."""

    name: str
    changes: int
    ms: float
    reasons: Mapping[str, str] = field(default_factory=dict)
    """Why nodes are as they are, by their names."""


@dataclass(frozen=True)
class Explanation:
    """A plan in words: `print(engine.explain())`, or `to_dict()` for programs."""

    model: str
    isa: str
    threads: int
    scheduler: str
    streams: Sequence[int]
    """Threads of each stream."""
    shapes: Mapping[str, tuple[int, ...]]
    nodes: Sequence[NodeRecord]
    passes: Sequence[PassRecord]
    arena_bytes: int
    scratch_bytes: int
    constant_bytes: int
    num_allocations: int
    stripes: Sequence[StripeRecord] = ()

    @property
    def dense_weight_bytes(self) -> int:
        """Bytes of the products' weights as dense fp32."""
        return sum(node.weights.dense_bytes for node in self.nodes if node.weights is not None)

    @property
    def num_native(self) -> int:
        """Nodes that native kernels run."""
        return sum(node.runtime == "native" for node in self.nodes)

    @property
    def num_fallback(self) -> int:
        """Nodes that ONNX Runtime runs."""
        return sum(node.runtime == "onnxruntime" for node in self.nodes)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON."""
        nodes = [{**asdict(node), "bytes": node.nbytes} for node in self.nodes]
        for node in nodes:
            del node["nbytes"]
        return {
            "model": self.model,
            "isa": self.isa,
            "threads": self.threads,
            "scheduler": self.scheduler,
            "streams": list(self.streams),
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "nodes": nodes,
            "stripes": [{**asdict(s), "calls": list(s.calls)} for s in self.stripes],
            "passes": [asdict(record) for record in self.passes],
            "arena_bytes": self.arena_bytes,
            "scratch_bytes": self.scratch_bytes,
            "constant_bytes": self.constant_bytes,
            "dense_weight_bytes": self.dense_weight_bytes,
            "num_allocations": self.num_allocations,
            "num_native": self.num_native,
            "num_fallback": self.num_fallback,
        }

    def __str__(self) -> str:
        lines = [
            f"model {self.model}: {self.num_native} native nodes, {self.num_fallback} in ONNX "
            f"Runtime; {self.isa}, {self.threads} threads",
            f"scheduler {self.scheduler}, {len(self.streams)} streams",
            f"memory: arena {_mib(self.arena_bytes)}, scratch {_mib(self.scratch_bytes)}, "
            f"constants {_mib(self.constant_bytes)} (weights of products as dense fp32: "
            f"{_mib(self.dense_weight_bytes)})",
        ]
        width = max((len(node.name) for node in self.nodes), default=0)
        for node in self.nodes:
            lines.append(
                f"  {node.name:<{min(width, 40)}}  {node.op:<18} {node.kernel:<18} "
                f"{node.layout:<16} {_mib(node.nbytes):>10}  {node.why}"
            )
            lines += [f"      advisory: {text}" for text in node.advisories]
        lines += [stripe_line(number, asdict(s)) for number, s in enumerate(self.stripes)]
        return "\n".join(lines)


def stripe_line(number: int, stripe: Mapping[str, Any]) -> str:
    """One line on a stripe of `Explanation.to_dict()`."""
    return (
        f"stripe {number}: {len(stripe['calls'])} calls, {stripe['calls'][0]} to "
        f"{stripe['calls'][-1]}; {stripe['stripe_panels']} of {stripe['panels']} panels at a time, "
        f"{stripe['segments']} segments, {stripe['recomputed']:.1%} computed twice, "
        f"windows {_mib(stripe['window_bytes'])}, saves {_mib(stripe['saved_bytes'])}"
    )


def _mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:.2f} MiB"
