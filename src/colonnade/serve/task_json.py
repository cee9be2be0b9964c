"""Items of tasks from JSON and files of requests, and results to JSON. No paths, no addresses."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import io
import wave
from collections.abc import Mapping
from typing import Any

import numpy as np

from colonnade.errors import InputError

KINDS = {
    "text-classification": "text",
    "token-classification": "text",
    "embeddings": "text",
    "zero-shot-classification": "pair",
    "question-answering": "pair",
    "image-classification": "image",
    "object-detection": "image",
    "text-detection": "image",
    "text-recognition": "image",
    "voice-activity": "audio",
    "custom": "json",
}
RATE_HZ = 16_000
ITEMS_MAX = 256
"""Items of one request."""


def kind_of(task: str) -> str:
    """What the items of a task are: text, pair, image, audio or json."""
    return KINDS[task]


def items_of_json(kind: str, inputs: object) -> list[Any]:
    """The items of a body's `inputs`: one, or a list of them."""
    given = inputs if isinstance(inputs, list) else [inputs]
    check_count(len(given))
    return [item_of_json(kind, value) for value in given]


def check_count(count: int) -> None:
    """Raises InputError when a request has too many items, or none."""
    if not 1 <= count <= ITEMS_MAX:
        raise InputError(f"{count} inputs; a request has 1 to {ITEMS_MAX}")


def item_of_json(kind: str, value: object) -> Any:
    """An item as the task takes it; never a path."""
    if kind == "json":
        return value
    if kind == "text":
        return _text(value)
    if kind == "pair":
        if isinstance(value, str | Mapping):
            return value
        raise InputError(f"an input is a text or an object, got {type(value).__name__}")
    if kind == "image":
        return _bytes(value, "image")
    return _samples(value)


def item_of_file(kind: str, data: bytes) -> Any:
    """An item from the bytes of an uploaded file."""
    if kind == "image":
        return data
    if kind == "audio":
        return read_wave(data)
    if kind != "text":
        raise InputError("this task takes JSON, no files")
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise InputError("the text is not UTF-8") from None


def read_wave(data: bytes) -> np.ndarray:
    """Samples of a WAV file: 16 bits, 16 kHz; of several channels the mean."""
    try:
        with wave.open(io.BytesIO(data)) as file:
            form = (file.getsampwidth(), file.getframerate(), file.getnchannels())
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError, ValueError, RuntimeError) as error:
        raise InputError(f"not a WAV file: {error}") from None
    width, rate, channels = form
    if width != 2 or rate != RATE_HZ:
        raise InputError(
            f"expected WAV with 16 bits at 16000 Hz, got {8 * width} bits at {rate} Hz"
        )
    samples = np.frombuffer(frames[: len(frames) // (2 * channels) * 2 * channels], "<i2")
    return np.asarray(samples.reshape(-1, channels).mean(1) / 32768, np.float32)


def plain(value: Any) -> Any:
    """A result as JSON can have it."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return {name: plain(getattr(value, name)) for name in names}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [plain(entry) for entry in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return f"<{type(value).__name__}>"


def _text(value: object) -> Any:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping) and set(value) == {"text", "text_pair"}:
        return (value["text"], value["text_pair"])
    raise InputError(f"an input is a text or {{'text', 'text_pair'}}, got {type(value).__name__}")


def _bytes(value: object, what: str) -> bytes:
    """base64, or a data: address of it; other addresses are not followed."""
    if isinstance(value, Mapping) and set(value) == {what}:
        value = value[what]
    if not isinstance(value, str):
        raise InputError(f"an input is the {what} in base64, got {type(value).__name__}")
    text = value.partition(",")[2] if value.startswith("data:") else value
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InputError(
            f"the {what} is not base64; paths and addresses are not read: send the file itself"
        ) from None


def _samples(value: object) -> np.ndarray:
    if not isinstance(value, Mapping) or set(value) != {"samples"}:
        return read_wave(_bytes(value, "audio"))
    try:
        return np.asarray(value["samples"], np.float32)
    except (TypeError, ValueError, OverflowError):
        raise InputError("samples: expected a list of numbers") from None
