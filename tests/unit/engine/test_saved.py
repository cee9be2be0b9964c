"""Saved plans: the same bits after a round trip, a clear refusal of anything else."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import colonnade
from colonnade.errors import InputError, PlanError
from unit.engine.models import image_model, mixed_model, text_inputs, text_model

PREFIX = struct.Struct("<8sQQ")
IMAGE = {"x": np.random.default_rng(1).standard_normal((2, 3, 13, 11)).astype(np.float32)}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "image.colonnade"
    colonnade.compile(image_model(), threads=1).save(path)
    return path


def test_round_trip_gives_the_same_bits(saved: Path) -> None:
    loaded = colonnade.load(saved, threads=2)
    expected = colonnade.compile(image_model(), threads=2).run(IMAGE)
    assert loaded.run(IMAGE)["y"].tobytes() == expected["y"].tobytes()
    assert [info.name for info in loaded.inputs] == ["x"]
    assert [info.shape for info in loaded.outputs] == [(2, 7)]


def test_round_trip_with_fallback_and_several_shapes(tmp_path: Path) -> None:
    mixed = colonnade.compile(mixed_model(), threads=1)
    mixed.save(tmp_path / "mixed.colonnade")
    x = IMAGE["x"][0, 0, :4, :4]
    loaded = colonnade.load(tmp_path / "mixed.colonnade", threads=1)
    assert loaded.run([x])["y"].tobytes() == mixed.run([x])["y"].tobytes()
    assert loaded.explain().num_fallback == mixed.explain().num_fallback

    text = colonnade.compile(text_model(), threads=1)
    cases = [text_inputs(1, 4), text_inputs(2, 9)]
    expected = [text.run(feeds)["y"].tobytes() for feeds in cases]
    text.save(tmp_path / "text.colonnade")
    loaded = colonnade.load(tmp_path / "text.colonnade", threads=1)
    assert [loaded.run(feeds)["y"].tobytes() for feeds in cases] == expected
    with pytest.raises(InputError, match="not among those saved"):
        loaded.run(text_inputs(3, 3))


def test_a_loaded_plan_is_not_saved_again(saved: Path, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="cannot be saved again"):
        colonnade.load(saved, threads=1).save(tmp_path / "again")


@pytest.mark.parametrize("kept", [0, 7, 23, 24, 100, 0.5, -1])
def test_truncated(saved: Path, kept: float) -> None:
    raw = saved.read_bytes()
    end = int(len(raw) * kept) if 0 < kept < 1 else int(kept)
    saved.write_bytes(raw[:end])
    with pytest.raises(PlanError, match=r"image\.colonnade"):
        colonnade.load(saved, threads=1)


def test_any_flipped_byte_is_noticed(saved: Path) -> None:
    raw = saved.read_bytes()
    _, length, _ = PREFIX.unpack(raw[: PREFIX.size])
    padding = range(PREFIX.size + length, -(-(PREFIX.size + length) // 64) * 64)
    used = _used_bytes(raw, padding.stop)
    for at in [*range(PREFIX.size), *range(PREFIX.size, len(raw), 977), len(raw) - 1]:
        if at in padding or (at >= padding.stop and not used[at]):
            continue
        damaged = bytearray(raw)
        damaged[at] ^= 0x40
        saved.write_bytes(damaged)
        with pytest.raises(PlanError):
            colonnade.load(saved, threads=1)


def _used_bytes(raw: bytes, base: int) -> np.ndarray:
    """Bytes that belong to a section, not to the space between two."""
    used = np.zeros(len(raw), np.bool_)
    for section in _header(raw)["sections"]:
        begin = base + section["offset"]
        used[begin : begin + section["nbytes"]] = True
    return used


def _header(raw: bytes) -> dict[str, Any]:
    _, length, _ = PREFIX.unpack(raw[: PREFIX.size])
    header: dict[str, Any] = json.loads(raw[PREFIX.size : PREFIX.size + length])
    return header


def _rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the header, and give it the right checksum and the right place again."""
    raw = path.read_bytes()
    magic, length, _ = PREFIX.unpack(raw[: PREFIX.size])
    header = _header(raw)
    change(header)
    made = json.dumps(header).encode()
    begin, end = (-(-(PREFIX.size + size) // 64) * 64 for size in (length, len(made)))
    head = PREFIX.pack(magic, len(made), zlib.crc32(made)) + made
    path.write_bytes(head.ljust(end, b"\0") + raw[begin:])


def _set_identity(key: str) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        header["identity"][key] = "another"

    return change


def test_rewritten_header_still_loads(saved: Path) -> None:
    _rewrite(saved, lambda _: None)
    assert colonnade.load(saved, threads=1).run(IMAGE)["y"].shape == (2, 7)


@pytest.mark.parametrize("key", ["colonnade", "CPU", "instruction set"])
def test_made_elsewhere(saved: Path, key: str) -> None:
    _rewrite(saved, _set_identity(key))
    with pytest.raises(PlanError, match=f"made for {key} 'another'.*compile it again"):
        colonnade.load(saved, threads=1)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda h: h.pop("sections"), id="no sections"),
        pytest.param(lambda h: h.pop("identity"), id="no identity"),
        pytest.param(lambda h: h.update(identity=3), id="identity of another type"),
        pytest.param(lambda h: h.update(sections=[{}]), id="empty section"),
        pytest.param(lambda h: h.update(programs=5), id="programs of another type"),
        pytest.param(lambda h: h["sections"][0].update(offset=-64), id="negative offset"),
        pytest.param(lambda h: h["sections"][0].update(nbytes=1 << 60), id="huge section"),
        pytest.param(lambda h: h["sections"][0].update(dtype="O"), id="objects"),
        pytest.param(lambda h: h["sections"][0].update(dtype="no type"), id="unknown type"),
        pytest.param(lambda h: h["sections"][0].update(shape=[3, 5]), id="another shape"),
        pytest.param(lambda h: h["programs"][0]["steps"][0].update(words=1), id="other words"),
        pytest.param(lambda h: h["programs"][0]["steps"][0].update(words=99), id="no words"),
        pytest.param(lambda h: h["programs"][0]["steps"][0].update(constants=[]), id="no weights"),
        pytest.param(lambda h: h["programs"][0]["steps"][0].update(isa="sse9"), id="unknown ISA"),
        pytest.param(lambda h: h["programs"][0].update(shapes=[]), id="no shapes"),
        pytest.param(lambda h: h["inputs"][0].update(dtype="complex"), id="unknown element type"),
        pytest.param(lambda h: h["programs"][0].update(records=[{"x": 1}]), id="other records"),
    ],
)
def test_damaged_header_with_a_right_checksum(
    saved: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    _rewrite(saved, change)
    with pytest.raises(PlanError, match=r"image\.colonnade"):
        colonnade.load(saved, threads=1)


def test_not_a_plan(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(image_model().SerializeToString())
    with pytest.raises(PlanError, match="wrong magic bytes"):
        colonnade.load(path, threads=1)
    with pytest.raises(PlanError, match="cannot be read"):
        colonnade.load(tmp_path / "missing", threads=1)
    with pytest.raises(PlanError, match="cannot be read"):
        colonnade.load(tmp_path, threads=1)
