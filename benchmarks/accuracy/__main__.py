"""python -m accuracy nm [mlp|vit] | table, run in benchmarks/ by `./dev accuracy`."""

from __future__ import annotations

import argparse
import sys

import torch

from accuracy import fashion, nm
from accuracy.results import open_results


def main(arguments: list[str] | None = None) -> int:
    """Run one set; what is in its file already is not run again."""
    parser = argparse.ArgumentParser(prog="accuracy", description=__doc__)
    sets = parser.add_subparsers(dest="set", required=True)
    chosen = sets.add_parser("nm", help="N:M recipes on Fashion-MNIST")
    chosen.add_argument("network", nargs="+", choices=list(nm.TRAININGS))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for network in options.network:
        run_nm(network)
    return 0


def run_nm(network: str) -> None:
    """All trainings of a network that are not done yet."""
    results = open_results(f"nm_{network}")
    train, test = fashion.load()
    for case in nm.list_cases(network):
        if case.key not in results.entries:
            entry = nm.run_case(case, train, test)
            results.add(case.key, entry)
            print(f"{case.key}: {entry['accuracy']:.4f} ({entry['cpu_s']} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
