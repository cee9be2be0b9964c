"""ResNet v2: batch normalisation and relu stand in front of each convolution."""

from __future__ import annotations

from pathlib import Path

from models.builders.convolutional import Writer

BLOCKS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Of each depth: the blocks of each stage."""
MIDDLE = (64, 128, 256, 512)
EXPANSION = 4
SHALLOW = 18
"""Has two 3 x 3 in a block; the deeper ones 1 x 1, 3 x 3, 1 x 1."""


def build(path: Path, depth: int, side: int = 224) -> None:
    """Write the ONNX file, batch symbolic."""
    writer = Writer(seed=depth)
    x = writer.conv(writer.norm("input"), 64, 7, 2, 3)
    x = writer.max_pool(writer.relu(writer.norm(x)), pad=1)
    variance = 1.0
    for stage, (middle, count) in enumerate(zip(MIDDLE, BLOCKS[depth], strict=True)):
        for index in range(count):
            stride = 2 if stage > 0 and index == 0 else 1
            out = middle if depth == SHALLOW else middle * EXPANSION
            is_projected = stride != 1 or writer.channels[x] != out
            x = _block(writer, x, middle, out, stride, variance)
            variance = 2.0 if is_projected else variance + 1.0  # each branch adds its own 1
    x = writer.relu(writer.norm(x, variance))
    writer.save(writer.linear(writer.flat_mean(x), 1000), path, side)


def _block(writer: Writer, x: str, middle: int, out: int, stride: int, variance: float) -> str:
    """The branch added to its input, or to a projection of the normalised input."""
    y = writer.relu(writer.norm(x, variance))
    is_projected = stride != 1 or writer.channels[x] != out
    shortcut = writer.conv(y, out, 1, stride) if is_projected else x
    if out == middle:
        y = writer.conv(y, middle, 3, stride, 1)
        y = writer.conv(writer.relu(writer.norm(y)), out, 3, 1, 1)
    else:
        y = writer.conv(y, middle, 1)
        y = writer.conv(writer.relu(writer.norm(y)), middle, 3, stride, 1)
        y = writer.conv(writer.relu(writer.norm(y)), out, 1)
    return writer.add(y, shortcut)
