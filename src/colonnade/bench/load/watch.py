"""What a process holds while it is under load."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

PERIOD_S = 1.0
_PAGE_KIB = 1024


@dataclass(frozen=True)
class Usage:
    """Resident memory, open file descriptors, threads, CPU time since the start."""

    rss_bytes: int
    descriptors: int
    threads: int
    cpu_s: float


def usage_of(pid: int) -> Usage:
    """Now. Linux only; FileNotFoundError when the process is gone."""
    process = Path(f"/proc/{pid}")
    lines = (process / "status").read_text().splitlines()
    times = (process / "stat").read_text().rpartition(")")[2].split()
    fields = dict(line.split(":", 1) for line in lines if ":" in line)
    return Usage(
        int(fields["VmRSS"].split()[0]) * _PAGE_KIB,
        sum(1 for _ in (process / "fd").iterdir()),
        int(fields["Threads"]),
        (int(times[11]) + int(times[12])) / os.sysconf("SC_CLK_TCK"),
    )


async def watch(pid: int, samples: list[Usage]) -> None:
    """A sample each second, until cancelled."""
    while True:
        samples.append(usage_of(pid))
        await asyncio.sleep(PERIOD_S)
