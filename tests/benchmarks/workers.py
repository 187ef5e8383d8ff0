"""Two worker processes beside one: the flow `augment-dataset`, each worker with one thread.

`python -m tests.benchmarks.workers`. The arms take turns, in alternating order, on the same shards,
each a run of the flow in a process of its own against one Prefect server:

one    runner=processes, workers=1, OMP_NUM_THREADS=1
two    runner=processes, workers=2, OMP_NUM_THREADS=1
local  runner=local with both cores: what a machine of few cores does without workers

Two rates a run, in images a second. `steady`: of the shards committed after every worker has
committed its first, by the time from then to the last commit, so that it holds no start of
processes and no loading. `whole`: of all shards, by the time of the whole process, imports,
planning and Prefect included. A ratio is the median of the rounds' own. The last line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from flows.server import prefect_server
from tests.benchmarks.workloads import write_shards
from tests.conftest import ROOT

SCRIPT = """\
import json, sys
sys.path.insert(0, sys.argv[1])
from flows.augment_dataset import augment_dataset
from tests.support.jobs import GREY
augment_dataset(**json.loads(sys.argv[2]))
"""
ARMS: dict[str, dict[str, object]] = {
    "one": {"runner": "processes", "workers": 1},
    "two": {"runner": "processes", "workers": 2},
    "local": {"runner": "local"},
}

Rates = dict[str, tuple[float, float]]
"""Of one round, by arm: steady and whole."""


def main() -> None:
    """Run the arms, and print their rates and ratios."""
    asked = _arguments()
    with tempfile.TemporaryDirectory(prefix="diffaug-bench-") as name:
        folder = Path(name)
        shards = write_shards(folder / "source", asked.shards * asked.images, asked.images)
        with prefect_server(folder, folder / "server.log") as url:
            environment = os.environ | {
                "PREFECT_HOME": name,
                "PREFECT_API_URL": url,
                "PREFECT_LOGGING_LEVEL": "WARNING",
                "DO_NOT_TRACK": "1",
            }
            rounds: list[Rates] = []
            for index in range(asked.rounds):
                order = list(ARMS) if index % 2 == 0 else list(ARMS)[::-1]
                rates = {}
                for arm in order:
                    output = folder / f"{arm}-{index}"
                    rates[arm] = run(arm, shards, output, environment, asked.images)
                rounds.append(rates)
                print(f"round {index + 1}:", _told(rates), flush=True)
    result = {}
    for which, kind in enumerate(("steady", "whole")):
        for arm in ("two", "local"):
            values = [one[arm][which] / one["one"][which] for one in rounds]
            result[f"{arm}_over_one_{kind}"] = [round(v, 3) for v in _spread(values)]
    print(json.dumps(result | {"images": asked.images, "shards": asked.shards}))


def run(
    arm: str, shards: list[str], output: Path, environment: dict[str, str], images: int
) -> tuple[float, float]:
    """One arm: its steady rate and that of its whole process."""
    parameters: dict[str, object] = {"source": shards, "output": str(output)}
    parameters |= {
        "recipe": {"model": "fashion-mnist-32", "strength": 0.4, "steps": 20},
        "shards_per_task": 1,
    } | ARMS[arm]
    if arm != "local":
        environment = environment | {"OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(ROOT), json.dumps(parameters)],
        env=environment,
        check=True,
    )
    seconds = time.perf_counter() - started
    commits = sorted(path.stat().st_mtime for path in output.glob("manifest/*.parquet"))
    assert len(commits) == len(shards)
    begun = 2 if arm == "two" else 1
    steady = images * (len(commits) - begun) / (commits[-1] - commits[begun - 1])
    return steady, images * len(commits) / seconds


def _told(rates: Rates) -> str:
    return ", ".join(
        f"{arm} {steady:.1f} steady, {whole:.1f} whole" for arm, (steady, whole) in rates.items()
    )


def _spread(values: list[float]) -> tuple[float, float, float]:
    return median(values), min(values), max(values)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=64, help="in a shard")
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


if __name__ == "__main__":
    main()
