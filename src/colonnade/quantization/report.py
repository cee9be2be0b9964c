"""What quantize() did, as data: by layer, by output, and the speed where it was measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class LayerRecord:
    """A layer that could be quantized, or that people expect to be."""

    name: str
    op: str
    precision: Literal["8-bit", "float32"]
    why: str
    """Why it stays in float32; "" in 8 bits."""
    kernel: str
    """What the engine runs it on."""
    sqnr_db: float | None
    """At its output, with all that was quantized before it; None for what is not compared."""
    sensitivity_db: float | None
    """At the model's outputs, with this layer alone in 8 bits; None when it was not asked for."""
    bytes_before: int
    """Of weights and bias."""
    bytes_after: int
    zeros: float
    """Share of weights that are 0."""


@dataclass(frozen=True)
class OutputRecord:
    """How far an output of the quantized model lies from the float32 one's."""

    name: str
    sqnr_db: float
    max_error: float
    peak: float
    """Largest magnitude in float32."""


@dataclass(frozen=True)
class Speed:
    """Medians of interleaved runs on the first sample."""

    float32_ms: float
    quantized_ms: float

    @property
    def ratio(self) -> float:
        """How many times as fast the quantized model is."""
        return self.float32_ms / self.quantized_ms


@dataclass(frozen=True)
class Report:
    """The result of a quantization."""

    model: str
    method: str
    samples: int
    layers: tuple[LayerRecord, ...]
    outputs: tuple[OutputRecord, ...]
    bytes_before: int
    """Of all constants."""
    bytes_after: int
    speed: Speed | None
    targets: tuple[str, ...]
    """What was asked for, and whether it holds."""

    @property
    def num_quantized(self) -> int:
        """Layers in 8 bits."""
        return sum(layer.precision == "8-bit" for layer in self.layers)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, ready for JSON but for infinities."""
        found = asdict(self)
        found["num_quantized"] = self.num_quantized
        found["layers"] = list(found["layers"])
        found["outputs"] = list(found["outputs"])
        found["targets"] = list(self.targets)
        if self.speed is not None:
            found["speed"]["ratio"] = self.speed.ratio
        return found
