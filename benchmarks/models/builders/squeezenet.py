"""SqueezeNet 1.0: fire modules, convolutions with a bias and no batch normalisation."""

from __future__ import annotations

from pathlib import Path

from models.builders.convolutional import Writer

STAGES = (
    ((16, 64), (16, 64), (32, 128)),
    ((32, 128), (48, 192), (48, 192), (64, 256)),
    ((64, 256),),
)
"""Fire modules between poolings: channels squeezed to, channels of each of the two halves."""


def build(path: Path, side: int = 224) -> None:
    """Write the ONNX file, batch symbolic."""
    writer = Writer(seed=3)
    x = writer.relu(writer.conv("input", 96, 7, 2, bias=True))
    for stage in STAGES:
        x = writer.max_pool(x, ceil=True)
        for squeezed, half in stage:
            x = _fire(writer, x, squeezed, half)
    x = writer.relu(writer.conv(x, 1000, 1, bias=True))
    writer.save(writer.flat_mean(x), path, side)


def _fire(writer: Writer, x: str, squeezed: int, half: int) -> str:
    x = writer.relu(writer.conv(x, squeezed, 1, bias=True))
    left = writer.relu(writer.conv(x, half, 1, bias=True))
    right = writer.relu(writer.conv(x, half, 3, pad=1, bias=True))
    return writer.concat([left, right])
