"""benchmarks/kept_rows.py: rows stay from run to run on one machine, and on no other."""

from __future__ import annotations

from pathlib import Path

from kept_rows import KeptRows

KEYS = ("model", "batch")


def test_rows_of_an_earlier_run_stay_and_are_replaced_by_key(tmp_path: Path) -> None:
    path = tmp_path / "results" / "rows.json"
    first = KeptRows(path, {"cpu": "a"}, KEYS)
    first.keep({"model": "m", "batch": 1, "ms": 3})
    first.keep({"model": "m", "batch": 2, "ms": 5})
    later = KeptRows(path, {"cpu": "a"}, KEYS)
    later.keep({"model": "m", "batch": 1, "ms": 4})
    assert [row["ms"] for row in KeptRows(path, {"cpu": "a"}, KEYS).rows] == [4, 5]


def test_rows_of_another_machine_go(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    KeptRows(path, {"cpu": "a"}, KEYS).keep({"model": "m", "batch": 1})
    assert KeptRows(path, {"cpu": "b"}, KEYS).rows == []
