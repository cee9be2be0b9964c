"""List names that usually hide a missing noun, and `**kwargs` in signatures. It only reports."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("src", "native", "tests", "tools", "benchmarks", "examples")
VAGUE = re.compile(r"(^|_)(utils?|helpers?|common|misc|manager|stuff)(_|$)|^base_.")


def main() -> None:
    findings = [*vague_names(), *open_signatures()]
    for finding in findings:
        print(finding)
    print(f"style: {len(findings)} findings (reported, not enforced)")


def vague_names() -> Iterator[str]:
    """Files and folders named after no thing in particular."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.name.startswith((".", "__")) or "__pycache__" in path.parts:
                continue
            if VAGUE.search(path.stem):
                yield f"{path.relative_to(ROOT)}: vague name"


def open_signatures() -> Iterator[str]:
    """Functions that take `**kwargs`, which pass through layers unnamed."""
    for path in sorted((ROOT / "src").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and node.args.kwarg is not None:
                where = f"{path.relative_to(ROOT)}:{node.lineno}"
                yield f"{where}: {node.name}(**{node.args.kwarg.arg})"


if __name__ == "__main__":
    main()
