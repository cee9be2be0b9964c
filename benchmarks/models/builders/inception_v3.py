"""Inception v3: parallel branches joined by Concat; the letters are those of its modules."""

from __future__ import annotations

from pathlib import Path

from models.builders.convolutional import Pair, Writer

EPSILON = 1e-3
Layer = tuple[int, int | Pair, int, int | Pair]
"""Channels, kernel, stride, padding."""


def build(path: Path, side: int = 299) -> None:
    """Write the ONNX file, batch symbolic."""
    writer = Writer(seed=4, epsilon=EPSILON)
    x = _stem(writer)
    for pooled in (32, 64, 64):
        x = _a(writer, x, pooled)
    x = _b(writer, x)
    for middle in (128, 160, 160, 192):
        x = _c(writer, x, middle)
    x = _d(writer, x)
    for _ in range(2):
        x = _e(writer, x)
    writer.save(writer.linear(writer.flat_mean(x), 1000), path, side)


def _stem(writer: Writer) -> str:
    x = _chain(writer, "input", (32, 3, 2, 0), (32, 3, 1, 0), (64, 3, 1, 1))
    x = _chain(writer, writer.max_pool(x), (80, 1, 1, 0), (192, 3, 1, 0))
    return writer.max_pool(x)


def _a(writer: Writer, x: str, pooled: int) -> str:
    return writer.concat(
        [
            _chain(writer, x, (64, 1, 1, 0)),
            _chain(writer, x, (48, 1, 1, 0), (64, 5, 1, 2)),
            _chain(writer, x, (64, 1, 1, 0), (96, 3, 1, 1), (96, 3, 1, 1)),
            _chain(writer, writer.mean_pool(x), (pooled, 1, 1, 0)),
        ]
    )


def _b(writer: Writer, x: str) -> str:
    return writer.concat(
        [
            _chain(writer, x, (384, 3, 2, 0)),
            _chain(writer, x, (64, 1, 1, 0), (96, 3, 1, 1), (96, 3, 2, 0)),
            writer.max_pool(x),
        ]
    )


def _c(writer: Writer, x: str, middle: int) -> str:
    wide, tall = _wide(middle), _tall(middle)
    return writer.concat(
        [
            _chain(writer, x, (192, 1, 1, 0)),
            _chain(writer, x, (middle, 1, 1, 0), wide, _tall(192)),
            _chain(writer, x, (middle, 1, 1, 0), tall, wide, tall, _wide(192)),
            _chain(writer, writer.mean_pool(x), (192, 1, 1, 0)),
        ]
    )


def _d(writer: Writer, x: str) -> str:
    return writer.concat(
        [
            _chain(writer, x, (192, 1, 1, 0), (320, 3, 2, 0)),
            _chain(writer, x, (192, 1, 1, 0), _wide(192), _tall(192), (192, 3, 2, 0)),
            writer.max_pool(x),
        ]
    )


def _e(writer: Writer, x: str) -> str:
    middle = _chain(writer, x, (384, 1, 1, 0))
    double = _chain(writer, x, (448, 1, 1, 0), (384, 3, 1, 1))
    split = [
        _chain(writer, y, layer)
        for y in (middle, double)
        for layer in (_wide(384, 3), _tall(384, 3))
    ]
    pooled = _chain(writer, writer.mean_pool(x), (192, 1, 1, 0))
    return writer.concat([_chain(writer, x, (320, 1, 1, 0)), *split, pooled])


def _wide(out: int, size: int = 7) -> Layer:
    return out, (1, size), 1, (0, size // 2)


def _tall(out: int, size: int = 7) -> Layer:
    return out, (size, 1), 1, (size // 2, 0)


def _chain(writer: Writer, x: str, *layers: Layer) -> str:
    """Convolutions, each with batch normalisation and relu."""
    for out, kernel, stride, pad in layers:
        x = writer.relu(writer.norm(writer.conv(x, out, kernel, stride, pad)))
    return x
