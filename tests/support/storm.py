"""A storm of SIGKILLs over a job, and whether its output is as if there had been none.

    python -m tests.support.storm SOURCE OUTPUT --reference OUTPUT --kills 200 [--seed 0] [--jobs 2]

One process loads the packages and forks the jobs, each of which is the command line itself. A job
is killed at a random moment and begun again; one that ends by itself has its output compared with
the reference's and begins anew, in another folder below OUTPUT. With `--jobs 2` there are always
two of them at one output, killed each at its own moment. The last line printed is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import pickle
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import diffusers  # noqa: F401  what a job would load late is loaded here, once
import pyarrow.parquet as pq
import skimage.metrics  # noqa: F401

import diffaug.audit.clean
import diffaug.cli.progress
import diffaug.job.augment
import diffaug.job.commit
import diffaug.models.families.unet2d
import diffaug.output.summary
from diffaug import storage
from diffaug.cli import main as command_line
from diffaug.storage.find import filesystem

RECIPE = ("--sampler=one-step", "--batch-size=8", "--copies=2", "--strength=0.2:0.6")

T = TypeVar("T")

_OF_ITS_TIME = ("source_read_at", "started_at", "seconds", "host", "pid")
"""What a shard report says of its making, and not of the shard."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source")
    parser.add_argument("output")
    parser.add_argument("--reference", required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1)
    print(json.dumps(storm(**vars(parser.parse_args()))))


def storm(
    source: str, output: str, reference: str, kills: int, seed: int, jobs: int
) -> dict[str, float]:
    """Kill until there were so many kills and the last job has ended; count what happened.

    Raises:
        AssertionError: a finished output is not the reference's.
    """
    random_, counts, started = random.Random(seed), Counter[str](), time.monotonic()
    seconds = _uninterrupted(source, reference)
    expected = _in_a_child(lambda: contents(reference))
    while counts["kills"] < kills:
        counts["outputs"] += 1
        folder = storage.join(output, str(counts["outputs"]))
        while not _one_round(source, folder, jobs, random_, seconds, kills, counts):
            pass
        found, removed, left = _in_a_child(partial(_inspect, folder))
        assert found == expected, f"{folder} is not as {reference}"
        assert all(name.startswith(".") for name in removed), removed
        assert left == expected, f"{folder} has more in it than {reference}"
        counts["shards"] += sum(name.startswith("manifest/") for name in expected)
    return {**counts, "seconds": round(time.monotonic() - started, 1), "a_job": round(seconds, 2)}


def _uninterrupted(source: str, reference: str) -> float:
    """Make the reference; how long the job takes, in seconds."""
    started = time.monotonic()
    child = _fork(source, reference)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the reference could not be made"
    return time.monotonic() - started


def _one_round(
    source: str,
    folder: str,
    jobs: int,
    random_: random.Random,
    seconds: float,
    kills: int,
    counts: Counter[str],
) -> bool:
    """Begin the jobs and kill each at its moment; whether one ended by itself, all being done."""
    moments = {
        _fork(source, folder): time.monotonic() + random_.uniform(0, seconds) for _ in range(jobs)
    }
    counts["starts"] += jobs
    ended = False
    while moments:
        for child, moment in list(moments.items()):
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                assert code in (0, -signal.SIGKILL), f"a job ended with {code}"
                ended |= code == 0
                counts["kills"] += code != 0
                del moments[child]
            elif time.monotonic() > moment and counts["kills"] < kills:
                os.kill(child, signal.SIGKILL)
        time.sleep(0.002)
    return ended


def _fork(source: str, output: str) -> int:
    """The command line in a process of its own, without the time it takes to load it."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        sys.argv = ["diffaug", "augment", source, output, *RECIPE]
        command_line()
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os._exit(code)
    raise AssertionError("unreachable")


def _in_a_child(work: Callable[[], T]) -> T:
    """What `work` gives, which may start threads, as this process may not: it has to fork."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with open(writing, "wb") as pipe:  # noqa: PTH123
            try:
                pickle.dump(work(), pipe)
            finally:
                pipe.flush()
                os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:  # noqa: PTH123
        made: T = pickle.load(pipe)
    os.waitpid(child, 0)
    return made


def _inspect(output: str) -> tuple[dict[str, str], list[str], dict[str, str]]:
    """What is in an output; what `clean` then removes; and what is left, hidden names too."""
    found = contents(output)
    removed = [difference.where for difference in diffaug.audit.clean.clean(output)]
    return found, removed, contents(output, hidden=True)


def contents(output: str, hidden: bool = False) -> dict[str, str]:
    """The digest of every file of an output by its path; of a part, without its times.

    Names that begin with a dot are left out unless they are asked for.
    """
    fs, root = filesystem(output)
    fs.invalidate_cache()
    found = {}
    for path in fs.find(root):
        name = str(path)[len(root.rstrip("/")) + 1 :]
        if hidden or not any(piece.startswith(".") for piece in name.split("/")):
            data = fs.cat_file(path)
            timeless = _timeless(data) if name.endswith(".parquet") else data
            found[name] = hashlib.sha256(timeless).hexdigest()
    return found


def _timeless(part: bytes) -> bytes:
    table = pq.read_table(io.BytesIO(part))
    metadata = {name.decode(): value.decode() for name, value in table.schema.metadata.items()}
    report = json.loads(metadata.pop("diffaug.report"))
    metadata.pop("diffaug.digest")
    kept = {name: value for name, value in report.items() if name not in _OF_ITS_TIME}
    return json.dumps([table.to_pylist(), metadata, kept], sort_keys=True).encode()


if __name__ == "__main__":
    main()
