"""MobileNet 1.0, v1 and v2: depthwise 3 x 3 between 1 x 1 convolutions."""

from __future__ import annotations

from pathlib import Path

from models.builders.convolutional import Writer

V1_PAIRS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2),
    (1024, 1),
)  # fmt: skip
"""Of each depthwise and pointwise pair: channels, stride."""
V2_STAGES = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip
"""Of each stage: expansion, channels, blocks, stride of its first block."""
V2_HEAD = 1280


def build_v1(path: Path, side: int = 224) -> None:
    """Write the ONNX file, batch symbolic."""
    writer = Writer(seed=1)
    x = writer.relu(writer.norm(writer.conv("input", 32, 3, 2, 1)))
    for out, stride in V1_PAIRS:
        x = writer.relu(_depthwise(writer, x, stride))
        x = writer.relu(writer.norm(writer.conv(x, out, 1)))
    writer.save(writer.linear(writer.flat_mean(x), 1000), path, side)


def build_v2(path: Path, side: int = 224) -> None:
    """Write the ONNX file, batch symbolic."""
    writer = Writer(seed=2)
    x = writer.relu6(writer.norm(writer.conv("input", 32, 3, 2, 1)))
    for expansion, out, count, first_stride in V2_STAGES:
        for index in range(count):
            x = _inverted_residual(writer, x, expansion, out, first_stride if index == 0 else 1)
    x = writer.relu6(writer.norm(writer.conv(x, V2_HEAD, 1)))
    writer.save(writer.linear(writer.flat_mean(x), 1000), path, side)


def _inverted_residual(writer: Writer, x: str, expansion: int, out: int, stride: int) -> str:
    y = x
    if expansion != 1:
        y = writer.relu6(writer.norm(writer.conv(y, writer.channels[x] * expansion, 1)))
    y = writer.relu6(_depthwise(writer, y, stride))
    y = writer.norm(writer.conv(y, out, 1), variance=4.0)  # sums of blocks stay near 1
    return writer.add(y, x) if stride == 1 and writer.channels[x] == out else y


def _depthwise(writer: Writer, x: str, stride: int) -> str:
    channels = writer.channels[x]
    return writer.norm(writer.conv(x, channels, 3, stride, 1, group=channels))
