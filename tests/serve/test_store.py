"""The server's cache: whole files or none, and never more than it may hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from diffaug.errors import ConfigError
from diffaug.serve.store import Store, Stored


def result(number: int, size: int = 1000) -> Stored:
    return Stored(f"{number:032x}", "png", {"copy": number, "log_snr": -1.5}, bytes(size))


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path / "cache", 10**6)
    assert store.read(result(1).etag) is None
    store.write(result(1))
    assert store.read(result(1).etag) == result(1)
    assert Store(tmp_path / "cache", 10**6).read(result(1).etag) == result(1)


@pytest.mark.parametrize("damage", ["cut", "changed", "foreign", "empty"])
def test_a_damaged_file_is_missing_and_written_again(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path, 10**6)
    store.write(result(1))
    (path,) = tmp_path.rglob("*.result")
    data = path.read_bytes()
    path.write_bytes(
        {"cut": data[:-1], "changed": data[:-1] + b"x", "foreign": b"[1]\n", "empty": b""}[damage]
    )
    assert store.read(result(1).etag) is None
    store.write(result(1))
    assert store.read(result(1).etag) == result(1)


def test_a_file_under_another_name_is_not_taken(tmp_path: Path) -> None:
    store = Store(tmp_path, 10**6)
    store.write(result(1))
    (path,) = tmp_path.rglob("*.result")
    path.rename(path.with_name(f"{2:032x}.result"))
    assert store.read(result(2).etag) is None


def test_the_least_recently_used_leave_first(tmp_path: Path) -> None:
    store = Store(tmp_path, 4000)
    for number in (1, 2, 3):
        store.write(result(number))
    assert store.read(result(1).etag) is not None
    store.write(result(4))
    there = [number for number in (1, 2, 3, 4) if store.read(result(number).etag) is not None]
    assert there == [1, 3, 4]
    assert sum(path.stat().st_size for path in tmp_path.rglob("*.result")) <= 4000


def test_the_order_outlives_the_process(tmp_path: Path) -> None:
    store = Store(tmp_path, 4000)
    for number in (1, 2, 3):
        store.write(result(number))
    store.read(result(1).etag)
    again = Store(tmp_path, 4000)
    again.write(result(4))
    assert again.read(result(2).etag) is None
    assert again.read(result(1).etag) == result(1)


def test_a_result_larger_than_the_cache_stays_until_the_next(tmp_path: Path) -> None:
    store = Store(tmp_path, 100)
    store.write(result(1))
    store.write(result(2))
    assert [path.stem for path in tmp_path.rglob("*.result")] == [result(2).etag]


@pytest.mark.parametrize("folder", ["", " ", "/"])
def test_no_cache_in_the_root(folder: str) -> None:
    with pytest.raises(ConfigError, match="cache"):
        Store(folder, 100)
