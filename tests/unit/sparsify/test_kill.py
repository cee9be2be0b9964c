"""SIGKILL at random points of a run, saves included: it goes on to the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).with_name("kill_runs.py")


def check_kills(folder: Path, num_kills: int) -> None:
    command = [sys.executable, str(PROGRAM), str(folder), str(num_kills), "5"]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    outcome = json.loads(run.stdout)
    assert outcome["kills"] >= num_kills
    assert outcome["resumed"] > 0
    assert set(outcome["digests"]) == {outcome["whole"]}


def test_five_kills(tmp_path: Path) -> None:
    check_kills(tmp_path, 5)


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path) -> None:
    check_kills(tmp_path, 50)
