"""Small versions of the measurements in tests/benchmarks/serve.py: answers only, no times."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from tests.benchmarks.serving.kills import kills
from tests.benchmarks.serving.load import Ask, Load, here
from tests.benchmarks.serving.overload import BARE, overload
from tests.benchmarks.serving.pictures import GREY, job, pictures, write_shard
from tests.benchmarks.serving.processes import served
from tests.benchmarks.serving.recipes import Fields, ask, bodies
from tests.benchmarks.serving.same import same
from tests.benchmarks.serving.saturation import STATIC
from tests.benchmarks.serving.tables import markdown, percentile
from tests.support.forks import Forks
from tests.support.serving import recipe_file

pytestmark = pytest.mark.services

BATCH = 4


def test_many_clients_get_the_bytes_of_jobs_before_and_after_a_restart(
    forked: Forks, tmp_path: Path
) -> None:
    tables = same(forked, tmp_path, count=12, clients=6, steps=4, pause=0.05, batch_size=BATCH)
    assert [row["equal"] for row in tables["Bytes"]] == [row["answers"] for row in tables["Bytes"]]
    assert sum(row["images"] for row in tables["Pixels"]) >= 12


@pytest.mark.proof
def test_an_epoch_outlives_the_kills_of_its_servers(forked: Forks, tmp_path: Path) -> None:
    tables = kills(forked, tmp_path, kills=2, count=12, gap=6, jitter=0, steps=4, batch_size=BATCH)
    assert tables["Kills"][0]["images"] >= 24


@pytest.mark.proof
def test_under_overload_all_are_served_or_told_when_to_come_again(
    forked: Forks, tmp_path: Path
) -> None:
    tables = overload(
        forked,
        tmp_path,
        loads=here,
        seconds=2,
        steps=4,
        max_wait=0.1,
        batch_size=BATCH,
        first=8,
    )
    again, came, memory = tables.values()
    assert [row["what"] for row in came][2:] == ["livez", "bare GET", "bare POST"]
    assert again[0]["served"] > 0
    assert memory[0]["100%"] > 0


def test_the_static_server_is_a_fair_one(forked: Forks, tmp_path: Path) -> None:
    """At one batch shape it makes what a job makes, from strengths that differ in their calls."""
    recipe: Fields = {"model": GREY, "strength": "0.2:0.8", "steps": 6, "format": "png"}
    found = pictures(GREY, 6)
    made = job(write_shard(tmp_path / "in.tar", found), tmp_path / "job", recipe, BATCH)
    file = recipe_file(tmp_path, "one", **recipe)
    options = ("--recipe", file, "--batch-size", str(BATCH), "--pads")
    paths = bodies(tmp_path / "bodies", found)
    with served(forked, *options, entry=STATIC) as server:
        asks = [ask(server, one, paths[one.key], "one", 0) for one in found]
        (answers,) = here([Load(asks, clients=6)]).got
    expected = [hashlib.sha256(made[one.key, 0]).hexdigest() for one in found]
    assert [got.sha256 for got in sorted(answers, key=lambda got: got.ask)] == expected


def test_loads_ask_as_often_as_they_say(forked: Forks) -> None:
    with served(forked, entry=BARE) as server:
        asks = [Ask(f"{server.url}/{at}") for at in range(5)]
        gone = Ask("http://127.0.0.1:9/")
        open_load = Load(asks, arrivals=[0.0, 0.0, 0.01, 0.01, 0.02, 0.02, 0.03])
        done = here([Load(asks, clients=3), open_load, Load([gone])])
    closed, opened, cut = done.got
    assert sorted(got.ask for got in closed) == [0, 1, 2, 3, 4]
    assert sorted(got.ask for got in opened) == [0, 0, 1, 1, 2, 3, 4]
    assert {(got.status, got.sha256) for got in closed + opened} == {
        (200, hashlib.sha256(b"ok").hexdigest())
    }
    assert [got.status for got in cut] == [0]
    assert done.wall > 0


def test_tables_are_markdown() -> None:
    shown = markdown({"Rates": [{"arm": "a", "rate": 1.23456}, {"arm": "b", "left": None}]})
    assert shown == (
        "Rates\n\n| arm | rate | left |\n| :--- | ---: | ---: |\n| a | 1.235 |  |\n| b |  |  |"
    )
    assert [percentile([3, 1, 2], share) for share in (0.01, 0.5, 0.99, 1)] == [1, 2, 3, 3]
