"""What doctor finds on this machine and on made-up ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from colonnade.cli.advice import give_advice
from colonnade.cli.doctor import describe
from colonnade.cli.machine_facts import (
    MachineFacts,
    gather_facts,
    parse_cpu_list,
    read_meminfo,
    read_memory_limit,
    read_selected,
    smt_threads_per_core,
)
from colonnade.cli.main import app

GOOD = MachineFacts(
    cpu="Test CPU",
    architecture="x86_64",
    isa_best="avx512",
    isa_used="avx512",
    isa_forced=None,
    l1d_bytes=32 << 10,
    l2_bytes=1 << 20,
    l3_bytes=0,
    cpus_granted=(0, 1, 2, 3),
    cpus_online=4,
    physical_cores=4,
    smt_threads_per_core=1,
    numa_nodes=1,
    quota_cpus=0.0,
    default_threads=4,
    memory_bytes=16 << 30,
    memory_available_bytes=12 << 30,
    memory_limit_bytes=None,
    transparent_huge_pages="madvise",
    huge_pages_free=0,
    is_virtual=False,
    governor=None,
    python="3.11.7",
    system="Linux",
    packages={"numpy": "2.0", "onnxruntime": "1.31"},
    peers={},
    environment={},
)


def test_a_machine_in_order_needs_no_advice() -> None:
    assert give_advice(GOOD) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"isa_used": "avx2", "isa_forced": "avx2"}, "COLONNADE_MAX_ISA=avx2"),
        ({"isa_best": "portable", "isa_used": "portable"}, "No AVX2"),
        ({"cpus_online": 64}, "4 of 64 logical CPUs"),
        ({"quota_cpus": 1.5}, "quota is 1.5 CPUs for 4 cores: more threads than 1"),
        ({"default_threads": 9}, "COLONNADE_THREADS=9"),
        ({"governor": "powersave"}, "'powersave'"),
        ({"is_virtual": True}, "virtual machine"),
        ({"memory_available_bytes": 1 << 30}, "1.0 GiB"),
        ({"memory_limit_bytes": 1 << 30}, "1.0 GiB"),
        ({"transparent_huge_pages": "never"}, "huge pages are off"),
        ({"packages": {"onnxruntime": None}}, "colonnade[ort]"),
        ({"environment": {"OMP_WAIT_POLICY": "ACTIVE"}}, "OMP_WAIT_POLICY"),
    ],
)
def test_advice(change: dict[str, object], words: str) -> None:
    (sentence,) = give_advice(replace(GOOD, **change))  # type: ignore[arg-type]
    assert words in sentence


def test_the_table_names_everything() -> None:
    facts = replace(
        GOOD,
        isa_forced="avx2",
        cpus_granted=(0, 2, 3),
        environment={"OMP_NUM_THREADS": "1"},
        peers={"openvino": "/venv/bin/python", "deepsparse": None},
    )
    rows = dict(describe(facts))
    assert rows["caches"] == "L1d 32 KiB, L2 1024 KiB, L3 unknown"
    assert rows["CPUs granted"] == "3 of 4: 0,2-3"
    assert "forced by COLONNADE_MAX_ISA=avx2" in rows["instruction sets"]
    assert rows["OMP_NUM_THREADS"] == "1"
    assert rows["peer openvino"] == "/venv/bin/python"
    assert "peer deepsparse" not in rows


def test_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLONNADE_MAX_ISA", "portable")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    facts = gather_facts()
    assert facts.isa_used == "portable"
    assert facts.memory_bytes > 0
    assert 1 <= facts.physical_cores <= facts.cpus_online
    assert facts.environment["OMP_NUM_THREADS"] == "3"
    assert facts.packages["numpy"] is not None
    result = CliRunner().invoke(app, ["doctor", "--json"])
    document = json.loads(result.stdout)
    assert document["isa_forced"] == "portable"
    assert isinstance(document["advice"], list)


def write(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_system_files(tmp_path: Path) -> None:
    write(tmp_path, "meminfo", "MemTotal: 100 kB\nHugePages_Free: 7\nodd line\n")
    assert read_meminfo(tmp_path / "meminfo") == {"MemTotal": 102400, "HugePages_Free": 7}
    write(tmp_path, "thp", "always [madvise] never\n")
    assert read_selected(tmp_path / "thp") == "madvise"
    assert read_selected(tmp_path / "none") is None
    write(tmp_path, "sys/devices/system/cpu/cpu0/topology/thread_siblings_list", "0,64\n")
    assert smt_threads_per_core(tmp_path) == 2
    assert smt_threads_per_core(tmp_path / "none") == 1
    assert parse_cpu_list("0-2,5") == [0, 1, 2, 5]


def test_the_tightest_memory_limit_counts(tmp_path: Path) -> None:
    assert read_memory_limit(tmp_path) is None
    write(tmp_path, "proc/self/cgroup", "0::/a/b\n")
    write(tmp_path, "sys/fs/cgroup/a/b/memory.max", "max\n")
    assert read_memory_limit(tmp_path) is None
    write(tmp_path, "sys/fs/cgroup/a/memory.max", "2000\n")
    write(tmp_path, "sys/fs/cgroup/memory.max", "3000\n")
    assert read_memory_limit(tmp_path) == 2000
    write(tmp_path, "sys/fs/cgroup/memory/memory.limit_in_bytes", f"{1 << 63}\n")
    assert read_memory_limit(tmp_path) == 2000
