"""Check who includes whom in native/, and who imports the native core in src/colonnade.

Other imports between Python modules are checked by import-linter (see pyproject.toml).
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

MAY_INCLUDE = {
    "base": {"base"},
    "simd": {"base", "simd"},
    "kernels": {"base", "simd", "kernels"},
    "runtime": {"base", "runtime"},
    "exec": {"base", "kernels", "runtime", "exec"},
    "bindings": {"base", "kernels", "runtime", "exec", "bindings"},
}
"""For each folder of native/, the folders whose headers its files may include."""

ONLY_IN_BINDINGS = ("nanobind/", "Python.h", "numpy/")

MAY_IMPORT_CORE = {"__init__", "planner", "engine", "bench", "cli"}
"""Modules of colonnade that may import colonnade._core."""

MAY_IMPORT_PACKAGE = {"bench", "cli", "serve"}
"""Modules that use colonnade as its users do: `import colonnade`."""

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def main() -> int:
    problems = [*check_native(ROOT / "native"), *check_package(ROOT / "src" / "colonnade")]
    for problem in problems:
        print(problem)
    print(f"layers: {len(problems)} problems")
    return 1 if problems else 0


def check_native(native: Path) -> Iterator[str]:
    """Includes of native/ against MAY_INCLUDE."""
    for path in sorted(native.rglob("*")):
        if path.suffix not in (".h", ".cc", ".inc"):
            continue
        folder = path.relative_to(native).parts[0]
        where = path.relative_to(native.parent)
        if folder not in MAY_INCLUDE:
            yield f"{where}: folder {folder!r} is not in the layer table"
            continue
        for line, quoted, angled in _includes(path):
            reason = _reason_against(folder, quoted, angled)
            if reason:
                yield f"{where}:{line}: {reason}"


def _includes(path: Path) -> Iterator[tuple[int, str, str]]:
    for number, text in enumerate(path.read_text().splitlines(), start=1):
        if found := INCLUDE.match(text):
            yield number, found[1] or "", found[2] or ""


def _reason_against(folder: str, quoted: str, angled: str) -> str:
    if angled:
        is_python = angled.startswith(ONLY_IN_BINDINGS) and folder != "bindings"
        return f"<{angled}> belongs in bindings/" if is_python else ""
    target = quoted.split("/")[0]
    if "/" not in quoted or target not in MAY_INCLUDE:
        return f'"{quoted}": write the path from native/, as "{folder}/..."'
    if target not in MAY_INCLUDE[folder]:
        allowed = ", ".join(sorted(MAY_INCLUDE[folder]))
        return f'{folder}/ may not include "{quoted}" (it may: {allowed})'
    return ""


def check_package(package: Path) -> Iterator[str]:
    """Imports of the native core and of the package itself."""
    for path in sorted(package.rglob("*.py")):
        module = path.relative_to(package).parts[0].removesuffix(".py")
        for line, name in _package_imports(path):
            allowed = MAY_IMPORT_CORE if name == "_core" else MAY_IMPORT_PACKAGE
            if module not in allowed and not _is_module(package, name):
                what = "colonnade._core" if name == "_core" else "the colonnade package"
                where = path.relative_to(package.parent)
                yield f"{where}:{line}: {module} may not import {what}"


def _package_imports(path: Path) -> Iterator[tuple[int, str]]:
    """Lines that import `_core` or a name straight from `colonnade` ("" for all of it)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in ("colonnade", "colonnade._core"):
                    yield node.lineno, alias.name.removeprefix("colonnade").removeprefix(".")
        elif isinstance(node, ast.ImportFrom):
            if node.module == "colonnade._core":
                yield node.lineno, "_core"
            elif node.module == "colonnade":
                for alias in node.names:
                    yield node.lineno, alias.name


def _is_module(package: Path, name: str) -> bool:
    return bool(name) and ((package / f"{name}.py").exists() or (package / name).is_dir())


if __name__ == "__main__":
    sys.exit(main())
