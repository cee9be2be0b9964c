"""Knobs read the environment when called, and refuse a wrong value with one clear error."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from colonnade import knobs
from colonnade.errors import KnobError


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for knob in knobs.KNOBS:
        monkeypatch.delenv(knob.name, raising=False)


def test_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert knobs.max_isa() is None
    assert knobs.threads() is None
    assert knobs.disabled_passes() == frozenset()
    assert knobs.dump_passes() is None
    assert knobs.cache_dir() == tmp_path / "colonnade"
    assert knobs.stripes() == "auto"
    assert knobs.peer_python("openvino") is None


def test_values(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLONNADE_MAX_ISA", "avx2")
    monkeypatch.setenv("COLONNADE_THREADS", " 2 ")
    monkeypatch.setenv("COLONNADE_DISABLE_PASSES", "fuse_norm, fuse_linear,")
    monkeypatch.setenv("COLONNADE_DUMP_PASSES", str(tmp_path / "new"))
    monkeypatch.setenv("COLONNADE_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("COLONNADE_STRIPES", "off")
    assert knobs.max_isa() == "avx2"
    assert knobs.threads() == 2
    assert knobs.disabled_passes() == {"fuse_norm", "fuse_linear"}
    assert knobs.dump_passes() == tmp_path / "new"
    assert knobs.cache_dir() == tmp_path
    assert knobs.stripes() == "off"


def test_read_at_call_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert knobs.threads() is None
    monkeypatch.setenv("COLONNADE_THREADS", "3")
    assert knobs.threads() == 3


def test_empty_means_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONNADE_THREADS", "")
    assert knobs.threads() is None


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("COLONNADE_MAX_ISA", "sse2", "portable, avx2, avx512, avx512_vnni, amx"),
        ("COLONNADE_MAX_ISA", "AVX2", "portable, avx2"),
        ("COLONNADE_THREADS", "two", "a whole number from 1"),
        ("COLONNADE_THREADS", "0", "a whole number from 1"),
        ("COLONNADE_THREADS", "-1", "a whole number from 1"),
        ("COLONNADE_THREADS", "1000000", "a whole number from 1"),
        ("COLONNADE_STRIPES", "yes", "auto or off"),
        ("COLONNADE_DUMP_PASSES", __file__, "a directory"),
        ("COLONNADE_CACHE_DIR", __file__, "a directory"),
    ],
)
def test_wrong_value(monkeypatch: pytest.MonkeyPatch, name: str, text: str, expected: str) -> None:
    monkeypatch.setenv(name, text)
    knob = next(knob for knob in knobs.KNOBS if knob.name == name)
    with pytest.raises(KnobError) as caught:
        knob()
    assert str(caught.value).startswith(f"{name}={text!r}: expected ")
    assert expected in str(caught.value)


def test_peer_python(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONNADE_PEER_DEEP_SPARSE_PYTHON", sys.executable)
    assert knobs.peer_python("deep-sparse") == Path(sys.executable)


def test_peer_python_that_is_no_program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COLONNADE_PEER_OPENVINO_PYTHON", str(tmp_path / "python"))
    with pytest.raises(KnobError, match=r"^COLONNADE_PEER_OPENVINO_PYTHON='.*': expected the path"):
        knobs.peer_python("openvino")


def test_every_knob_is_declared_once() -> None:
    names = [knob.name for knob in knobs.KNOBS]
    assert len(set(names)) == len(names)
    assert all(name.startswith("COLONNADE_") for name in names)


def test_every_knob_is_documented() -> None:
    document = (Path(__file__).parents[2] / "docs" / "errors.md").read_text()
    missing = [knob.name for knob in knobs.KNOBS if f"| `{knob.name}` |" not in document]
    assert not missing
