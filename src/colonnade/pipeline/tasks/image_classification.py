"""Image classification: an image to labels with scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from colonnade.pipeline.classes import class_names, softmax, top_labels
from colonnade.pipeline.images import read_image, spec_of, to_row
from colonnade.pipeline.results import Label
from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Batching, Row, Work
from colonnade.pipeline.task import Prepared
from colonnade.quantization.data.images import ImageSpec


@dataclass(frozen=True)
class Options:
    """How images become arrays, and which labels are told."""

    top_k: int | None = 5
    """Labels in a result, best first; None: all of them."""
    class_names: tuple[str, ...] | None = None
    image: ImageSpec | None = None
    """Size, mean and so on; None: image_spec.yaml or preprocessor_config.json beside the model,
    otherwise the usual ones of ImageNet."""


def build(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    """A path, the bytes of a file, a Pillow image or an array."""
    spec = spec_of(model, options.image, ImageSpec())
    (name,) = model.inputs[:1]
    output = model.output("logits")

    def finish(rows: Sequence[Row]) -> list[Label]:
        logits = rows[0][output].reshape(-1)
        names = class_names(model, options.class_names, logits.size)
        return top_labels(softmax(logits), names, options.top_k or logits.size)

    def prepare(item: object) -> Work[list[Label]]:
        return Work([{name: to_row(read_image(item), spec)}], finish)

    return Prepared(prepare, Batching(sizes))
