"""A storm of SIGKILLs over a job, and whether its output is as if there had been none."""

from __future__ import annotations

import hashlib
import io
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Mapping

import pyarrow.parquet as pq

import diffaug.audit.clean
from diffaug import storage
from diffaug.storage.find import filesystem
from tests.support.forks import Forked, Forks

RECIPE = (
    *("--model=fashion-mnist-32", "--sampler=one-step", "--batch-size=8"),
    *("--copies=2", "--strength=0.2:0.6"),
)

_OF_ITS_TIME = ("source_read_at", "started_at", "seconds", "host", "pid")
"""What a shard report says of its making, and not of the shard."""


def storm(
    forks: Forks, source: str, output: str, kills: int, jobs: int = 1, seed: int = 0
) -> dict[str, float]:
    """Kill until there were so many kills and the last job has ended; count what happened.

    A job is killed at a random moment and begun again; one that ends by itself has its output
    compared with one that was left in peace, and begins anew, in another folder below `output`.
    With two jobs there are always two of them at one output, killed each at its own moment.

    Raises:
        AssertionError: a finished output is not as it would be without a kill.
    """
    random_, counts, started = random.Random(seed), Counter[str](), time.monotonic()
    reference = storage.join(output, "reference")
    calm = _start(forks, source, reference)
    since = time.monotonic()  # not before the server has its imports
    assert calm.wait() == 0, calm.err
    seconds = time.monotonic() - since
    expected = contents(reference)
    while counts["kills"] < kills:
        counts["outputs"] += 1
        folder = storage.join(output, str(counts["outputs"]))
        ended = False
        while not ended:
            begun = [_start(forks, source, folder) for _ in range(jobs)]
            counts["starts"] += jobs
            moments = {job: time.monotonic() + random_.uniform(0, seconds) for job in begun}
            ended = _killed_or_ended(moments, kills, counts)
        assert contents(folder) == expected, f"{folder} is not as {reference}"
        removed = [difference.where for difference in diffaug.audit.clean.clean(folder)]
        assert all(name.startswith(".") for name in removed), removed
        left = contents(folder, hidden=True)
        assert left == expected, f"{folder} has more in it than {reference}"
        counts["shards"] += sum(name.startswith("manifest/") for name in expected)
    return {**counts, "seconds": round(time.monotonic() - started, 1), "a_job": round(seconds, 2)}


def _start(forks: Forks, source: str, output: str) -> Forked:
    return forks.start("augment", source, output, *RECIPE)


def _killed_or_ended(moments: Mapping[Forked, float], kills: int, counts: Counter[str]) -> bool:
    """Kill each job at its moment; whether one ended by itself, all being done."""
    running, ended = dict(moments), False
    while running:
        for job, moment in list(running.items()):
            code = job.poll()
            if code is not None:
                assert code in (0, -signal.SIGKILL), f"a job ended with {code}: {job.err}"
                ended |= code == 0
                counts["kills"] += code != 0
                job.close()
                del running[job]
            elif time.monotonic() > moment and counts["kills"] < kills:
                job.send_signal(signal.SIGKILL)
        time.sleep(0.002)
    return ended


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
