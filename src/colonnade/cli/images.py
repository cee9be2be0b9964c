"""How images are read, as the options of a command say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from colonnade.errors import InputError
from colonnade.quantization.data.images import ImageSpec, read_spec


def choose_images(spec: Path | None, options: Sequence[str] | None) -> ImageSpec:
    """The file of --image-spec with what each --image KEY=VALUE replaces. Raises InputError."""
    pairs = {}
    for option in options or ():
        key, separator, value = option.partition("=")
        if not separator:
            raise InputError(f"--image {option!r}: expected KEY=VALUE, as size=224")
        pairs[key] = value
    return read_spec(spec, pairs)
