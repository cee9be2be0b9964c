"""Check that objects compiled for one instruction set share no symbol with the others.

A weak symbol (an inline function, a template) that two objects define is linked once, from
either of them. If the copy with AVX-512 instructions wins, an older CPU dies of it far from any
dispatch. So an ISA object may define weak symbols only for entities of its own ISA namespace, and
may run nothing at load time.

    check_isa_symbols.py BUILD_DIRECTORY
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ISA_OBJECT = re.compile(r"^(?:x86|arm)_(avx512_vnni|avx512|avx2|amx|neon)[_.].*\.o$")
WEAK = frozenset("WVwvu")
STATIC_INITIALISER = "_GLOBAL__sub_I_"


def main(build: Path) -> int:
    objects = sorted(path for path in build.rglob("*.o") if ISA_OBJECT.match(path.name))
    if not objects:
        print(f"ISA symbols: no ISA object under {build}; build first")
        return 1
    problems = [problem for path in objects for problem in check_object(path)]
    for problem in problems:
        print(problem)
    print(f"ISA symbols: {len(objects)} objects, {len(problems)} problems")
    return 1 if problems else 0


def check_object(path: Path) -> Iterator[str]:
    """Symbols of one object that another ISA's object could define too."""
    found = ISA_OBJECT.match(path.name)
    own = f"colonnade::{found[1] if found else ''}::"
    for kind, name in _defined_symbols(path):
        if kind in WEAK and own not in name:
            yield f"{path.parent.name}/{path.name}: weak symbol outside {own[:-2]}: {name}"
        if STATIC_INITIALISER in name:
            yield f"{path.parent.name}/{path.name}: code that runs at load time: {name}"


def _defined_symbols(path: Path) -> Iterator[tuple[str, str]]:
    listing = subprocess.run(
        ["nm", "--defined-only", "--demangle", str(path)],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for line in listing.splitlines():
        _, kind, name = line.split(maxsplit=2)
        yield kind, name


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
