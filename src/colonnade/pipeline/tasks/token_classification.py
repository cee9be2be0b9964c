"""Token classification: a text to entities, with where they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np

from colonnade.pipeline.classes import class_names, softmax
from colonnade.pipeline.results import Entity
from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Row, Work
from colonnade.pipeline.task import Prepared
from colonnade.pipeline.text import check_text, make_encoder

Strategy = Literal["none", "simple", "first", "average", "max"]


@dataclass(frozen=True)
class Options:
    """How tokens become entities."""

    aggregation_strategy: Strategy = "none"
    """none: an entity for each token; simple: neighbours of one label join; first, average, max:
    the tokens of a word take the label of the first, of the mean or of the surest before that."""
    ignore_labels: tuple[str, ...] = ("O",)
    stride: int | None = None
    """Tokens that two windows of a long text share; None: a long text is cut."""
    class_names: tuple[str, ...] | None = None
    sequence_length: int | tuple[int, ...] | None = None


@dataclass(frozen=True)
class Token:
    """A token of the text: which word it belongs to, where it is, and its scores by class."""

    word: object
    start: int
    end: int
    scores: np.ndarray


def build(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    """A string."""
    encoder = make_encoder(model, options.sequence_length, sizes, stride=options.stride)
    output = model.output("logits")

    def prepare(item: object) -> Work[list[Entity]]:
        text = check_text(item)
        encodings = encoder.encode(text)
        if options.stride is None:
            del encodings[1:]

        def finish(rows: Sequence[Row]) -> list[Entity]:
            found: list[Entity] = []
            for encoding, row in zip(encodings, rows, strict=True):
                logits = row[output]
                names = class_names(model, options.class_names, logits.shape[-1])
                tokens = tokens_of(encoding, softmax(logits))
                found += entities_of(text, tokens, names, options)
            return found if len(encodings) == 1 else without_overlaps(found)

        return Work([encoder.row(encoding) for encoding in encodings], finish)

    return Prepared(prepare, encoder.batching)


def tokens_of(encoding: Any, scores: np.ndarray) -> list[Token]:
    """The tokens that stand for text."""
    special, words, spans = encoding.special_tokens_mask, encoding.word_ids, encoding.offsets
    return [
        Token(words[i], spans[i][0], spans[i][1], scores[i])
        for i in range(len(special))
        if not special[i]
    ]


def entities_of(
    text: str, tokens: Sequence[Token], names: Sequence[str], options: Options
) -> list[Entity]:
    """Entities by the strategy, without those of ignored labels."""
    strategy = options.aggregation_strategy
    if strategy in ("none", "simple"):
        found = [_entity(text, [token], names, token.scores) for token in tokens]
    else:
        groups = [list(group) for _, group in groupby(tokens, key=lambda token: token.word)]
        found = [_entity(text, g, names, _word_scores(g, strategy)) for g in groups]
    if strategy != "none":
        found = _joined(text, found)
    return [entity for entity in found if entity.label not in options.ignore_labels]


def without_overlaps(found: Sequence[Entity]) -> list[Entity]:
    """Of entities that two windows both saw, the longer one, then the surer one."""
    kept: list[Entity] = []
    for entity in sorted(found, key=lambda e: e.start):
        if kept and kept[-1].start <= entity.start < kept[-1].end:
            kept[-1] = max(kept[-1], entity, key=lambda e: (e.end - e.start, e.score))
        else:
            kept.append(entity)
    return kept


def _word_scores(tokens: Sequence[Token], strategy: Strategy) -> np.ndarray:
    if strategy == "first":
        return tokens[0].scores
    if strategy == "average":
        return np.asarray(np.mean([token.scores for token in tokens], axis=0))
    return max(tokens, key=lambda token: float(token.scores.max())).scores


def _entity(text: str, tokens: Sequence[Token], names: Sequence[str], scores: np.ndarray) -> Entity:
    start, end, label = tokens[0].start, tokens[-1].end, int(scores.argmax())
    return Entity(names[label], float(scores[label]), text[start:end], start, end)


def _joined(text: str, parts: Sequence[Entity]) -> list[Entity]:
    """Neighbours of one label as one entity; a label that begins with B- starts a new one."""
    groups: list[list[Entity]] = []
    for part in parts:
        is_next = bool(groups) and _tag(groups[-1][-1].label) == _tag(part.label)
        if is_next and not part.label.startswith("B-"):
            groups[-1].append(part)
        else:
            groups.append([part])
    return [_merge(text, group) for group in groups]


def _merge(text: str, group: Sequence[Entity]) -> Entity:
    start, end = group[0].start, group[-1].end
    score = float(np.mean([part.score for part in group]))
    merged = replace(group[0], score=score, text=text[start:end], end=end)
    return replace(merged, label=group[0].label.split("-", 1)[-1])


def _tag(label: str) -> str:
    return label[2:] if label.startswith(("B-", "I-")) else label
