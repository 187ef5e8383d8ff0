"""Splits the last samples off a shard, so that they are not trained on.

python -m tests.benchmarks.hold_back train-000009.tar 2000 rest.tar held-back.tar
"""

from __future__ import annotations

import argparse
from pathlib import Path

from diffaug.shards import read_samples
from tests.benchmarks.half_labelled import write


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("shard", type=Path)
    parser.add_argument("count", type=int)
    parser.add_argument("rest", type=Path)
    parser.add_argument("held_back", type=Path)
    given = parser.parse_args()
    with given.shard.open("rb") as stream:
        samples = list(read_samples(stream, lambda _: True))
    write(given.rest, samples[: -given.count])
    write(given.held_back, samples[-given.count :])


if __name__ == "__main__":
    main()
