"""What a command tells while it works: people a line that moves, machines JSON, files nothing."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from diffaug.cli import progress
from diffaug.cli.progress import Counts, Log, counted
from tests.conftest import Cli, diffaug_command
from tests.support.hostile import fashion, write_samples


@dataclass
class Tally:
    images: int = 0
    failed: int = 0


def working(tally: Tally, seconds: float = 0.0) -> Iterator[int]:
    """Four shards of two images each, one of which fails."""
    for number in range(4):
        time.sleep(seconds)
        tally.images += 2
        tally.failed += number == 2
        yield number


def log_of(**options: Any) -> tuple[Log, io.StringIO]:
    stream = io.StringIO()
    console = Console(file=stream, width=200, **options)
    return Log(console), stream


def test_on_a_terminal_a_line_counts_and_tells_what_failed() -> None:
    log, stream = log_of(force_terminal=True)
    tally = Tally()
    counts = Counts(tally, "images", "failed")
    done = list(counted(working(tally, 0.6), 4, "doing shards", log, counts))
    assert done == [0, 1, 2, 3]
    for said in ("doing shards", "1/4", "8 images", "1 failed", "/s"):
        assert said in stream.getvalue()


def test_where_no_person_looks_on_nothing_moves() -> None:
    log, stream = log_of()
    assert list(counted(working(Tally()), 4, "doing shards", log)) == [0, 1, 2, 3]
    log.tell("only", machines=1)
    assert stream.getvalue() == ""
    log.say("[a line]")
    assert stream.getvalue() == "[a line]\n"


def test_as_json_it_tells_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_SECONDS", 0.05)
    log, stream = log_of(force_terminal=True)
    log.json, tally = True, Tally()
    list(counted(working(tally, 0.2), 4, "doing shards", log, Counts(tally, "images", "failed")))
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert len(events) > 4
    assert {event["event"] for event in events} == {"progress"}
    assert {event["what"] for event in events} == {"doing shards"}
    assert [event["done"] for event in events] == sorted(event["done"] for event in events)
    assert events[0]["seconds_left"] is None
    middle = next(event for event in events if event["done"] == 2)
    assert middle["seconds_left"] == pytest.approx(middle["seconds"], abs=0.1)
    last = events[-1]
    assert (last["done"], last["total"], last["seconds_left"]) == (4, 4, 0)
    assert (last["images"], last["failed"]) == (8, 1)
    assert last["images_per_second"] == pytest.approx(8 / last["seconds"], rel=0.2)
    assert all(datetime.fromisoformat(event["time"]).tzinfo for event in events)


def test_what_goes_on_in_the_middle_is_timed_from_there() -> None:
    log, stream = log_of()
    log.json = True
    list(counted(iter([91, 92]), 100, "training steps", log, done=lambda step: step))
    (event,) = map(json.loads, stream.getvalue().splitlines())
    assert event["done"] == 92
    assert event["seconds_left"] == pytest.approx(4 * event["seconds"], abs=0.3)


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


def test_a_job_told_in_json(tmp_path: Path) -> None:
    for number in range(2):
        write_samples(tmp_path / f"s{number}.tar", fashion(3, 3 * number))
    done = diffaug_command(
        *("augment", "--log-json", "s0.tar", "s1.tar", "out", "--sampler=one-step"),
        *("--copies=2", "--batch-size=4"),
        cwd=tmp_path,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("12 planned = 12 ok")
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
