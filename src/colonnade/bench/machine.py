"""The machine and the software that figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import colonnade


def describe_machine() -> dict[str, object]:
    """CPU, logical CPUs granted, load, system, Python: what a reader of figures needs to know."""
    return {
        "cpu": cpu_name(),
        "logical_cpus": len(os.sched_getaffinity(0)),
        "load_average": os.getloadavg()[0],
        "system": platform.platform(),
        "python": platform.python_version(),
        "numpy": package_version("numpy"),
        "colonnade": colonnade.__version__,
    }


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor's name as the system gives it."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def package_version(name: str) -> str | None:
    """The installed version of a package, or None; nothing is imported."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None
