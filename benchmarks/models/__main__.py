"""python -m models list | build NAME... | path NAME, run in benchmarks/.

NAME may be a sparse variant of a model, such as resnet50_s95 (see sparse.py).
"""

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
    built.add_argument("name", nargs="+", type=_known_name_or_all)
    path = commands.add_parser("path", help="where the file is; 1 when it is not built")
    path.add_argument("name", type=_known_name)
    chosen = parser.parse_args(arguments)
    if chosen.command == "list":
        return _list()
    if chosen.command == "path":
        return _path(chosen.name)
    return _build(names() if EVERYTHING in chosen.name else chosen.name)


def _known_name(name: str) -> str:
    try:
        return find(name).name
    except KeyError as error:
        raise argparse.ArgumentTypeError(str(error.args[0])) from error


def _known_name_or_all(name: str) -> str:
    return name if name == EVERYTHING else _known_name(name)


def _list() -> int:
    for model in MODELS.values():
        size = f"{model.path.stat().st_size / 1e6:.1f} MB" if model.is_built else "not built"
        print(f"{model.name:20} {size:>10}  {model.summary} (seq: {model.seq_means})")
    print("and sparse variants: NAME_s90 and the like, see benchmarks/models/sparse.py")
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
