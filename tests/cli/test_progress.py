"""What a command tells while it works: people a line that moves, machines JSON, files nothing."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from diffaug.cli import progress
from diffaug.cli.console import PlainConsole
from diffaug.cli.progress import Counts, Log, counted
from tests.conftest import Cli
from tests.support.forks import Forks
from tests.support.hostile import fashion, write_samples
from tests.support.services import wait_until


@dataclass
class Tally:
    images: int = 0
    failed: int = 0


@dataclass
class Clock:
    """A clock that stands still unless it is moved.

    Attributes:
        now: what it shows, in seconds.
    """

    now: float = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which progress is timed."""
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def working(tally: Tally, before: Callable[[int], None] = lambda number: None) -> Iterator[int]:
    """Four shards of two images each, one of which fails; `before` each, something is called."""
    for number in range(4):
        before(number)
        tally.images += 2
        tally.failed += number == 2
        yield number


def log_of(**options: Any) -> tuple[Log, io.StringIO]:
    stream = io.StringIO()
    console = PlainConsole(file=stream, width=200, **options)
    return Log(console), stream


def test_on_a_terminal_a_line_counts_and_tells_what_failed() -> None:
    log, stream = log_of(force_terminal=True)
    tally = Tally()

    def drawn(number: int) -> None:
        """The line comes to show what was done so far."""
        wait_until(lambda: f"{number}/4" in stream.getvalue(), 120, f"{number}/4 on the line")

    counts = Counts(tally, "images", "failed")
    done = list(counted(working(tally, drawn), 4, "doing shards", log, counts))
    assert done == [0, 1, 2, 3]
    for said in ("doing shards", "1/4", "6 images", "8 images", "1 failed", "/s"):
        assert said in stream.getvalue()


def test_where_no_person_looks_on_nothing_moves() -> None:
    log, stream = log_of()
    assert list(counted(working(Tally()), 4, "doing shards", log)) == [0, 1, 2, 3]
    log.emit("only", machines=1)
    assert stream.getvalue() == ""
    log.print("[a line]")
    assert stream.getvalue() == "[a line]\n"


def test_as_json_it_tells_now_and_then_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, clock: Clock
) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0.01)
    log, stream = log_of(force_terminal=True)
    log.json, tally = True, Tally()

    def events() -> list[dict[str, Any]]:
        lines, _, _ = stream.getvalue().rpartition("\n")
        return [json.loads(line) for line in lines.splitlines()]

    def told(done: int) -> dict[str, Any] | None:
        """An event of what was done by when the clock had moved that often."""
        at = (done, 2.0 * done)
        return next((one for one in events() if (one["done"], one["seconds"]) == at), None)

    def two_seconds_later(number: int) -> None:
        wait_until(lambda: told(number) is not None, 120, f"an event of {number} shards")
        clock.now += 2

    work = working(tally, two_seconds_later)
    list(counted(work, 4, "doing shards", log, Counts(tally, "images", "failed")))
    assert {event["event"] for event in events()} == {"progress"}
    assert {event["what"] for event in events()} == {"doing shards"}
    assert [event["done"] for event in events()] == sorted(event["done"] for event in events())
    first, middle, last = events()[0], told(2), events()[-1]
    assert first["seconds_left"] is None
    assert middle is not None
    assert middle["seconds_left"] == 4.0
    assert (last["done"], last["total"], last["seconds"], last["seconds_left"]) == (4, 4, 8, 0)
    assert (last["images"], last["failed"]) == (8, 1)
    assert last["images_per_second"] == 1.0
    assert all(datetime.fromisoformat(event["time"]).tzinfo for event in events())


def test_what_goes_on_in_the_middle_is_timed_from_there(clock: Clock) -> None:
    log, stream = log_of()
    log.json = True

    def steps() -> Iterator[int]:
        for step in (91, 92):
            clock.now += 3
            yield step

    list(counted(steps(), 100, "training steps", log, done=lambda step: step))
    (event,) = map(json.loads, stream.getvalue().splitlines())
    assert (event["done"], event["seconds"], event["seconds_left"]) == (92, 6.0, 24.0)


def test_it_ends_with_what_was_done_when_the_work_breaks_off() -> None:
    log, stream = log_of()
    log.json = True

    def broken() -> Iterator[int]:
        yield 0
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(counted(broken(), 2, "doing shards", log))
    (event,) = map(json.loads, stream.getvalue().splitlines())
    assert event["done"] == 1


def test_a_job_told_in_json(tmp_path: Path, forked: Forks) -> None:
    for number in range(2):
        write_samples(tmp_path / f"s{number}.tar", fashion(3, 3 * number))
    done = forked(
        *("augment", "--log-json", "s0.tar", "s1.tar", "out", "--model=fashion-mnist-32"),
        *("--sampler=one-step", "--copies=2", "--batch-size=4"),
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("12 planned = 12 made")
    events = [json.loads(line) for line in done.stderr.splitlines()]
    shards = [event for event in events if event["event"] == "shard"]
    assert [(shard["shard"], shard["ok"], shard["failed"]) for shard in shards] == [
        ("s0", 6, 0),
        ("s1", 6, 0),
    ]
    *_, last = (event for event in events if event["event"] == "progress")
    assert (last["done"], last["total"], last["images"], last["failed"]) == (2, 2, 12, 0)
    *_, summary = events
    assert summary["event"] == "summary"
    assert (summary["planned"], summary["ok"], summary["shards"]) == (12, 12, 2)


def test_a_mistake_told_in_json(cli: Cli) -> None:
    said = cli("verify", "nowhere", "--log-json")
    assert said.code == 2
    event = json.loads(said.err)
    assert event["event"] == "error"
    assert "nowhere is not an output of diffaug" in event["message"]
    assert cli("verify", "nowhere").err.startswith("diffaug: nowhere")
