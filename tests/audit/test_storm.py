"""Killed at any moment, again and again, a job ends in the very output it would have had."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.forks import Forks
from tests.support.hostile import fashion, write_samples
from tests.support.services import Store, bad_network, use
from tests.support.storm import storm


def shards(folder: Path, count: int = 8) -> str:
    for number in range(count):
        write_samples(folder / f"in/s{number}.tar", fashion(4, 4 * number))
    return f"{folder}/in/*.tar"


@pytest.mark.process
def test_on_a_disk(tmp_path: Path, forked: Forks) -> None:
    counted = storm(forked, shards(tmp_path), str(tmp_path / "out"), 4)
    assert counted["kills"] == 4


@pytest.mark.process
@pytest.mark.proof
def test_two_jobs_at_one_output(tmp_path: Path, forked: Forks) -> None:
    """Begun by mistake, and killed each at its own moment."""
    counted = storm(forked, shards(tmp_path), str(tmp_path / "out"), 4, jobs=2)
    assert counted["starts"] > counted["kills"] == 4


@pytest.mark.services
@pytest.mark.proof
def test_on_a_store_by_a_bad_network(
    store: Store, bucket: str, tmp_path: Path, forked: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every fifth request of which goes wrong."""
    store.files().put(shards(tmp_path, 3), f"{bucket}/in/")
    with bad_network(store, 0.2) as (seen, _):
        use(seen, monkeypatch)
        counted = storm(forked, f"{bucket}/in/*.tar", f"{bucket}/out", 2)
    assert counted["kills"] == 2
