"""The flow `augment-dataset` whose Prefect server is killed under way."""

from __future__ import annotations

import shutil
from pathlib import Path

import httpx
import psutil  # type: ignore[import-untyped]
import pytest

from flows.server import prefect_server
from tests.support.flow_runs import PATIENCE, SHARDS, Augmenting, Undisturbed, assert_equal, parts
from tests.support.forks import Forks
from tests.support.prefect import client_of
from tests.support.services import wait_until

pytestmark = [pytest.mark.services, pytest.mark.proof]


def _gave_up(run: Augmenting) -> bool:
    """Whether the flow ended with an error of the connection."""
    return "ConnectError" in run.said and "Encountered exception during execution" in run.said


def test_prefect_server_killed(
    empty_database: Path,
    flows_server: Forks,
    sources: list[Path],
    undisturbed: Undisturbed,
    tmp_path: Path,
) -> None:
    """The run goes on without it, then fails; repeated with a new server, it redoes nothing."""
    home, output = tmp_path / "home", tmp_path / "out"
    home.mkdir()
    shutil.copy(empty_database, home / "prefect.db")
    with prefect_server(home, home / "server.log") as url:
        client = client_of(url, home) | {"PREFECT_CLIENT_MAX_RETRIES": "1"}
        some = SHARDS // 2
        run = Augmenting(flows_server, client, sources, output, hold_at=1, shards_per_task=some)
        run.wait_until_held()
        kept = parts(output)
        port = str(httpx.URL(url).port)
        (server,) = [p for p in psutil.Process().children() if port in p.cmdline()]
        for process in [server, *server.children(recursive=True)]:
            process.kill()
        run.go_on()
        wait_until(lambda: _gave_up(run), PATIENCE, "an end of the flow")
        run.process.kill()  # for a minute, Prefect would try to get rid of its events
        run.process.wait()
    assert kept.items() <= parts(output).items()
    kept = parts(output)
    with prefect_server(home, home / "server.log") as url:
        again = Augmenting(flows_server, client_of(url, home), sources, output)
        again.assert_completed()
    assert kept.items() <= parts(output).items()
    assert_equal(output, undisturbed)
