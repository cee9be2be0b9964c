"""Texts to rows, through a tokenizer of the `tokenizers` library."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from colonnade.errors import CapabilityError, InputError
from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Batching, Row

LENGTHS = (32, 128)
LENGTH_MAX = 512
"""Default buckets; the last one is what sentence_bert_config.json says, or LENGTH_MAX, but at most
the model's own limit."""
TEXT_CHARS_MAX = 1_000_000
ENCODINGS_MAX = 1024
"""Windows of one text at most."""
HUGE = 1 << 20
"""Tokenizer configurations write such lengths for "no limit"."""
POSITIONS_FROM_2 = ("roberta", "xlm-roberta", "camembert", "mpnet")
"""Kinds of model that count two positions which no token has."""

Cut = Literal["longest_first", "only_first", "only_second"]
"""Which of two texts loses tokens when they are too long."""


@dataclass(frozen=True)
class Encoder:
    """A tokenizer and what the model wants of it. Made once; threads may share it."""

    encode_text: Callable[..., Any]
    inputs: Mapping[str, str]
    """By input of the model: ids, mask, types or positions."""
    dtypes: Mapping[str, np.dtype[np.generic]]
    batching: Batching

    @property
    def length_max(self) -> int:
        """Tokens of a row at most."""
        return max(self.batching.lengths)

    def encode(self, text: str, pair: str | None = None) -> list[Any]:
        """The encodings of a text or two; more than one where windows overlap."""
        for given in (text, pair):
            if given is not None and len(given) > TEXT_CHARS_MAX:
                raise InputError(
                    f"a text of {len(given)} characters; at most {TEXT_CHARS_MAX} are taken"
                )
        try:
            first = self.encode_text(text, pair)
        except Exception as error:  # noqa: BLE001  # the library raises bare Exception
            raise InputError(f"the text cannot be tokenized: {error}") from None
        found = [first, *first.overflowing]
        if len(found) > ENCODINGS_MAX:
            raise InputError(
                f"the text needs {len(found)} windows; at most {ENCODINGS_MAX} are run"
            )
        return found

    def row(self, encoding: Any) -> Row:
        """What the model reads of an encoding."""
        values = {
            "ids": encoding.ids,
            "mask": encoding.attention_mask,
            "types": encoding.type_ids,
            "positions": range(len(encoding.ids)),
        }
        return {
            name: np.asarray(values[kind], self.dtypes[name]) for name, kind in self.inputs.items()
        }


def make_encoder(
    model: Model,
    sequence_length: int | tuple[int, ...] | None,
    sizes: tuple[int, ...],
    cut: Cut = "longest_first",
    stride: int | None = None,
) -> Encoder:
    """The encoder of a model's tokenizer.json; `stride`: tokens that two windows of a long text
    share; without it a long text is cut."""
    tokenizer = _load_tokenizer(model)
    lengths = _lengths(model, sequence_length)
    tokenizer.no_padding()
    shared = stride or 0
    if shared >= max(lengths):
        raise InputError(f"doc_stride {shared} is not below the sequence length {max(lengths)}")
    tokenizer.enable_truncation(max(lengths), stride=shared, strategy=cut)
    inputs = {name: _kind(name) for name in model.inputs}
    pad = model.config.get("pad_token_id")
    pad_id = pad if isinstance(pad, int) else 0
    padding = {name: pad_id if kind == "ids" else 0 for name, kind in inputs.items()}

    def encode(text: str, pair: str | None) -> Any:
        return tokenizer.encode(text, pair)

    dtypes = {name: model.dtype(name) for name in inputs}
    return Encoder(encode, inputs, dtypes, Batching(sizes, lengths, padding))


def check_text(item: object, what: str = "text") -> str:
    """The item if it is a string; InputError otherwise."""
    if not isinstance(item, str):
        raise InputError(f"expected a {what}, got {type(item).__name__}")
    return item


def _load_tokenizer(model: Model) -> Any:
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise CapabilityError(
            "text tasks need the tokenizers library: pip install colonnade[pipeline]"
        ) from None
    path = model.file("tokenizer.json")
    if path is None:
        raise InputError(
            f"no tokenizer.json in {model.folder}; give the folder that has it: folder=..."
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # noqa: BLE001  # the library raises bare Exception
        raise InputError(f"{path}: not a tokenizer file: {error}") from None


def _lengths(model: Model, given: int | tuple[int, ...] | None) -> tuple[int, ...]:
    fixed = model.fixed(1)
    if fixed is not None:
        if given is not None and given not in (fixed, (fixed,)):
            raise InputError(f"sequence_length={given}; the model takes {fixed} only")
        return (fixed,)
    limit = _limit(model)
    if given is None:
        usual = model.settings("sentence_bert_config.json").get("max_seq_length")
        top = min(limit, usual if isinstance(usual, int) else LENGTH_MAX)
        return (*(length for length in LENGTHS if length < top), top)
    lengths = tuple(sorted((given,) if isinstance(given, int) else given))
    if not lengths or lengths[0] < 2 or lengths[-1] > limit:
        raise InputError(
            f"sequence_length={given}; expected lengths from 2 to {limit}, the model's limit"
        )
    return lengths


def _limit(model: Model) -> int:
    """Tokens that the model takes at most."""
    positions = model.config.get("max_position_embeddings")
    if isinstance(positions, int) and model.config.get("model_type") in POSITIONS_FROM_2:
        positions -= 2
    named = model.settings("tokenizer_config.json").get("model_max_length")
    return min([HUGE, *(int(v) for v in (named, positions) if isinstance(v, int | float))])


def _kind(name: str) -> str:
    """What an input of a text model holds, by the words in its name."""
    lower = name.lower()
    words = (("mask", "mask"), ("type", "types"), ("segment", "types"), ("position", "positions"))
    for word, kind in words:
        if word in lower:
            return kind
    if "id" in lower or "token" in lower:
        return "ids"
    raise InputError(
        f"input {name!r}: not known what a text model reads there (ids, mask, type or position by "
        "its name); use the task 'custom'"
    )
