"""What `colonnade doctor` looks at: CPU, caches, limits, memory, versions, environment."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import colonnade
from colonnade import _core, knobs
from colonnade.bench.machine import cpu_name, package_version

PACKAGES = ("numpy", "onnx", "onnx-ir", "onnxscript", "onnxruntime", "torch")
PEERS = ("onnxruntime", "openvino", "deepsparse")
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OMP_WAIT_POLICY",
    "OMP_PROC_BIND",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "KMP_AFFINITY",
    "KMP_BLOCKTIME",
    "GOMP_CPU_AFFINITY",
    "NUMEXPR_NUM_THREADS",
    "NM_BIND_THREADS_TO_CORES",
)
"""Settings of other libraries' thread pools, which compete for the same cores."""


@dataclass(frozen=True)
class MachineFacts:
    """The machine as this process sees it. Sizes in bytes; 0 or None where unknown."""

    cpu: str
    architecture: str
    isa_best: str
    isa_used: str
    isa_forced: str | None
    l1d_bytes: int
    l2_bytes: int
    l3_bytes: int
    cpus_granted: tuple[int, ...]
    cpus_online: int
    physical_cores: int
    smt_threads_per_core: int
    numa_nodes: int
    quota_cpus: float
    default_threads: int
    memory_bytes: int
    memory_available_bytes: int
    memory_limit_bytes: int | None
    transparent_huge_pages: str | None
    huge_pages_free: int
    is_virtual: bool
    governor: str | None
    python: str
    system: str
    packages: Mapping[str, str | None]
    peers: Mapping[str, str | None]
    """Interpreters of compared engines, where COLONNADE_PEER_<NAME>_PYTHON names them."""
    environment: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def gather_facts(root: Path = Path("/")) -> MachineFacts:
    """Look at the machine; `root` is where /proc and /sys are. Raises KnobError."""
    runtime = colonnade.Runtime(0)
    memory = read_meminfo(root / "proc/meminfo")
    cpus = tuple(sorted(runtime.cpus))
    forced = knobs.max_isa()
    return MachineFacts(
        cpu=cpu_name(root / "proc/cpuinfo"),
        architecture=platform.machine(),
        isa_best=_core.best_isa(""),
        isa_used=_core.best_isa(forced or ""),
        isa_forced=forced,
        l1d_bytes=runtime.l1d_bytes,
        l2_bytes=runtime.l2_bytes,
        l3_bytes=runtime.l3_bytes,
        cpus_granted=cpus,
        cpus_online=os.cpu_count() or 1,
        physical_cores=runtime.physical_cores,
        smt_threads_per_core=smt_threads_per_core(root),
        numa_nodes=runtime.numa_nodes,
        quota_cpus=runtime.quota_cpus,
        default_threads=knobs.threads() or runtime.threads,
        memory_bytes=memory.get("MemTotal", 0),
        memory_available_bytes=memory.get("MemAvailable", 0),
        memory_limit_bytes=read_memory_limit(root),
        transparent_huge_pages=read_selected(root / "sys/kernel/mm/transparent_hugepage/enabled"),
        huge_pages_free=memory.get("HugePages_Free", 0),
        is_virtual=_is_virtual(root),
        governor=read_word(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        python=platform.python_version(),
        system=platform.platform(),
        packages={
            "colonnade": colonnade.__version__,
            **{name: package_version(name) for name in PACKAGES},
        },
        peers={name: _text_or_none(knobs.peer_python(name)) for name in PEERS},
        environment={
            name: os.environ[name]
            for name in (*THREAD_VARIABLES, *(knob.name for knob in knobs.KNOBS))
            if os.environ.get(name)
        },
    )


def read_meminfo(path: Path) -> dict[str, int]:
    """/proc/meminfo: bytes for entries in kB, counts for the others."""
    found = {}
    for line in _lines(path):
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdigit():
            found[name] = int(words[0]) * (1024 if words[1:] == ["kB"] else 1)
    return found


def read_memory_limit(root: Path) -> int | None:
    """The tightest cgroup memory limit on this process's path; None without one."""
    group = "/"
    for line in _lines(root / "proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            group = path
    limits = []
    for base, name in (
        ("sys/fs/cgroup", "memory.max"),
        ("sys/fs/cgroup/memory", "memory.limit_in_bytes"),
    ):
        for parent in (Path(group), *Path(group).parents):
            word = read_word(root / base / str(parent).lstrip("/") / name)
            if word is not None and word.isdigit() and int(word) < 1 << 60:
                limits.append(int(word))
    return min(limits, default=None)


def read_selected(path: Path) -> str | None:
    """The word in brackets of a choice file such as 'always [madvise] never'."""
    text = " ".join(_lines(path))
    _, opening, rest = text.partition("[")
    return rest.partition("]")[0] if opening else None


def read_word(path: Path) -> str | None:
    """A file's only word."""
    words = " ".join(_lines(path)).split()
    return words[0] if len(words) == 1 else None


def smt_threads_per_core(root: Path) -> int:
    """Hardware threads of the first core."""
    text = " ".join(_lines(root / "sys/devices/system/cpu/cpu0/topology/thread_siblings_list"))
    return max(1, len(parse_cpu_list(text)))


def parse_cpu_list(text: str) -> list[int]:
    """
    >>> parse_cpu_list("0-2,8")
    [0, 1, 2, 8]
    """
    cpus: list[int] = []
    for part in text.strip().split(","):
        first, dash, last = part.partition("-")
        if first.isdigit():
            cpus += range(int(first), int(last if dash else first) + 1)
    return cpus


def _is_virtual(root: Path) -> bool:
    flags = (line for line in _lines(root / "proc/cpuinfo") if line.startswith("flags"))
    return "hypervisor" in next(flags, "").split()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _text_or_none(path: Path | None) -> str | None:
    return None if path is None else str(path)
