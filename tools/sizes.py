"""Print the sizes of files and Python functions: median, p90 and the largest. It only reports."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GROUPS = {
    "src (Python)": ("src", ("*.py",)),
    "native (C++)": ("native", ("*.cc", "*.h", "*.inc")),
    "tests": ("tests", ("*.py", "*.cc", "*.h", "*.inc")),
    "benchmarks": ("benchmarks", ("*.py",)),
    "tools": ("tools", ("*.py",)),
}
NUM_LARGEST = 10


@dataclass(frozen=True, slots=True, order=True)
class Size:
    """Lines of a file or of a function."""

    lines: int
    name: str


def main() -> None:
    print(f"{'':24}{'count':>7}{'lines':>8}{'median':>8}{'p90':>6}{'max':>6}")
    for group, (folder, patterns) in GROUPS.items():
        _print_row(f"{group} files", list(file_sizes(folder, patterns)))
    functions = list(function_sizes("src"))
    _print_row("src functions", functions)
    print("\nlargest files")
    files = [size for folder, patterns in GROUPS.values() for size in file_sizes(folder, patterns)]
    _print_largest(files)
    print("\nlongest Python functions in src")
    _print_largest(functions)


def file_sizes(folder: str, patterns: Sequence[str]) -> Iterator[Size]:
    """Lines of every matching file under a folder."""
    for pattern in patterns:
        for path in (ROOT / folder).rglob(pattern):
            yield Size(len(path.read_text().splitlines()), str(path.relative_to(ROOT)))


def function_sizes(folder: str) -> Iterator[Size]:
    """Lines of every Python function under a folder."""
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                yield Size(lines, f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")


def _print_row(title: str, sizes: Sequence[Size]) -> None:
    if not sizes:
        return
    lines = sorted(size.lines for size in sizes)
    median, p90 = lines[len(lines) // 2], lines[len(lines) * 9 // 10]
    print(f"{title:24}{len(lines):7}{sum(lines):8}{median:8}{p90:6}{lines[-1]:6}")


def _print_largest(sizes: Sequence[Size]) -> None:
    for size in sorted(sizes, reverse=True)[:NUM_LARGEST]:
        print(f"{size.lines:6}  {size.name}")


if __name__ == "__main__":
    main()
