"""Samples from a folder of images, by a specification of how they become arrays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from colonnade.errors import CapabilityError, InputError
from colonnade.quantization.data.source import Sample, Source

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"})

WORDS = {
    "resize": ("crop", "stretch", "pad"),
    "filter": ("bilinear", "bicubic", "nearest"),
    "layout": ("NCHW", "NHWC"),
    "channels": ("RGB", "BGR", "L"),
}
"""Values of the keys that are words."""


@dataclass(frozen=True)
class ImageSpec:
    """From a file to an array: resize, crop, (pixel * scale - mean) / std, order of the axes."""

    size: tuple[int, int] = (224, 224)
    """Height and width of the array."""
    resize: str = "crop"
    """stretch: to `size` whatever the proportions; crop: keep them and cut the middle out; pad:
    keep them and fill with black."""
    crop_share: float = 0.875
    """With "crop": size / this is what the shorter side is resized to."""
    filter: str = "bilinear"
    scale: float = 1 / 255
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    """In units of scaled pixels, by channel."""
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    layout: str = "NCHW"
    channels: str = "RGB"
    """Order of the channels; L is one grey channel."""


def read_spec(path: Path | None, options: Mapping[str, str]) -> ImageSpec:
    """The specification of a YAML file, with some of its keys replaced by texts.

    Raises InputError for an unknown key or a value that it cannot have.
    """
    given: dict[str, Any] = {} if path is None else _read_yaml(path)
    given.update({key: _parse(text) for key, text in options.items()})
    known = {field.name for field in fields(ImageSpec)}
    where = "image specification" if path is None else str(path)
    for key in given:
        if key not in known:
            raise InputError(f"{where}: unknown key {key!r}; it knows {', '.join(sorted(known))}")
    return _checked(where, {key: _tuple(key, value) for key, value in given.items()})


def image_source(folder: Path, spec: ImageSpec, input_name: str) -> Source:
    """One sample for each image below the folder, in the order of the paths."""
    files = sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES)

    def read() -> Iterator[Sample]:
        for file in files:
            yield Sample(str(file), {input_name: load_image(file, spec)})

    return read


def load_image(file: Path, spec: ImageSpec) -> np.ndarray:
    """float32 array of one image, with a batch axis of 1."""
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise CapabilityError(
            "images need Pillow: pip install pillow (or colonnade[quantize])"
        ) from None
    try:
        with Image.open(file) as opened:
            image = opened.convert("L" if spec.channels == "L" else "RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise InputError(f"{file}: not a readable image: {error}") from None
    return image_array(image, spec)


def image_array(image: Image, spec: ImageSpec) -> np.ndarray:
    """float32 array of an image that has the specification's channels, with a batch axis of 1."""
    pixels = np.asarray(_resized(image, spec), np.float32)
    pixels = pixels.reshape(*spec.size, -1)
    if spec.channels == "BGR":
        pixels = pixels[..., ::-1]
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    values = (pixels * np.float32(spec.scale) - mean) / std
    if spec.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None], np.float32)


def _resized(image: Image, spec: ImageSpec) -> Image:
    from PIL import Image as Images

    how = Images.Resampling[spec.filter.upper()]
    height, width = spec.size
    if spec.resize == "stretch":
        return image.resize((width, height), how)
    ratios = (width / image.width, height / image.height)
    ratio = min(ratios) if spec.resize == "pad" else max(ratios) / spec.crop_share
    fitted = (max(round(image.width * ratio), 1), max(round(image.height * ratio), 1))
    left, top = (fitted[0] - width) // 2, (fitted[1] - height) // 2
    # A box beyond the image is filled with black.
    return image.resize(fitted, how).crop((left, top, left + width, top + height))


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise CapabilityError(
            "an image specification file needs PyYAML: pip install pyyaml (or colonnade[quantize])"
        ) from None
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: not a readable YAML file: {error}") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: expected keys and values, got {type(found).__name__}")
    return {str(key): value for key, value in found.items()}


def _parse(text: str) -> object:
    """A number, several joined by commas or x, or the text itself."""
    parts = text.replace("x", ",").split(",") if text[:1].isdigit() else text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        return text
    return numbers[0] if len(numbers) == 1 else numbers


def _tuple(key: str, value: object) -> object:
    if key not in ("size", "mean", "std"):
        return value
    items = tuple(value) if isinstance(value, list | tuple) else (value,)
    if key != "size":
        return items
    return (items[0], items[0]) if len(items) == 1 else items


def _checked(where: str, given: dict[str, Any]) -> ImageSpec:
    for key, allowed in WORDS.items():
        if key in given and given[key] not in allowed:
            raise InputError(f"{where}: {key}={given[key]!r}; it is one of {', '.join(allowed)}")
    try:
        numbers: dict[str, Any] = {
            key: tuple(float(v) for v in given[key]) for key in ("mean", "std") if key in given
        }
        numbers.update((key, float(given[key])) for key in ("scale", "crop_share") if key in given)
        if "size" in given:
            numbers["size"] = tuple(int(v) for v in given["size"])
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: expected numbers: {error}") from None
    made = replace(ImageSpec(), **{**given, **numbers})
    _check_numbers(where, made)
    return made


def _check_numbers(where: str, spec: ImageSpec) -> None:
    count = 1 if spec.channels == "L" else 3
    if len(spec.size) != 2 or min(spec.size) < 1:
        raise InputError(f"{where}: size={list(spec.size)}; it is height and width, above 0")
    for key, values in (("mean", spec.mean), ("std", spec.std)):
        if len(values) not in (1, count):
            raise InputError(
                f"{where}: {key} has {len(values)} values; {spec.channels} images have {count}"
            )
    if 0.0 in spec.std or not 0.0 < spec.crop_share <= 1.0:
        raise InputError(f"{where}: std may not be 0, and crop_share lies above 0 and is at most 1")
