"""The parts of benchmarks/serving.py that need no server of ours."""

from __future__ import annotations

from pathlib import Path

import pytest

import serving
from colonnade.bench.load.target import Server

MACHINE = {"cpu": "a CPU", "load_average": 3.2, "server_cpus": [0], "client_cpus": [1]}


def test_figures_go_between_their_marks(tmp_path: Path) -> None:
    note = tmp_path / "note.md"
    note.write_text("# Serving\n\nBefore.\n\n## After\n")
    serving.write_note({"overhead": {"share": 0.654321, "machine": MACHINE}}, note)
    first = note.read_text()
    assert "| overhead | share | 0.654 | a CPU, server on 1 CPUs, load average 3 |" in first
    serving.write_note({"overhead": {"share": 0.7, "machine": MACHINE}}, note)
    second = note.read_text()
    assert second == first.replace("0.654", "0.7")
    assert second.startswith("# Serving\n\nBefore.\n\n## After\n")


def test_text_behind_the_figures_stays(tmp_path: Path) -> None:
    note = tmp_path / "note.md"
    note.write_text(f"# A\n\n{serving.BEGIN}\nold\n{serving.END}\n\n## B\n")
    serving.write_note({}, note)
    assert note.read_text().endswith(f"{serving.END}\n\n## B\n")
    assert "old" not in note.read_text()


@pytest.mark.slow
def test_the_bare_stack_echoes() -> None:
    pytest.importorskip("uvicorn")
    with serving.echoing() as running:
        request = Server("h", 1).request("/", b"x" * 1000, {})
        step = serving._closed(running, request, 2, 0.5)
    assert set(step.outcomes) == {"200"}
