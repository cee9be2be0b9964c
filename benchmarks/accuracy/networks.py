"""Small networks for Fashion-MNIST, and which of their weights a recipe prunes."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MLP(nn.Module):
    """784 - 128 - 128 - 10; the two hidden layers are pruned."""

    prunable = ("hidden.0.weight", "hidden.2.weight")

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU())
        self.head = nn.Linear(128, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.hidden(images.flatten(1)))
        return logits


class ViT(nn.Module):
    """16 patches of 7 x 7, width 64, two blocks; the linear layers of their MLPs are pruned."""

    prunable = tuple(f"blocks.{block}.mlp.{layer}.weight" for block in (0, 1) for layer in (0, 2))

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, width, 7, stride=7)
        self.positions = nn.Parameter(0.02 * torch.randn(1, 16, width))
        self.blocks = nn.ModuleList(_Block(width) for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        tokens = self.patches(images).flatten(2).transpose(1, 2) + self.positions
        for block in self.blocks:
            tokens = block(tokens)
        logits: Tensor = self.head(self.norm(tokens).mean(1))
        return logits


class _Block(nn.Module):
    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        count, length, width = tokens.shape
        qkv = self.qkv(self.norm1(tokens)).reshape(count, length, 3, self.heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        attended = nn.functional.scaled_dot_product_attention(query, key, value)
        tokens = tokens + self.out(attended.transpose(1, 2).reshape(count, length, width))
        shown: Tensor = tokens + self.mlp(self.norm2(tokens))
        return shown


class ResNet(nn.Module):
    """A stem and three residual stages of one block each: `width`, twice and four times as many
    channels."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1, stride=2, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.stages = nn.Sequential(
            _Residual(width, width, 1),
            _Residual(width, 2 * width, 2),
            _Residual(2 * width, 4 * width, 2),
        )
        self.head = nn.Linear(4 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        logits: Tensor = self.head(self.stages(self.stem(images)).mean((2, 3)))
        return logits


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1, self.norm2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.relu1, self.relu2 = nn.ReLU(), nn.ReLU()
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, values: Tensor) -> Tensor:
        inner = self.norm2(self.conv2(self.relu1(self.norm1(self.conv1(values)))))
        shown: Tensor = self.relu2(inner + self.shortcut(values))
        return shown


NETWORKS: dict[str, type[MLP | ViT]] = {"mlp": MLP, "vit": ViT}
"""The networks of the N:M comparison."""
