"""The long storm: hundreds of SIGKILLs over jobs on a disk, on an object store, by a bad network.

    python -m tests.benchmarks.storm [--kills 200]

Each finished output is compared with one that was left in peace (see `tests/support/storm.py`).
About five seconds a kill.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pytest

from tests.audit.test_storm import shards
from tests.support.forks import fork_server
from tests.support.services import BUCKET, bad_network, object_store, use
from tests.support.storm import storm

COLUMNS = ("starts", "kills", "outputs", "shards", "seconds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200, help="a quarter of them in each row")
    kills = parser.parse_args().kills // 4
    print("| where |", " | ".join(COLUMNS), "|")
    print("| :--- |", " ---: |" * len(COLUMNS), sep="")
    with tempfile.TemporaryDirectory(prefix="diffaug-storm-") as name:
        folder = Path(name)
        (folder / "forks").mkdir()
        with fork_server(folder / "forks") as forks:
            source = shards(folder)
            _show("disk", storm(forks, source, f"{folder}/one", kills))
            _show("disk, two jobs", storm(forks, source, f"{folder}/two", kills, jobs=2))
            with object_store(folder / "s3") as store:
                store.files().put(source, f"{BUCKET}/in/")
                for share, what in ((0.0, "S3"), (0.2, "S3, every fifth request fails")):
                    output = f"s3://{BUCKET}/out-{share}"
                    with bad_network(store, share) as (seen, _), pytest.MonkeyPatch.context() as to:
                        use(seen, to)
                        _show(what, storm(forks, f"s3://{BUCKET}/in/*.tar", output, kills))


def _show(what: str, counted: dict[str, float]) -> None:
    print(f"| {what} |", " | ".join(f"{counted[name]:g}" for name in COLUMNS), "|", flush=True)


if __name__ == "__main__":
    main()
