"""Zero-shot classification: labels that the model was not trained on, by entailment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.errors import InputError
from colonnade.pipeline.classes import softmax, top_labels
from colonnade.pipeline.results import Label
from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Row, Work
from colonnade.pipeline.task import Prepared
from colonnade.pipeline.text import check_text, make_encoder

LABELS_MAX = 256


@dataclass(frozen=True)
class Options:
    """The labels, and how each becomes a statement for the model to judge."""

    labels: tuple[str, ...] = ()
    """Used where the input does not bring its own."""
    hypothesis_template: str = "This example is {}."
    multi_label: bool = False
    """Several labels may be true: each is scored by itself."""
    entailment_index: int | None = None
    """Class of the model that means "follows"; None: the one that is called entail... ."""
    contradiction_index: int | None = None
    sequence_length: int | tuple[int, ...] | None = None


def build(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    """A string, or {"text": ..., "labels": [...]}."""
    encoder = make_encoder(model, options.sequence_length, sizes, "only_first")
    output = model.output("logits")
    entailment, contradiction = _indices(model, options)
    _statement(options.hypothesis_template, "x")

    def prepare(item: object) -> Work[list[Label]]:
        text, labels = _parts(item, options.labels)

        def finish(rows: Sequence[Row]) -> list[Label]:
            logits = np.stack([row[output] for row in rows])
            scores = _scores(logits, entailment, contradiction, options.multi_label)
            return top_labels(scores, labels, len(labels))

        hypotheses = [_statement(options.hypothesis_template, label) for label in labels]
        pairs = [encoder.encode(text, hypothesis)[0] for hypothesis in hypotheses]
        return Work([encoder.row(pair) for pair in pairs], finish)

    return Prepared(prepare, encoder.batching)


def _scores(logits: np.ndarray, entailment: int, contradiction: int, is_multi: bool) -> np.ndarray:
    """One label against the others, or each against its contradiction."""
    if is_multi or len(logits) == 1:
        return softmax(logits[:, [contradiction, entailment]])[:, 1]
    return softmax(logits[:, entailment])


def _parts(item: object, defaults: tuple[str, ...]) -> tuple[str, tuple[str, ...]]:
    if not isinstance(item, Mapping):
        text, labels = item, list(defaults)
    else:
        unknown = [key for key in item if key not in ("text", "labels")]
        if unknown or "text" not in item:
            raise InputError(f"expected {{'text', 'labels'}}, got the keys {list(item)}")
        text, labels = item["text"], item.get("labels", defaults)
    if isinstance(labels, str):
        labels = [part.strip() for part in labels.split(",")]
    if not isinstance(labels, tuple | list) or not 1 <= len(labels) <= LABELS_MAX:
        raise InputError(f"labels={labels!r}; expected a list of 1 to {LABELS_MAX} texts")
    return check_text(text), tuple(check_text(label, "label") for label in labels)


def _statement(template: str, label: str) -> str:
    try:
        made = template.format(label)
    except (IndexError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f"hypothesis_template {template!r}: {error!r}") from None
    if made == template:
        raise InputError(f"hypothesis_template {template!r} has no {{}} for the label")
    return made


def _indices(model: Model, options: Options) -> tuple[int, int]:
    """Entailment and contradiction; the first and last class where names do not say."""
    found = model.config.get("id2label")
    names = {int(k): str(v).lower() for k, v in found.items()} if isinstance(found, Mapping) else {}
    entailment = options.entailment_index
    if entailment is None:
        entailment = next((i for i, name in names.items() if name.startswith("entail")), None)
    if entailment is None:
        raise InputError(
            f"config.json names no class entail...: {list(names.values())}; give entailment_index="
        )
    contradiction = options.contradiction_index
    if contradiction is None:
        named = (i for i, name in names.items() if name.startswith(("contra", "not_entail")))
        contradiction = next(named, -1 if entailment == 0 else 0)
    return entailment, contradiction
