"""What a process holds."""

from __future__ import annotations

import os
from pathlib import Path

from colonnade.bench.load.watch import usage_of


def test_a_file_more_is_a_descriptor_more(tmp_path: Path) -> None:
    before = usage_of(os.getpid())
    with (tmp_path / "file").open("w"):
        during = usage_of(os.getpid())
    assert during.descriptors == before.descriptors + 1
    assert during.threads == before.threads >= 1
    assert 2**20 < during.rss_bytes < 2**40
