"""The long storm: hundreds of SIGKILLs over jobs on a disk, on an object store, by a bad network.

    python -m tests.benchmarks.storm [--kills 200]

Each finished output is compared with one that was left in peace (see `tests/support/storm.py`).
About five seconds a kill.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from tests.audit.test_storm import on_a_store, shards, storm
from tests.support.services import BUCKET

COLUMNS = ("starts", "kills", "outputs", "shards", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="a quarter of them in each row")
    kills = parser.parse_args().kills
    print("| where |", " | ".join(COLUMNS), "|")
    print("| :--- |", " ---: |" * len(COLUMNS), sep="")
    with tempfile.TemporaryDirectory(prefix="diffaug-storm-") as name:
        folder = Path(name)
        _show("disk", storm(shards(folder), f"{folder}/one", kills // 4))
        _show("disk, two jobs", storm(shards(folder), f"{folder}/two", kills // 4, "--jobs=2"))
        for share, what in ((0.0, "S3"), (0.2, "S3, every fifth request fails")):
            with on_a_store(folder / str(share), share) as (source, environment):
                output = f"s3://{BUCKET}/out"
                _show(what, storm(source, output, kills // 4, environment=environment))


def _show(what: str, counted: dict[str, float]) -> None:
    print(f"| {what} |", " | ".join(f"{counted[name]:g}" for name in COLUMNS), "|", flush=True)


if __name__ == "__main__":
    main()
