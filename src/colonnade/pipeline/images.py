"""Images as they are given (paths, bytes, Pillow images, arrays) to pixels, within bounds."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from colonnade.errors import CapabilityError, InputError
from colonnade.pipeline.source import Model
from colonnade.quantization.data.images import ImageSpec, image_array, read_spec

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
"""What is decoded; of an animation the first frame."""
PIXELS_MAX = 64_000_000
"""A small file can hold far more pixels than memory can: its header is read before it is."""
RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers, as preprocessor_config.json has them."""


@dataclass(frozen=True)
class Fitted:
    """An image on a canvas of the model's size: original = (pixel - offset) / ratio."""

    image: Image
    ratio: float
    left: int
    top: int


def read_image(item: object) -> Image:
    """An RGB image, upright; InputError when it is none, or too large.

    `item`: a path, the bytes of a file, a Pillow image, or an array [height, width, 3] of bytes.
    """
    try:
        from PIL import Image, ImageOps, UnidentifiedImageError
    except ImportError:
        raise CapabilityError("image tasks need Pillow: pip install colonnade[pipeline]") from None
    if isinstance(item, Image.Image):
        return _bounded(item).convert("RGB")
    if isinstance(item, np.ndarray):
        return _from_array(item)
    if not isinstance(item, bytes | bytearray | str | os.PathLike):
        raise InputError(f"expected an image, got {type(item).__name__}")
    file: Any = io.BytesIO(item) if isinstance(item, bytes | bytearray) else item
    where = "image" if isinstance(item, bytes | bytearray) else str(item)
    try:
        with Image.open(file, formats=FORMATS) as opened:
            upright = ImageOps.exif_transpose(_bounded(opened))
            return upright.convert("RGB")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise InputError(f"{where}: {error}") from None
    except UnidentifiedImageError:
        raise InputError(f"{where}: not an image of {', '.join(FORMATS)}") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: not a readable image: {error}") from None


def letterbox(image: Image, size: tuple[int, int], fill: int) -> Fitted:
    """The image in the middle of a canvas of height and width `size`, its proportions kept."""
    from PIL import Image as Images

    height, width = size
    ratio = min(height / image.height, width / image.width)
    small = (max(round(image.width * ratio), 1), max(round(image.height * ratio), 1))
    left, top = (width - small[0]) // 2, (height - small[1]) // 2
    canvas = Images.new("RGB", (width, height), (fill,) * 3)
    canvas.paste(image.resize(small, Images.Resampling.BILINEAR), (left, top))
    return Fitted(canvas, ratio, left, top)


def to_row(image: Image, spec: ImageSpec) -> np.ndarray:
    """float32 [channels, height, width], or as the specification's layout says."""
    grey = image.convert("L") if spec.channels == "L" else image
    return np.asarray(image_array(grey, spec)[0])


def spec_of(model: Model, given: ImageSpec | None, default: ImageSpec) -> ImageSpec:
    """How images become arrays: as given, as image_spec.yaml or preprocessor_config.json beside the
    model say, or `default`; the size is the model's own where it is fixed."""
    if given is not None:
        return given
    own = model.file("image_spec.yaml")
    if own is not None:
        return read_spec(own, {})
    found = _from_config(model.settings("preprocessor_config.json"), default)
    axes = (2, 3) if found.layout == "NCHW" else (1, 2)
    fixed = tuple(model.fixed(axis) for axis in axes)
    if fixed[0] is None or fixed[1] is None:
        return found
    return replace(found, size=(fixed[0], fixed[1]))


def _from_config(config: Mapping[str, object], default: ImageSpec) -> ImageSpec:
    """The specification that a Hugging Face image processor's configuration amounts to."""
    if not config:
        return default
    size, crop = _height_width(config.get("size")), _height_width(config.get("crop_size"))
    made = replace(default, filter=RESAMPLE.get(_whole(config.get("resample"), 2), "bilinear"))
    if config.get("do_center_crop") and size and crop:
        made = replace(made, size=crop, resize="crop", crop_share=min(crop[0] / size[0], 1.0))
    elif size:
        is_side = "shortest_edge" in str(config.get("size"))
        made = replace(made, size=size, resize="crop" if is_side else "stretch", crop_share=1.0)
    factor = config.get("rescale_factor", 1 / 255)
    scale = float(str(factor)) if config.get("do_rescale", True) else 1.0
    made = replace(made, scale=scale, mean=(0.0,), std=(1.0,))
    mean, std = config.get("image_mean"), config.get("image_std")
    if config.get("do_normalize", True) and isinstance(mean, list) and isinstance(std, list):
        made = replace(made, mean=tuple(mean), std=tuple(std))
    return made


def _height_width(size: object) -> tuple[int, int] | None:
    if isinstance(size, int):
        return size, size
    if not isinstance(size, Mapping):
        return None
    side = size.get("shortest_edge")
    height, width = size.get("height", side), size.get("width", side)
    return (height, width) if isinstance(height, int) and isinstance(width, int) else None


def _whole(value: object, default: int) -> int:
    return value if isinstance(value, int) else default


def _bounded(image: Image) -> Image:
    if image.width * image.height > PIXELS_MAX:
        raise InputError(
            f"an image of {image.width} x {image.height} pixels; at most {PIXELS_MAX} are taken"
        )
    return image


def _from_array(array: np.ndarray) -> Image:
    from PIL import Image

    is_image = array.ndim in (2, 3) and (array.ndim == 2 or array.shape[2] in (3, 4))
    if array.dtype != np.uint8 or not is_image or 0 in array.shape:
        raise InputError(
            f"an image array is uint8 [height, width] or [height, width, 3], got {array.dtype} "
            f"{list(array.shape)}"
        )
    return _bounded(Image.fromarray(array)).convert("RGB")
