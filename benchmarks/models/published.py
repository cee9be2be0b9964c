"""Convolution networks of a published table of fused and 8-bit speed, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from models.requirements import require


@dataclass(frozen=True)
class Network:
    """What writes its file, for images of any side."""

    summary: str
    write: Callable[[Path, int], None]
    side: int = 224


def _resnet(depth: int, path: Path, side: int) -> None:
    require("onnx", f"building resnet{depth}_v2")
    from models.builders import resnet_v2

    resnet_v2.build(path, depth, side)


def _mobilenet_v1(path: Path, side: int) -> None:
    require("onnx", "building mobilenet_v1")
    from models.builders import mobilenet

    mobilenet.build_v1(path, side)


def _mobilenet_v2(path: Path, side: int) -> None:
    require("onnx", "building mobilenet_v2")
    from models.builders import mobilenet

    mobilenet.build_v2(path, side)


def _squeezenet(path: Path, side: int) -> None:
    require("onnx", "building squeezenet1_0")
    from models.builders import squeezenet

    squeezenet.build(path, side)


def _inception_v3(path: Path, side: int) -> None:
    require("onnx", "building inception_v3")
    from models.builders import inception_v3

    inception_v3.build(path, side)


NETWORKS = {
    "resnet18_v2": Network("ResNet-18 v2", partial(_resnet, 18)),
    "resnet50_v2": Network("ResNet-50 v2", partial(_resnet, 50)),
    "resnet101_v2": Network("ResNet-101 v2", partial(_resnet, 101)),
    "resnet152_v2": Network("ResNet-152 v2", partial(_resnet, 152)),
    "mobilenet_v1": Network("MobileNet v1 1.0", _mobilenet_v1),
    "mobilenet_v2": Network("MobileNet v2 1.0", _mobilenet_v2),
    "squeezenet1_0": Network("SqueezeNet 1.0", _squeezenet),
    "inception_v3": Network("Inception v3", _inception_v3, side=299),
}
