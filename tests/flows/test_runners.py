"""The flow `augment-dataset` on its runners, with workers and flows killed under way."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest

from diffaug.output.survey import read_report
from tests.conftest import ROOT
from tests.support.clusters import ray_cluster
from tests.support.flow_runs import (
    PATIENCE,
    SHARDS,
    TOLD,
    Augmenting,
    Undisturbed,
    assert_equal,
    assert_most_completed,
    assert_task_runs,
    on_a_cluster,
    parts,
    task_runs,
)
from tests.support.forks import Forks
from tests.support.jobs import tree
from tests.support.services import wait_until

pytestmark = pytest.mark.services


def test_a_flow_ends_whatever_a_killed_worker_held(environment: dict[str, str]) -> None:
    """Such as the lock of the queue by which workers send logs and events to it."""
    script = (
        "from flows.runners import _pool\n"
        "with _pool(1) as pool: pool._subprocess_message_queue._wlock.acquire()\n"
    )
    command = [sys.executable, "-c", script]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=PATIENCE)


def test_processes_one_killed(
    environment: dict[str, str],
    flows_forked: Forks,
    sources: list[Path],
    undisturbed: Undisturbed,
    tmp_path: Path,
) -> None:
    """What was under way is begun again by new workers, and nothing else; then nothing is left."""
    two: dict[str, Any] = {"runner": "processes", "device": "cpu,cpu"}
    output = tmp_path / "out"
    run = Augmenting(flows_forked, environment, sources, output, hold_at=1, **two)
    run.wait_until_held()
    kept, killed = parts(output), run.worker()
    os.kill(killed, signal.SIGKILL)
    run.go_on()
    run.assert_completed()
    assert "a worker died" in run.said
    assert_equal(output, undisturbed)
    assert kept.items() <= parts(output).items()
    made_by = {part.name: read_report(str(part)).pid for part in run.parts()}
    assert killed not in {pid for name, pid in made_by.items() if name not in kept}
    workers = set(made_by.values())
    assert 2 <= len(workers) <= 4  # the model stays in each: two at first, two in the second pool
    wait_until(lambda: not any(map(psutil.pid_exists, workers)), PATIENCE, "an end of the workers")
    assert_most_completed(environment)
    # those in hand were begun again; a server may be told of a lost one before it knows of it
    assert task_runs(environment).total() <= SHARDS + TOLD + 2

    before = tree(output)
    again = Augmenting(flows_forked, environment, sources, output)
    again.assert_completed()
    assert "0 shards to do in 0 tasks" in again.said
    assert_task_runs(environment, {"COMPLETED": TOLD})
    changed = {name for name, state in tree(output).items() if before.get(name) != state}
    assert changed <= {"shards.txt", "report", "report/index.html"}


@pytest.mark.parametrize(
    ("runner", "signals"),
    [
        ({"runner": "local", "shards_per_task": 2}, [signal.SIGINT, signal.SIGTERM]),
        ({"runner": "processes", "workers": 1}, [signal.SIGKILL, signal.SIGTERM]),
    ],
    ids=["local", "processes"],
)
@pytest.mark.proof
def test_stopped_and_repeated(
    runner: dict[str, Any],
    signals: list[signal.Signals],
    environment: dict[str, str],
    flows_forked: Forks,
    sources: list[Path],
    undisturbed: Undisturbed,
    tmp_path: Path,
) -> None:
    """By Ctrl-C, by a Prefect worker that cancels, by a kill: the shards in hand are dropped."""
    output, kept = tmp_path / "out", dict[str, tuple[int, str]]()
    for signum in signals:
        hold_at = len(kept) + 1
        run = Augmenting(flows_forked, environment, sources, output, hold_at=hold_at, **runner)
        run.wait_until_held()
        family = psutil.Process(run.process.pid).children(recursive=True)
        run.process.send_signal(signum)
        run.go_on()
        assert run.end() != 0
        _, alive = psutil.wait_procs(family, PATIENCE)
        assert not alive
        if signum != signal.SIGKILL:
            assert "run it again for the rest" in run.said
        now = parts(output)
        assert kept.items() <= now.items()
        kept = now
        assert 1 <= len(kept) < SHARDS
        assert not (output / "shards.txt").exists()
        assert not list(output.glob(".diffaug-*"))

    Augmenting(flows_forked, environment, sources, output).assert_completed()
    assert kept.items() <= parts(output).items()
    assert_equal(output, undisturbed)


@pytest.mark.timeout(1800)  # it may wait for another cluster to go
@pytest.mark.proof
def test_ray_one_killed(
    environment: dict[str, str],
    sources: list[Path],
    undisturbed: Undisturbed,
    tmp_path: Path,
) -> None:
    """On a running cluster whose workers know nothing of the checkout, which is gone besides."""
    checkout, output = tmp_path / "checkout", tmp_path / "runs" / "out"
    shutil.copytree(ROOT / "flows", checkout / "flows")
    client = on_a_cluster(environment, output, tmp_path / "judge")
    with ray_cluster(client) as address:
        run = Augmenting(
            None,
            client,
            sources,
            output,
            hold_at=1,
            checkout=checkout,
            remove=(str(checkout / "flows"),),
            runner="ray",
            address=address,
        )
        run.wait_until_held()
        assert not checkout.joinpath("flows").exists()
        kept = parts(output)
        killed = run.worker()
        os.kill(killed, signal.SIGKILL)
        run.go_on()
        run.assert_completed()
    assert_equal(output, undisturbed)
    assert kept.items() <= parts(output).items()
    workers = Counter(read_report(str(part)).pid for part in run.parts())
    assert workers[killed] <= len(kept)
    assert len(workers) in (2, 3)
    assert_most_completed(environment)
    assert task_runs(environment).total() == SHARDS + TOLD  # the lost one was begun as the same
