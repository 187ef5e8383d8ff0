"""What it costs to resume an `AugmentedDataset` in the middle of an epoch.

    python -m tests.benchmarks.resuming OUTPUT REAL [--at 1500 2900]

The seconds that the samples before a state took, and those from loading the state to the next one.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice

import diffaug


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("output")
    parser.add_argument("real")
    parser.add_argument("--at", type=int, nargs="+", default=[1500, 2900])
    given = parser.parse_args()

    def dataset() -> diffaug.AugmentedDataset:
        return diffaug.AugmentedDataset(given.output, real=given.real, samples=max(given.at) + 1)

    print("| sample | before it, s | resumed at it, s |\n| ---: | ---: | ---: |")
    for at in given.at:
        first, begun = dataset(), time.perf_counter()
        stream = iter(first)
        list(islice(stream, at))
        passed = time.perf_counter() - begun
        state, expected = first.state_dict(), next(stream)["__key__"]
        second, begun = dataset(), time.perf_counter()
        second.load_state_dict(state)
        assert next(iter(second))["__key__"] == expected
        print(f"| {at:,} | {passed:.2f} | {time.perf_counter() - begun:.2f} |", flush=True)


if __name__ == "__main__":
    main()
