"""What to change on a machine so that models run faster or at all."""

from __future__ import annotations

from collections.abc import Iterator

from colonnade.cli.machine_facts import MachineFacts

LOW_MEMORY_BYTES = 2 << 30


def give_advice(facts: MachineFacts) -> list[str]:
    """One sentence per finding; none on a machine in order."""
    return [*_cpu_advice(facts), *_memory_advice(facts), *_software_advice(facts)]


def _cpu_advice(facts: MachineFacts) -> Iterator[str]:
    if facts.isa_used != facts.isa_best:
        yield (
            f"COLONNADE_MAX_ISA={facts.isa_forced} keeps the kernels at {facts.isa_used}; this CPU "
            f"has {facts.isa_best}: unset it for full speed."
        )
    if facts.isa_best == "portable":
        yield "No AVX2 on this CPU: the portable kernels run, several times slower."
    if len(facts.cpus_granted) < facts.cpus_online:
        yield (
            f"This process may use {len(facts.cpus_granted)} of {facts.cpus_online} logical CPUs "
            "(affinity or cpuset)."
        )
    if 0 < facts.quota_cpus < facts.physical_cores:
        yield (
            f"The cgroup quota is {facts.quota_cpus:g} CPUs for {facts.physical_cores} cores: more "
            f"threads than {max(1, int(facts.quota_cpus))} would be throttled."
        )
    if facts.default_threads > facts.physical_cores:
        yield (
            f"COLONNADE_THREADS={facts.default_threads} is more than the {facts.physical_cores} "
            "physical cores: threads would wait for each other."
        )
    if facts.governor is not None and facts.governor not in ("performance", "schedutil"):
        yield f"The CPU frequency governor is {facts.governor!r}: set 'performance' to measure."
    if facts.is_virtual:
        yield "A virtual machine: neighbours can disturb timings; compare engines in one run."


def _memory_advice(facts: MachineFacts) -> Iterator[str]:
    limit = facts.memory_limit_bytes
    available = min(facts.memory_available_bytes, limit or facts.memory_available_bytes)
    if 0 < available < LOW_MEMORY_BYTES:
        yield f"Only {available / 2**30:.1f} GiB of memory are available."
    if facts.transparent_huge_pages == "never":
        yield "Transparent huge pages are off: 'madvise' lets large weights use them."


def _software_advice(facts: MachineFacts) -> Iterator[str]:
    if facts.packages.get("onnxruntime") is None:
        yield (
            "onnxruntime is not installed: models with nodes that have no native kernel are "
            "refused; pip install 'colonnade[ort]'."
        )
    if facts.environment.get("OMP_WAIT_POLICY", "").lower() == "active":
        yield (
            "OMP_WAIT_POLICY=active: other libraries' threads spin when idle and take cores away."
        )
