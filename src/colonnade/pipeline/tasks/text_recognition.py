"""Text recognition: the image of one line to its text, by CTC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from colonnade.errors import InputError
from colonnade.pipeline.classes import softmax
from colonnade.pipeline.images import read_image, to_row
from colonnade.pipeline.results import Text
from colonnade.pipeline.source import Model
from colonnade.pipeline.stages import Batching, Row, Work, fit
from colonnade.pipeline.task import Prepared
from colonnade.quantization.data.images import ImageSpec

HEIGHT = 48
CENTERED = ImageSpec(mean=(0.5,), std=(0.5,), channels="BGR")
METADATA_KEY = "character"
"""Where PP-OCR models keep their characters, one a line."""


@dataclass(frozen=True)
class Options:
    """What the network reads and writes."""

    characters: str | None = None
    """In the order of the classes, without the blank, which is class 0; None: characters.txt beside
    the model, or what its metadata says."""
    widths: tuple[int, ...] = (160, 320, 640, 1280)
    """Pixels that lines are padded to; the longest is the limit, wider ones are squeezed."""
    image: ImageSpec = CENTERED
    """Scale, mean, std, channels and layout; its size does not count."""


def build(model: Model, options: Options, sizes: tuple[int, ...]) -> Prepared:
    """A path, the bytes of a file, a Pillow image or an array."""
    name, output = model.inputs[0], model.output("logits")
    height = model.fixed(2) or HEIGHT
    widths = tuple(sorted(options.widths))
    characters = _characters(model, options)
    channels = "L" if model.fixed(1) == 1 else options.image.channels

    def finish(rows: Sequence[Row]) -> Text:
        return decode(rows[0][output], characters)

    def prepare(item: object) -> Work[Text]:
        image = read_image(item)
        width = min(max(round(image.width * height / image.height), 1), widths[-1])
        canvas = image.resize((width, height))
        spec = ImageSpec(
            size=(height, width), resize="stretch", scale=options.image.scale,
            mean=options.image.mean, std=options.image.std, layout=options.image.layout,
            channels=channels,
        )  # fmt: skip
        line = to_row(canvas, spec)
        free = fit(width, widths) - width
        # The line's last column goes on: a border of another colour would be read as a character.
        return Work([{name: np.pad(line, ((0, 0), (0, 0), (0, free)), mode="edge")}], finish)

    return Prepared(prepare, Batching(sizes))


def decode(scores: np.ndarray, characters: Sequence[str]) -> Text:
    """The best class of each step, repeats and blanks left out."""
    if scores.shape[-1] != len(characters) + 1:
        raise InputError(
            f"{len(characters)} characters for {scores.shape[-1] - 1} classes of the model "
            "(besides the blank); give characters="
        )
    is_share = bool((scores >= 0).all()) and np.allclose(scores.sum(-1), 1, atol=1e-2)
    shares = scores if is_share else softmax(scores)
    classes = shares.argmax(-1)
    is_new = np.append(True, classes[1:] != classes[:-1]) & (classes != 0)
    text = "".join(characters[int(i) - 1] for i in classes[is_new])
    return Text(text, float(shares.max(-1)[is_new].mean()) if text else 0.0)


def _characters(model: Model, options: Options) -> list[str]:
    if options.characters is not None:
        return list(options.characters)
    file = model.file("characters.txt")
    if file is not None:
        return file.read_text(encoding="utf-8").split("\n")
    found = model.engine.metadata.get(METADATA_KEY)
    if found is None:
        raise InputError("the model does not say which characters it knows; give characters=")
    return [*found.splitlines(), " "]
