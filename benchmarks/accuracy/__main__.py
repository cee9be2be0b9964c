"""python -m accuracy nm mlp|vit | resnet | minilm | speed | table, run in benchmarks/ by `./dev accuracy`.

Results are kept case by case: a set that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

import torch

from accuracy import fashion, minilm, nm, resnet, trained_speed
from accuracy.results import open_results
from accuracy.table import write_table


def main(arguments: list[str] | None = None) -> int:
    """Run one set; what is in its file already is not run again."""
    parser = argparse.ArgumentParser(prog="accuracy", description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    sets = parser.add_subparsers(dest="set", required=True)
    chosen = sets.add_parser("nm", help="N:M recipes on Fashion-MNIST")
    chosen.add_argument("network", nargs="+", choices=list(nm.TRAININGS))
    chosen.add_argument("--recipes", nargs="+", choices=nm.ALL_RECIPES, default=nm.ALL_RECIPES)
    chosen.add_argument("--patterns", nargs="+", choices=nm.PATTERNS, default=nm.PATTERNS)
    chosen.add_argument("--seeds", type=int, nargs="+", default=nm.SEEDS)
    chosen = sets.add_parser("resnet", help="a ResNet at 95 % sparsity, in float32 and int8")
    chosen.add_argument("--seeds", type=int, default=3)
    chosen = sets.add_parser("minilm", help="MiniLM on two text tasks, at 80 and 90 % sparsity")
    chosen.add_argument(
        "--tasks", nargs="+", choices=list(minilm.BUDGETS), default=["bbc", "vader"]
    )
    chosen.add_argument("--seeds", type=int, nargs="+", default=[0])
    chosen = sets.add_parser("speed", help="of the trained MiniLM classifiers in the engine")
    chosen.add_argument("--seed", type=int, default=0)
    chosen.add_argument("--seconds", type=float, default=5.0, help="for each model")
    sets.add_parser("table", help="write docs/accuracy.md from what is there")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.set == "table":
        write_table()
    elif options.set == "speed":
        trained_speed.run(
            options.seed, options.threads, options.seconds, open_results("minilm_speed")
        )
    elif options.set == "resnet":
        run_resnet(options.seeds)
    elif options.set == "minilm":
        for seed in options.seeds:
            for task in options.tasks:
                minilm.run_task(task, seed, open_results("minilm"))
    else:
        for network in options.network:
            run_nm(
                network, nm.list_cases(network, options.recipes, options.patterns, options.seeds)
            )
    return 0


def run_nm(network: str, cases: Iterable[nm.Case]) -> None:
    """The trainings of a network that are not done yet."""
    results = open_results(f"nm_{network}")
    train, test = fashion.load()
    for case in cases:
        if case.key not in results.entries:
            entry = nm.run_case(case, train, test)
            results.add(case.key, entry)
            print(f"{case.key}: {entry['accuracy']:.4f} ({entry['cpu_s']} s)", flush=True)


def run_resnet(seeds: int) -> None:
    """All seeds that are not done yet."""
    results = open_results("resnet")
    train, test = fashion.load()
    for seed in range(seeds):
        if str(seed) not in results.entries:
            results.add(str(seed), resnet.run_seed(seed, train, test))
            print(f"resnet/{seed}: {results.entries[str(seed)]}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
