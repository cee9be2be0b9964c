"""ResNet-50 v1.5 geometry (stride in the 3x3) with random weights: for speed, not for answers."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from models.builders.export import export_legacy

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))
"""Of each stage: middle channels, blocks, stride of its first block."""
EXPANSION = 4
SEED = 50


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up, added to the input or to its projection."""

    def __init__(self, channels: int, middle: int, stride: int) -> None:
        super().__init__()
        out = middle * EXPANSION
        self.reduce = conv_norm(channels, middle, 1)
        self.spatial = conv_norm(middle, middle, 3, stride)
        self.expand = conv_norm(middle, out, 1)
        self.project: nn.Module = nn.Identity()
        if stride != 1 or channels != out:
            self.project = conv_norm(channels, out, 1, stride)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.reduce(x))
        y = self.relu(self.spatial(y))
        y = self.expand(y)
        added: Tensor = self.relu(y + self.project(x))
        return added


class ResNet50(nn.Module):
    """25.6 M parameters, 4.1 G multiply-adds at 224 x 224."""

    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem = nn.Sequential(conv_norm(3, 64, 7, 2), nn.ReLU(), nn.MaxPool2d(3, 2, 1))
        blocks: list[nn.Module] = []
        channels = 64
        for middle, count, stride in STAGES:
            for index in range(count):
                blocks.append(Bottleneck(channels, middle, stride if index == 0 else 1))
                channels = middle * EXPANSION
        self.blocks = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classify = nn.Linear(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        features = self.pool(self.blocks(self.stem(x))).flatten(1)
        logits: Tensor = self.classify(features)
        return logits


def conv_norm(channels: int, out: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """A convolution without bias and its batch normalisation."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out))


def randomise(model: nn.Module, seed: int) -> None:
    """He-scaled weights and batch statistics that are neither 0 nor 1; activations stay near 1."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, 0.0, module.in_features**-0.5, generator=generator)
            nn.init.normal_(module.bias, 0.0, 0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            _randomise_norm(module, generator)
    for module in model.modules():
        if isinstance(module, Bottleneck):
            _halve_scale(module.expand)


def _randomise_norm(norm: nn.BatchNorm2d, generator: torch.Generator) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    nn.init.uniform_(norm.weight, 0.5, 1.5, generator=generator)
    nn.init.normal_(norm.bias, 0.0, 0.2, generator=generator)
    nn.init.normal_(norm.running_mean, 0.0, 0.3, generator=generator)
    nn.init.uniform_(norm.running_var, 0.5, 2.0, generator=generator)


def _halve_scale(expand: nn.Sequential) -> None:
    """The residual sum of a stage would grow with its blocks otherwise."""
    norm = expand[1]
    assert isinstance(norm, nn.BatchNorm2d)
    with torch.no_grad():
        norm.weight.mul_(0.5)


def build(path: Path) -> None:
    """Write the ONNX file; batch normalisation stays a node of its own."""
    model = ResNet50().eval()
    randomise(model, SEED)
    export_legacy(
        model,
        (torch.zeros(2, 3, 224, 224),),
        path,
        inputs={"input": {0: "batch"}},
        outputs={"logits": {0: "batch"}},
    )
