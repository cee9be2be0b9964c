"""The project's own checks find what they are for, and nothing in good code."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

import check_isa_symbols
import check_layers


@pytest.mark.parametrize(
    ("file", "include", "problem"),
    [
        ("kernels/conv/conv.cc", '"base/check.h"', ""),
        ("kernels/conv/conv.cc", '"runtime/thread_pool.h"', "kernels/ may not include"),
        ("runtime/arena.cc", '"kernels/conv/conv.h"', "runtime/ may not include"),
        ("base/check.cc", '"exec/op.h"', "base/ may not include"),
        ("exec/op.cc", '"bindings/runtime.h"', "exec/ may not include"),
        ("exec/op.cc", '"../base/check.h"', "write the path from native/"),
        ("exec/op.cc", "<nanobind/nanobind.h>", "belongs in bindings/"),
        ("bindings/module.cc", "<nanobind/nanobind.h>", ""),
        ("extra/new.cc", '"base/check.h"', "not in the layer table"),
    ],
)
def test_includes(tmp_path: Path, file: str, include: str, problem: str) -> None:
    path = tmp_path / "native" / file
    path.parent.mkdir(parents=True)
    path.write_text(f"#include {include}\n")
    problems = list(check_layers.check_native(tmp_path / "native"))
    assert len(problems) == bool(problem)
    assert problem in "".join(problems)


@pytest.mark.parametrize(
    ("file", "line", "problem"),
    [
        ("engine/compile.py", "from colonnade import _core, knobs", ""),
        ("planner/select.py", "import colonnade._core", ""),
        ("passes/fuse.py", "from colonnade import _core", "passes may not import colonnade._core"),
        ("ir/graph.py", "from colonnade._core import Runtime", "ir may not import"),
        ("ir/graph.py", "from colonnade import Engine", "ir may not import the colonnade package"),
        ("engine/compile.py", "def f():\n    import colonnade", "engine may not import the"),
        ("cli/run.py", "import colonnade", ""),
        ("errors.py", "from colonnade import _core", "errors may not import colonnade._core"),
    ],
)
def test_imports_of_the_core(tmp_path: Path, file: str, line: str, problem: str) -> None:
    package = tmp_path / "colonnade"
    for name in (file, "knobs.py"):
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    (package / file).write_text(line + "\n")
    problems = list(check_layers.check_package(package))
    assert len(problems) == bool(problem)
    assert problem in "".join(problems)


@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("namespace colonnade::avx2 { inline int f(int x) { return x + 1; } }", ""),
        ("static inline int f(int x) { return x + 1; }", ""),
        ("namespace colonnade { inline int f(int x) { return x + 1; } }", "weak symbol outside"),
        ("template <int k> int f(int x) { return x + k; }\n#define f f<3>", "weak symbol outside"),
        (
            "int g(int);\nstatic int made = g(1);\nint f(int x) { return x + made; }",
            "code that runs at load time",
        ),
    ],
)
def test_isa_symbols(tmp_path: Path, source: str, problem: str) -> None:
    use = "using namespace colonnade::avx2;" if "::avx2" in source else ""
    use = use or ("using namespace colonnade;" if "namespace" in source else "")
    (tmp_path / "x86_avx2.cc").write_text(f"{source}\n{use}\nint user(int x) {{ return f(x); }}\n")
    target = tmp_path / "x86_avx2.cc.o"
    compile_ = ["g++", "-std=c++20", "-O0", "-c", str(tmp_path / "x86_avx2.cc"), "-o", str(target)]
    subprocess.run(compile_, check=True)
    problems = list(check_isa_symbols.check_object(target))
    assert len(problems) == bool(problem)
    assert problem in "".join(problems)
