"""OpenLineage events of flow runs, as a receiver gets them over HTTP."""

from __future__ import annotations

import importlib
import json
import pkgutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openlineage.client.generated as generated
import pyarrow.parquet as pq
import pytest
from openlineage.client.event_v2 import RunEvent

from flows.lineage import dataset_of
from tests.conftest import SHARDS
from tests.support.forks import Forks
from tests.support.hostile import png, write_samples
from tests.support.jobs import GREY, manifest

pytestmark = pytest.mark.services

Event = dict[str, Any]

RECIPE = {"model": GREY, "sampler": "one-step", "strength": 0.4}


@contextmanager
def receiver(status: int = 201) -> Iterator[tuple[str, list[Event]]]:
    """Its URL, and the events it gets; it answers each with this status."""
    got: list[Event] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.path == "/api/v1/lineage"
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()
            thread.join()


def run_flows(
    forks: Forks, environment: dict[str, str], url: str, folder: Path, *runs: dict[str, Any]
) -> tuple[list[str], str]:
    """Runs of the flow, in one process: how each ended, and what was said."""
    asked = json.dumps([["augment-dataset", {"recipe": RECIPE} | run] for run in runs])
    done = forks(
        asked,
        entry="tests.support.flow_runs:main",
        cwd=folder,
        env=environment | {"OPENLINEAGE_URL": url},
    )
    assert done.returncode == 0, done.stderr
    return [state for state, _ in json.loads(done.stdout.splitlines()[-1])], done.stderr


def classes_by_schema() -> dict[str, Any]:
    """The client's classes of facets and events, which it makes from the published schemas."""
    found = {}
    for module in pkgutil.iter_modules(generated.__path__):
        for one in vars(importlib.import_module(f"{generated.__name__}.{module.name}")).values():
            if hasattr(one, "_get_schema"):
                found[one._get_schema()] = one
    return found


def assert_valid(event: Event) -> None:
    """What the client's classes take, whose attributes are those of the schema each names."""
    classes = classes_by_schema()
    assert classes[event["schemaURL"]] is RunEvent
    datasets = event["inputs"] + event["outputs"]
    holders = [event["run"]["facets"], event["job"]["facets"]]
    holders += [dataset.get(kind, {}) for dataset in datasets for kind in KINDS]
    count = 0
    for name, facet in ((name, one) for holder in holders for name, one in holder.items()):
        own = {key: value for key, value in facet.items() if not key.startswith("_")}
        made = classes[facet["_schemaURL"]](**own)
        assert type(made).__name__.lower().startswith(name.replace("_", "").lower())
        assert facet["_producer"] == event["producer"] or facet["_producer"].startswith("https://")
        count += 1
    assert count >= 4


KINDS = ("facets", "inputFacets", "outputFacets")


def test_events_of_runs(environment: dict[str, str], flows_forked: Forks, tmp_path: Path) -> None:
    """One run completes; one fails, since it made too few."""
    good, bad = tmp_path / "good", tmp_path / "bad"
    torn = write_samples(tmp_path / "in/torn.tar", [{"__key__": b"torn", "png": png(0)[:60]}])
    with receiver() as (url, got):
        ended, said = run_flows(
            flows_forked,
            environment,
            url,
            tmp_path,
            {"source": str(SHARDS[0]), "output": str(good), "batch_size": 4},
            {"source": [str(SHARDS[0]), str(torn)], "output": str(bad), "batch_size": 4},
        )
    assert ended == ["COMPLETED", "FAILED"], said
    assert [event["eventType"] for event in got] == ["START", "COMPLETE", "START", "FAIL"]
    for event in got:
        assert_valid(event)
        assert event["job"]["namespace"] == "diffaug"
        assert event["job"]["name"] == "augment-dataset"
    runs = [event["run"]["runId"] for event in got]
    assert runs[0] == runs[1] != runs[2] == runs[3]

    begun, done, _, failed = got
    folders = [(str(SHARDS[0].parent)), str(tmp_path / "in")]
    assert [(one["namespace"], one["name"]) for one in done["inputs"]] == [("file", folders[0])]
    assert {one["name"] for one in failed["inputs"]} == set(folders)
    (made,) = done["outputs"]
    assert (made["namespace"], made["name"]) == ("file", str(good))
    assert not begun["outputs"][0]["outputFacets"]
    counted = made["outputFacets"]["outputStatistics"]
    rows = manifest(good)
    assert counted["rowCount"] == len(rows) == 40
    assert counted["size"] == sum(path.stat().st_size for path in good.glob("shards/*.tar"))
    assert counted["fileCount"] == 1
    fields = {one["name"]: one["type"] for one in made["facets"]["schema"]["fields"]}
    (part,) = good.glob("manifest/*.parquet")
    assert list(fields) == pq.read_schema(part).names
    given = {
        one["key"]: one["value"]
        for one in done["run"]["facets"]["executionParameters"]["parameters"]
    }
    assert given["recipe.strength"] == "0.4"
    assert given["recipe_digest"] == rows["recipe_digest"].iloc[0]
    assert given["model_digest"] == rows["model_digest"].iloc[0]
    assert "more failed than max_failed=0.01" in failed["run"]["facets"]["errorMessage"]["message"]
    assert failed["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 41


def test_a_receiver_that_refuses_stops_nothing(
    environment: dict[str, str], flows_forked: Forks, tmp_path: Path
) -> None:
    run = {"source": str(SHARDS[0]), "output": str(tmp_path / "out"), "batch_size": 4}
    with receiver(403) as (url, got):
        ended, said = run_flows(flows_forked, environment, url, tmp_path, run)
    assert ended == ["COMPLETED"], said
    assert len(got) == 2
    assert "no OpenLineage event START" in said
    assert "no OpenLineage event COMPLETE" in said


@pytest.mark.parametrize(
    ("url", "dataset"),
    [
        ("/data/out", ("file", "/data/out")),
        ("file:///data/out", ("file", "/data/out")),
        ("https://me:secret@example.org/data/out?key=1", ("https://example.org", "data/out")),
    ],
)
def test_names_of_datasets(url: str, dataset: tuple[str, str]) -> None:
    assert dataset_of(url) == dataset


def test_a_bucket_is_a_namespace() -> None:
    assert dataset_of("s3://bucket/data/out") == ("s3://bucket", "data/out")


def test_without_a_receiver_there_is_no_client(monkeypatch: pytest.MonkeyPatch) -> None:
    from flows.lineage import _client

    monkeypatch.delenv("OPENLINEAGE_URL", raising=False)
    assert _client() is None
