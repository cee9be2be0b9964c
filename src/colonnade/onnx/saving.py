"""save_proto(): a model file that is there completely or not at all, whatever its size."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from google.protobuf.message import Message
from onnx import ModelProto, TensorProto, numpy_helper

from colonnade.errors import ModelError
from colonnade.onnx.exporter import MAX_MESSAGE_BYTES

PAGE_BYTES = 4096
"""Smaller constants stay in the message; larger ones start at a multiple of it."""
_DATA_FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data")

Ranges = Mapping[str, tuple[int, int]]
"""Offset and length of a constant's bytes, by name."""
Proto = TypeVar("Proto", bound=Message)


def save_proto(model: ModelProto, path: str | os.PathLike[str]) -> None:
    """Write the file at once or not at all; the model stays as it is.

    Above 2 GiB, constants go to `<path>.<hash>.data` beside it: a new name for new data, so that
    the file that is there before stays whole until the new one takes its place.
    """
    target = Path(path)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(4)}.partial")
    data_draft = draft.with_suffix(".data")
    data: Path | None = None
    try:
        if model.ByteSize() > MAX_MESSAGE_BYTES:
            digest, ranges = _write_data(model, data_draft)
            data = target.with_name(f"{target.name}.{digest}.data")
            model = _without_data(model, ranges, data.name)
        _write(draft, model.SerializeToString())
        _put_in_place(draft, target, data_draft, data)
    except OSError as error:
        raise ModelError(f"{target} cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
        data_draft.unlink(missing_ok=True)


def _put_in_place(draft: Path, target: Path, data_draft: Path, data: Path | None) -> None:
    """The data first: a model is never without it. What the old model had goes last."""
    is_new = data is not None and not data.exists()
    if data is not None:
        data_draft.replace(data)
    try:
        draft.replace(target)
    except OSError:
        if data is not None and is_new:
            data.unlink()
        raise
    ours = re.compile(re.escape(target.name) + r"\.[0-9a-f]{16}\.data")
    for other in target.parent.iterdir():
        if other != data and ours.fullmatch(other.name):
            with suppress(OSError):  # the new model is there and needs nothing of it
                other.unlink()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _write_data(model: ModelProto, path: Path) -> tuple[str, Ranges]:
    """The larger constants, and a hash of the file."""
    ranges: dict[str, tuple[int, int]] = {}
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for tensor in model.graph.initializer:
            raw = _raw_bytes(tensor)
            if len(raw) < PAGE_BYTES:
                continue
            padding = bytes(-file.tell() % PAGE_BYTES)
            ranges[tensor.name] = (file.tell() + len(padding), len(raw))
            for part in (padding, raw):
                file.write(part)
                digest.update(part)
        file.flush()
        os.fsync(file.fileno())
    return digest.hexdigest()[:16], ranges


def _raw_bytes(tensor: TensorProto) -> bytes:
    """Empty for what has to stay in the message."""
    if tensor.data_type == TensorProto.STRING or tensor.data_location == TensorProto.EXTERNAL:
        return b""
    if tensor.HasField("raw_data"):
        return bytes(tensor.raw_data)
    return bytes(numpy_helper.from_array(numpy_helper.to_array(tensor)).raw_data)


def _without_data(model: ModelProto, ranges: Ranges, location: str) -> ModelProto:
    """A copy that has these constants in a file."""
    slim = _copy(model, {"graph"})
    slim.graph.CopyFrom(_copy(model.graph, {"initializer"}))
    for tensor in model.graph.initializer:
        if tensor.name not in ranges:
            slim.graph.initializer.append(tensor)
            continue
        made = _copy(tensor, _DATA_FIELDS)
        offset, length = ranges[tensor.name]
        made.data_location = TensorProto.EXTERNAL
        for key, value in (("location", location), ("offset", offset), ("length", length)):
            made.external_data.add(key=key, value=str(value))
        slim.graph.initializer.append(made)
    return slim


def _copy(message: Proto, left_out: Collection[str]) -> Proto:
    """Without some fields: they may be more than memory holds twice."""
    made: Proto = type(message)()
    for field, value in message.ListFields():
        if field.name in left_out:
            continue
        match value:
            case Message():
                getattr(made, field.name).CopyFrom(value)
            case int() | float() | str() | bytes():
                setattr(made, field.name, value)
            case _:
                getattr(made, field.name).extend(value)
    return made
