"""What a queue bounded in time can reach at twice saturation, whatever serves it.

Requests arrive at random, one is served at a time in a fixed time, and one is let in if it would wait
for at most `bound` such times. Prints the share of saturation that is answered, the p99 of those, in
times of service, and the first again with refusals that cost `--refusal` of a service each:

    python benchmarks/queue_bound.py
"""

from __future__ import annotations

import argparse

import numpy as np

BOUNDS = (1.0, 1.25, 1.5, 1.75, 2.0)
LOAD = 2.0
ARRIVALS = 400_000


def main() -> None:
    """Print a row for each bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--refusal", type=float, default=0.01)
    chosen = parser.parse_args()
    print("| bound | answered | p99 | answered, refusals cost |\n|---|---|---|---|")
    for bound in BOUNDS:
        answered, p99 = simulate(bound)
        costly, _ = simulate(bound, chosen.refusal)
        print(f"| {bound:g} | {answered:.3f} | {p99:.2f} | {costly:.3f} |")


def simulate(bound: float, refusal: float = 0.0) -> tuple[float, float]:
    """(answers for each time of service, p99 of their latency)"""
    gaps = np.random.default_rng(0).exponential(1.0 / LOAD, ARRIVALS)
    ahead, latencies = 0.0, []
    for gap in gaps:
        ahead = max(0.0, ahead - gap)
        if ahead <= bound:
            latencies.append(ahead + 1.0)
            ahead += 1.0
        else:
            ahead += refusal
    return len(latencies) / float(gaps.sum()), float(np.percentile(latencies, 99))


if __name__ == "__main__":
    main()
