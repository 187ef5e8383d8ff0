"""Killed at any moment, again and again, a job ends in the very output it would have had."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.support.hostile import fashion, write_samples
from tests.support.services import BUCKET, bad_network, object_store

pytestmark = pytest.mark.services


def storm(
    source: str, output: str, kills: int, *flags: str, environment: dict[str, str] | None = None
) -> dict[str, float]:
    """Run `tests.support.storm`, which compares every finished output; what it counted."""
    command = [sys.executable, "-m", "tests.support.storm", source, f"{output}/runs"]
    command += ["--reference", f"{output}/reference", "--kills", str(kills), *flags]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | (environment or {}),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    counted: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return counted


def shards(folder: Path) -> str:
    for number in range(8):
        write_samples(folder / f"in/s{number}.tar", fashion(4, 4 * number))
    return f"{folder}/in/*.tar"


@contextmanager
def on_a_store(folder: Path, share: float) -> Iterator[tuple[str, dict[str, str]]]:
    """Shards in a bucket, and the environment of a client of whose requests a share goes wrong."""
    source = shards(folder)
    with object_store(folder / "s3") as store:
        store.files().put(source, f"{BUCKET}/in/")
        with bad_network(store, share) as (seen, _):
            yield f"s3://{BUCKET}/in/*.tar", seen.environment


def test_on_a_disk(tmp_path: Path) -> None:
    counted = storm(shards(tmp_path), str(tmp_path / "out"), 6)
    assert counted["kills"] == 6


def test_two_jobs_at_one_output(tmp_path: Path) -> None:
    """Begun by mistake, and killed each at its own moment."""
    counted = storm(shards(tmp_path), str(tmp_path / "out"), 4, "--jobs=2")
    assert counted["starts"] > counted["kills"] == 4


def test_on_a_store_by_a_bad_network(tmp_path: Path) -> None:
    with on_a_store(tmp_path, 0.2) as (source, environment):
        counted = storm(source, f"s3://{BUCKET}/out", 4, environment=environment)
    assert counted["kills"] == 4
