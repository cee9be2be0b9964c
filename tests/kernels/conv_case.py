"""A convolution to test: its sizes, and what they give."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    batch: int
    channels: int
    size: tuple[int, int]
    outs: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    group: int = 1

    @property
    def out_size(self) -> tuple[int, int]:
        sizes = []
        for axis in range(2):
            span = (self.kernel[axis] - 1) * self.dilation[axis] + 1
            padded = self.size[axis] + self.pads[axis] + self.pads[axis + 2]
            sizes.append((padded - span) // self.stride[axis] + 1)
        return sizes[0], sizes[1]

    def shape(self, transposed: bool = False) -> tuple[int, ...]:
        image, out = (self.out_size, self.size) if transposed else (self.size, self.out_size)
        channels = (self.outs, self.channels) if transposed else (self.channels, self.outs)
        return (
            self.batch, channels[0], *image, channels[1], *out, *self.kernel, *self.stride,
            *self.dilation, self.pads[0], self.pads[1], self.group,
        )  # fmt: skip
