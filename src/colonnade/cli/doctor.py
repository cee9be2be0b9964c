"""colonnade doctor: the machine and the installation, and what to change."""

from __future__ import annotations

from collections.abc import Sequence

from colonnade.cli.advice import give_advice
from colonnade.cli.console import Console
from colonnade.cli.exits import reported_errors
from colonnade.cli.machine_facts import MachineFacts, gather_facts
from colonnade.cli.options import DebugOption, JsonOption


def doctor(json_output: JsonOption = False, debug: DebugOption = False) -> None:
    """Show CPU, instruction sets, caches, limits, memory and versions, with advice."""
    console = Console(json_output)
    with reported_errors(console, debug=debug):
        facts = gather_facts()
        advice = give_advice(facts)
        console.document({**facts.to_dict(), "advice": advice})
        console.table(("what", "found"), describe(facts), wraps=True)
        console.line()
        for sentence in advice or ["Nothing to change."]:
            console.line(f"- {sentence}")


def describe(facts: MachineFacts) -> list[tuple[str, str]]:
    """The facts as rows of a table."""
    forced = f" (forced by COLONNADE_MAX_ISA={facts.isa_forced})" if facts.isa_forced else ""
    limit = _gib(facts.memory_limit_bytes) if facts.memory_limit_bytes else "none"
    rows = [
        ("CPU", f"{facts.cpu} ({facts.architecture})"),
        ("instruction sets", f"best {facts.isa_best}, used {facts.isa_used}{forced}"),
        (
            "caches",
            f"L1d {_kib(facts.l1d_bytes)}, L2 {_kib(facts.l2_bytes)}, L3 {_kib(facts.l3_bytes)}",
        ),
        (
            "cores",
            f"{facts.physical_cores} physical, {facts.smt_threads_per_core} hardware threads each, "
            f"{facts.numa_nodes} NUMA nodes",
        ),
        (
            "CPUs granted",
            f"{len(facts.cpus_granted)} of {facts.cpus_online}: {_ranges(facts.cpus_granted)}",
        ),
        ("cgroup quota", f"{facts.quota_cpus:g} CPUs" if facts.quota_cpus else "none"),
        ("threads by default", str(facts.default_threads)),
        (
            "memory",
            f"{_gib(facts.memory_available_bytes)} of {_gib(facts.memory_bytes)} available, "
            f"cgroup limit {limit}",
        ),
        (
            "huge pages",
            f"transparent: {facts.transparent_huge_pages or 'unknown'}, "
            f"reserved and free: {facts.huge_pages_free}",
        ),
        ("system", f"{facts.system}{', virtual machine' if facts.is_virtual else ''}"),
        ("Python", facts.python),
    ]
    rows += [(name, version or "not installed") for name, version in facts.packages.items()]
    rows += [(f"peer {name}", path) for name, path in facts.peers.items() if path]
    rows += list(facts.environment.items())
    return rows


def _kib(nbytes: int) -> str:
    return f"{nbytes >> 10} KiB" if nbytes else "unknown"


def _gib(nbytes: int) -> str:
    return f"{nbytes / 2**30:.1f} GiB"


def _ranges(numbers: Sequence[int]) -> str:
    """
    >>> _ranges([0, 1, 2, 8])
    '0-2,8'
    """
    texts: list[str] = []
    start = 0
    for end in range(1, len(numbers) + 1):
        if end == len(numbers) or numbers[end] != numbers[end - 1] + 1:
            first, last = numbers[start], numbers[end - 1]
            texts.append(str(first) if first == last else f"{first}-{last}")
            start = end
    return ",".join(texts)
