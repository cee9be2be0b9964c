"""Samples from a text file, one a line, through a tokenizer of the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from colonnade.errors import CapabilityError, InputError
from colonnade.ir import Graph
from colonnade.quantization.data.source import Sample, Source

LENGTH_STEP = 32
"""Samples are padded to a multiple, so that few lengths are planned."""


def text_source(
    path: Path, tokenizer: Path, graph: Graph, length_max: int, *, is_full: bool = False
) -> Source:
    """One sample for each line that is not blank, cut to `length_max` tokens; with `is_full`
    padded to as many."""
    encode = _load_tokenizer(tokenizer)
    makers = {name: _maker(graph, name) for name in graph.inputs}

    def read() -> Iterator[Sample]:
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not a readable text file (UTF-8): {error}") from None
        for number, line in enumerate(lines, start=1):
            if line.strip():
                arrays = _encode_line(encode(line), length_max, length_max if is_full else 1)
                made = {name: make(arrays) for name, make in makers.items()}
                yield Sample(f"{path}, line {number}", made)

    return read


def _load_tokenizer(path: Path) -> Callable[[str], Any]:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise CapabilityError(
            "text needs the tokenizers library: pip install tokenizers (or colonnade[quantize])"
        ) from None
    try:
        found = Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001  # the library raises bare Exception
        raise InputError(f"{path}: not a tokenizer file (tokenizer.json): {error}") from None
    found.no_padding()
    found.no_truncation()
    return found.encode


def _encode_line(encoded: Any, length_max: int, length_min: int) -> dict[str, np.ndarray]:
    """ids, attention mask, type ids and positions, [1, length]; padding is 0."""
    count = min(len(encoded.ids), length_max)
    length = max(min(-(-count // LENGTH_STEP) * LENGTH_STEP, length_max), length_min)
    made = {key: np.zeros((1, length), np.int64) for key in ("ids", "mask", "types")}
    made["ids"][0, :count] = encoded.ids[:count]
    made["mask"][0, :count] = 1
    made["types"][0, :count] = encoded.type_ids[:count]
    made["positions"] = np.arange(length)[None]
    return made


def _maker(graph: Graph, name: str) -> Callable[[dict[str, np.ndarray]], np.ndarray]:
    """What an input of a text model holds, by the words in its name."""
    lower = name.lower()
    if "mask" in lower:
        key = "mask"
    elif "type" in lower or "segment" in lower:
        key = "types"
    elif "position" in lower:
        key = "positions"
    elif "id" in lower or "token" in lower:
        key = "ids"
    else:
        raise InputError(
            f"input {name!r}: not known what a text model reads there (ids, mask, type or position "
            "by its name); give .npz files or a function instead of a text file"
        )
    kind = graph.dtype(name).numpy
    return lambda arrays: arrays[key].astype(kind)
