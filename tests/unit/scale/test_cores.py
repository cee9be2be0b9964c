"""Cores are claimed by one process at a time, and free again when it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from colonnade.scale import cores
from colonnade.scale.cores import CoreClaim, claim_cores, granted_cores, parse_cpus


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """CPUs 0 to 7, two to a core, of which CPU 7 is not granted."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(7)))
    monkeypatch.setattr(cores, "_siblings", lambda cpu: {cpu % 4, cpu % 4 + 4})


def claim(count: int, folder: Path) -> CoreClaim:
    claimed = claim_cores(count, folder)
    assert claimed is not None
    return claimed


def test_a_core_is_all_of_its_granted_cpus() -> None:
    assert granted_cores() == [{0, 4}, {1, 5}, {2, 6}, {3}]


def test_claims_do_not_overlap_and_come_back(tmp_path: Path) -> None:
    first, second = claim(2, tmp_path), claim(1, tmp_path)
    assert (first.cpus, second.cpus) == ({0, 1, 4, 5}, {2, 6})
    assert claim_cores(2, tmp_path) is None
    first.release()
    third = claim(3, tmp_path)  # the refused claim kept nothing
    assert third.cpus == {0, 1, 3, 4, 5}
    second.release()
    third.release()


def test_a_process_that_ends_leaves_its_cores_free(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from colonnade.scale.cores import claim_cores; "
        f"claim_cores(1, Path({str(tmp_path)!r})); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        taken = claim(1, tmp_path)
        assert 0 not in taken.cpus
        other.kill()
        other.wait()
        free = claim(1, tmp_path)
        assert 0 in free.cpus
        taken.release()
        free.release()


@pytest.mark.parametrize(("text", "cpus"), [("0\n", [0]), ("0-1", [0, 1]), ("3,7", [3, 7])])
def test_lists_of_cpus(text: str, cpus: list[int]) -> None:
    assert list(parse_cpus(text)) == cpus
