"""One Prefect server for all tests of flows, but for those that kill theirs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from flows.server import prefect_server
from tests.support.forks import MODULES, Forks, fork_server
from tests.support.prefect import client_of


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a client of a server of our own, on loopback."""
    home = tmp_path_factory.mktemp("prefect")
    with prefect_server(home, home / "server.log") as url:
        yield client_of(url, home)


@pytest.fixture(scope="session")
def flows_forked(
    environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Forks]:
    """Starts processes that have imported the flows, and are clients of that server."""
    flows = ("augment_dataset", "evaluate_augmentation", "train_denoiser", "verify_manifest")
    modules = (*MODULES, *(f"flows.{flow}" for flow in flows))
    with fork_server(tmp_path_factory.mktemp("forks"), modules, environment) as forks:
        yield forks
