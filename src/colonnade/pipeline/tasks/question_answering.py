"""Extractive question answering: a question and a context to stretches of the context."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from colonnade.errors import InputError
from colonnade.pipeline.classes import best, softmax
from colonnade.pipeline.results import Answer
from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Row, Work
from colonnade.pipeline.task import Prepared
from colonnade.pipeline.text import Encoder, check_text, make_encoder


@dataclass(frozen=True)
class Options:
    """How answers are found and chosen."""

    doc_stride: int = 128
    """Tokens that two windows of a long context share; at most half of a window."""
    max_question_length: int = 64
    """Tokens; a longer question is cut."""
    max_answer_length: int = 15
    """Tokens."""
    n_best_size: int = 1
    """Answers in a result, best first."""
    version_2_with_negative: bool = False
    """The context may hold no answer, as in SQuAD 2: an empty one competes with the others."""
    sequence_length: int | tuple[int, ...] | None = None


@dataclass(frozen=True)
class Window:
    """Scores of the tokens of one window, and where each is in the context (None: not in it)."""

    starts: np.ndarray
    ends: np.ndarray
    spans: Sequence[tuple[int, int] | None]


def build(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    """{"question": ..., "context": ...}, or a tuple of both."""
    longest = max(make_encoder(model, options.sequence_length, sizes).batching.lengths)
    stride = min(options.doc_stride, longest // 4)
    encoder = make_encoder(model, options.sequence_length, sizes, "only_second", stride)
    starts, ends = model.output("start_logits"), model.output("end_logits", "logits_1")
    if starts == ends:
        raise InputError(
            f"question answering needs outputs start_logits and end_logits; the model has "
            f"{[info.name for info in model.engine.outputs]}"
        )

    def prepare(item: object) -> Work[list[Answer]]:
        question, context = _parts(item)
        encodings = encoder.encode(_cut_question(encoder, question, options), context)

        def finish(rows: Sequence[Row]) -> list[Answer]:
            windows = [
                _window(encoding, row[starts], row[ends])
                for encoding, row in zip(encodings, rows, strict=True)
            ]
            return choose_answers(context, windows, options)

        return Work([encoder.row(encoding) for encoding in encodings], finish)

    return Prepared(prepare, encoder.batching)


def choose_answers(context: str, windows: Sequence[Window], options: Options) -> list[Answer]:
    """The best stretches over all windows; the same stretch counts once, with its best score."""
    scored: dict[tuple[int, int], float] = {}
    none_score = 1.0
    for window in windows:
        none_score = min(none_score, float(window.starts[0] * window.ends[0]))
        for (start, end), score in _candidates(window, options):
            scored[start, end] = max(score, scored.get((start, end), 0.0))
    answers = [Answer(context[s:e], score, s, e) for (s, e), score in scored.items()]
    if options.version_2_with_negative or not answers:
        answers.append(Answer("", none_score, 0, 0))
    return sorted(answers, key=lambda answer: -answer.score)[: options.n_best_size]


def _candidates(window: Window, options: Options) -> list[tuple[tuple[int, int], float]]:
    """The window's best stretches in characters, with start score times end score."""
    inside = np.array([span is not None for span in window.spans])
    scores = np.outer(window.starts * inside, window.ends * inside)
    scores = np.tril(np.triu(scores), options.max_answer_length - 1)
    flat = scores.reshape(-1)
    found = []
    for place in best(flat, options.n_best_size):
        first, last = divmod(place, scores.shape[1])
        begin, end = window.spans[first], window.spans[last]
        if begin is not None and end is not None and last >= first:
            found.append(((begin[0], end[1]), float(flat[place])))
    return found


def _window(encoding: Any, start_logits: np.ndarray, end_logits: np.ndarray) -> Window:
    """Probabilities over the tokens of the context and the first one, which means no answer."""
    count = len(encoding.ids)
    spans = [
        span if sequence == 1 and not special else None
        for span, sequence, special in zip(
            encoding.offsets, encoding.sequence_ids, encoding.special_tokens_mask, strict=True
        )
    ]
    allowed = np.array([span is not None for span in spans])
    allowed[0] = True
    hidden = np.where(allowed, 0.0, -1e9)
    return Window(
        softmax(start_logits[:count] + hidden), softmax(end_logits[:count] + hidden), spans
    )


def _parts(item: object) -> tuple[str, str]:
    if isinstance(item, Mapping):
        unknown = [key for key in item if key not in ("question", "context")]
        if unknown or len(item) != 2:
            raise InputError(f"expected {{'question', 'context'}}, got the keys {list(item)}")
        question, context = item["question"], item["context"]
    elif isinstance(item, tuple | list) and len(item) == 2:
        question, context = item
    else:
        raise InputError(
            f"expected {{'question', 'context'}} or a pair of texts, got {type(item).__name__}"
        )
    for name, text in (("question", question), ("context", context)):
        if not check_text(text, name).strip():
            raise InputError(f"the {name} is empty")
    return question, context


def _cut_question(encoder: Encoder, question: str, options: Options) -> str:
    """The question, at most so many tokens that half of a window is left for the context."""
    allowed = min(options.max_question_length, encoder.length_max // 4)
    encoding = encoder.encode(question)[0]
    spans = [
        span
        for span, special in zip(encoding.offsets, encoding.special_tokens_mask, strict=True)
        if not special
    ]
    return question if len(spans) <= allowed else question[: spans[allowed - 1][1]]
