"""python -m models list | build NAME... | path NAME, run in benchmarks/."""

from __future__ import annotations

import argparse
import sys

from models import (
    LibraryMissingError,
    PackageCorruptError,
    PackageUnavailableError,
    build,
    find,
    names,
)
from models.catalogue import MODELS

EVERYTHING = "all"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 when it worked."""
    parser = argparse.ArgumentParser(prog="models", description="Real models, built and cached.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every model, and whether it is built")
    built = commands.add_parser("build", help="build into the cache and print the paths")
    built.add_argument("name", nargs="+", choices=[*names(), EVERYTHING])
    path = commands.add_parser("path", help="where the file is; 1 when it is not built")
    path.add_argument("name", choices=names())
    chosen = parser.parse_args(arguments)
    if chosen.command == "list":
        return _list()
    if chosen.command == "path":
        return _path(chosen.name)
    return _build(names() if EVERYTHING in chosen.name else chosen.name)


def _list() -> int:
    for model in MODELS.values():
        size = f"{model.path.stat().st_size / 1e6:.1f} MB" if model.is_built else "not built"
        print(f"{model.name:20} {size:>10}  {model.summary} (seq: {model.seq_means})")
    return 0


def _path(name: str) -> int:
    model = find(name)
    print(model.path)
    return 0 if model.is_built else 1


def _build(chosen: list[str]) -> int:
    status = 0
    for name in chosen:
        try:
            print(build(name), flush=True)
        except (PackageUnavailableError, PackageCorruptError, LibraryMissingError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
