"""The flows against a real Prefect server: in processes of their own, and one as a deployment."""

from __future__ import annotations

import base64
import io
import json
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest
from PIL import Image

from tests.conftest import BRACES, ROOT, SHARDS
from tests.support.forks import Forks
from tests.support.hostile import png
from tests.support.jobs import GREY, augmented
from tests.support.packing import as_folder, write
from tests.support.prefect import PREFECT, prefect
from tests.support.services import wait_until

pytestmark = pytest.mark.services

README = (ROOT / "README.md").read_text(encoding="utf-8")


def readme_command(begins: str) -> list[str]:
    """The line of the README that begins `prefect <begins>`, as arguments of Prefect's."""
    line = next(line for line in README.splitlines() if line.startswith(f"prefect {begins}"))
    return shlex.split(line.removesuffix("\\"))[1:]


@pytest.fixture(scope="module")
def worker(
    environment: dict[str, str], flows_forked: Forks, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """The deployments of the checkout, and a process worker that serves their pool."""
    for command in ("work-pool create", "deploy --all"):
        prefect(environment, ROOT, *readme_command(command), forks=flows_forked)
    folder = tmp_path_factory.mktemp("worker")
    with (folder / "worker.log").open("wb") as log:
        process = subprocess.Popen(
            [PREFECT, *readme_command("worker start")],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        yield
        process.terminate()
        process.wait(timeout=180)


def ask(environment: dict[str, str], what: str) -> list[dict[str, Any]]:
    """A filter endpoint of the server's API, asked over HTTP."""
    answer = httpx.post(f"{environment['PREFECT_API_URL']}/{what}", json={}, timeout=60)
    found: list[dict[str, Any]] = answer.raise_for_status().json()
    return found


def task_names(environment: dict[str, str]) -> set[str]:
    return {task["name"] for task in ask(environment, "task_runs/filter")}


def assets(environment: dict[str, str]) -> dict[str, set[str]]:
    """What was materialized, as the server's events have it, and from what."""
    wanted = {"filter": {"event": {"name": ["prefect.asset.materialization.succeeded"]}}}
    url = f"{environment['PREFECT_API_URL']}/events/filter"
    found = httpx.post(url, json=wanted, timeout=60).raise_for_status().json()["events"]
    return {
        event["resource"]["prefect.resource.id"]: {
            related["prefect.resource.id"]
            for related in event["related"]
            if related["prefect.resource.role"] == "asset"
        }
        for event in found
    }


@pytest.mark.usefixtures("worker")
def test_deployment_runs_from_outside_the_checkout(
    environment: dict[str, str], flows_forked: Forks, tmp_path: Path
) -> None:
    output = tmp_path / "output"
    recipe = json.dumps({"model": GREY, "strength": 0.4, "sampler": "one-step"})
    parameters = [f"source={BRACES}", f"output={output}", f"recipe={recipe}"]
    flags = [token for parameter in parameters for token in ("-p", parameter)]
    command = readme_command("deployment run")
    done = prefect(environment, tmp_path, *command, *flags, forks=flows_forked)
    assert "Completed" in done.stdout
    manifest = pd.read_parquet(output / "manifest")
    assert len(manifest) == 120
    assert set(manifest["status"]) == {"ok"}
    assert set(manifest["strength"]) == {0.4}
    tars = (output / "shards.txt").read_text().splitlines()
    assert len(tars) == 3
    assert all((output / tar).is_file() for tar in tars)
    found = {item["key"]: item for item in ask(environment, "artifacts/latest/filter")}
    assert found["augment-progress"]["data"] == 100.0
    summary = found["augment-summary"]["data"]
    assert "| 120 | 120 | 0 | 0 | 3 of 3 |" in summary.replace("  ", " ")
    _, _, picture = summary.partition("data:image/webp;base64,")
    with Image.open(io.BytesIO(base64.b64decode(picture.partition(")")[0]))) as sheet:
        assert sheet.width > 400
    assert f"(file://{output}/report/index.html)" in found["augment-report"]["data"]
    assert (output / "report/index.html").is_file()
    (run,) = (run for run in ask(environment, "flow_runs/filter") if str(output) in run["name"])
    assert run["name"] == f"augment {BRACES} into {output}"
    names = {f"shard fashion-mnist-{number:06}" for number in range(3)}
    wait_until(lambda: names <= task_names(environment), 180, f"task runs {names}")
    made = f"file://{output}"
    wait_until(lambda: made in assets(environment), 180, "the event of the asset")
    assert assets(environment)[made] == {f"file://{SHARDS[0].parent}"}


def run_flow(forks: Forks, folder: Path, name: str, **parameters: Any) -> tuple[str, str]:
    """Run a flow in a process of its own; how it ended, and its message."""
    asked = json.dumps([(name, parameters)])
    done = forks(asked, entry="tests.support.flow_runs:main", cwd=folder)
    assert done.returncode == 0, done.stderr
    ((ended, message),) = json.loads(done.stdout.splitlines()[-1])
    return ended, message


@pytest.mark.usefixtures("worker")
def test_verification(environment: dict[str, str], flows_forked: Forks, tmp_path: Path) -> None:
    """Of an output as it was made, as a deployment; then with a byte and a source changed."""
    source, output = tmp_path / "s1.tar", tmp_path / "output"
    shutil.copy(SHARDS[1], source)
    frame = augmented([SHARDS[0], source], output)
    verify = ["deployment", "run", "verify-manifest/local", "--watch", "-p", f"output={output}"]
    verify += ["-p", "replay=16", "-p", "shards_per_task=1"]
    prefect(environment, tmp_path, *verify, forks=flows_forked)
    found = {item["key"]: item["data"] for item in ask(environment, "artifacts/latest/filter")}
    assert found["verify-progress"] == 100.0
    assert "| 2 of 2 | 0 | 16 | 0 |" in found["verify-summary"]
    assert "No difference was found." in found["verify-summary"]

    tar = next(output.glob("shards/fashion-mnist-000000-*.tar"))
    for path, at in ((tar, 600), (source, frame["source_offset"].max() + 50)):
        data = bytearray(path.read_bytes())
        data[at] ^= 1
        path.write_bytes(data)
    told = {"output": str(output), "replay": 80}
    ended, message = run_flow(flows_forked, tmp_path, "verify-manifest", **told)
    assert ended == "FAILED"
    assert message.startswith("4 differences in ")
    assert f"shards/{tar.name}: its sha256 is" in message
    found = {item["key"]: item["data"] for item in ask(environment, "artifacts/latest/filter")}
    summary = found["verify-summary"]
    assert "| 2 of 2 | 4 | 79 | 0 |" in summary
    assert f"- `shards/{tar.name} 00000-a0.png: its bytes or offset differ from its row" in summary
    assert f"- `{source} {frame['source_key'].max()} copy 0: the source has changed" in summary
    assert f"- `{source}: the source has changed since it was augmented" in summary


def test_training(environment: dict[str, str], flows_forked: Forks, tmp_path: Path) -> None:
    """Its checkpoint then augments."""
    checkpoint = tmp_path / "checkpoint"
    recipe = {"network": "tiny", "size": 8, "steps": 10, "batch_size": 8, "classes": 10}
    told = {"source": BRACES, "checkpoint": str(checkpoint), "recipe": recipe}
    ended, _ = run_flow(flows_forked, tmp_path, "train-denoiser", **told)
    assert ended == "COMPLETED"
    found = {item["key"]: item["data"] for item in ask(environment, "artifacts/latest/filter")}
    rows = json.loads(found["train-metrics"])
    assert [row["step"] for row in rows] == list(range(1, 11))
    assert rows[-1]["images"] == 80
    assert found["train-progress"] == 100.0
    assert "| 10 | 80 | 0 |" in found["train-summary"]
    frame = augmented([SHARDS[0]], tmp_path / "output", model=str(checkpoint))
    assert set(frame["status"]) == {"ok"}


def test_evaluation(environment: dict[str, str], flows_forked: Forks, tmp_path: Path) -> None:
    """Its verdicts are artifacts."""
    small: dict[str, Any] = {"labels": [2], "seeds": 2, "validation": 1, "train_steps": 4}
    small |= {"arms": ["one-step"], "one_step_strengths": [0.4], "severities": [3]}
    told: dict[str, Any] = {"source": list(map(str, SHARDS[:2])), "test": str(SHARDS[2])}
    told |= {"output": str(tmp_path / "out"), "settings": small}
    told |= {"recipe": {"model": GREY, "copies": 2, "steps": 10}}
    ended, _ = run_flow(flows_forked, tmp_path, "evaluate-augmentation", **told)
    assert ended == "COMPLETED"
    found = {item["key"]: item["data"] for item in ask(environment, "artifacts/latest/filter")}
    rows = json.loads(found["evaluation-verdicts"])
    assert [(row["labels"], row["images"]) for row in rows] == [(2, "clean"), (2, "corrupted")]
    assert "Leakage: " in found["evaluation-summary"]
    scores = pd.read_parquet(tmp_path / "out/results/scores.parquet")
    assert set(scores["arm"]) == {"flips-crops", "one-step 0.4"}


def test_folders_of_pictures_are_packed(flows_forked: Forks, tmp_path: Path) -> None:
    """A broken picture counts as one that failed."""
    folder, torn = as_folder(tmp_path), as_folder(tmp_path / "torn")
    (torn / "ape/torn.png").write_bytes(b"no picture")
    fast = {"model": "fashion-mnist-32", "sampler": "one-step"}
    tiny = {"network": "tiny", "size": 8, "steps": 1, "batch_size": 2}
    model, output = str(tmp_path / "model"), str(tmp_path / "out")
    held = {"held_back": str(write(tmp_path / "held/bee/8.png", png(8)).parent.parent)}
    runs = [
        ("augment-dataset", {"source": str(folder), "output": output, "recipe": fast}),
        ("augment-dataset", {"source": str(torn), "output": f"{output}-torn", "recipe": fast}),
        ("train-denoiser", {"source": str(folder), "checkpoint": model, "recipe": tiny} | held),
    ]
    done = flows_forked(json.dumps(runs), entry="tests.support.flow_runs:main", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (made, _), (left_out, why), (trained, _) = json.loads(done.stdout.splitlines()[-1])
    assert (made, left_out, trained) == ("COMPLETED", "FAILED", "COMPLETED"), done.stdout
    assert "more than max_failed=0.01 of" in why
    assert "1 left out (ape/torn.png: " in why
    rows = pd.read_parquet(tmp_path / "out/manifest")
    assert set(rows["source_shard"]) == {f"{output}-source/all-000000.tar"}
    assert sorted(rows["label_text"]) == ["ape", "ape", "bee", "bee", "cat", "cat"]
    assert len(list(Path(f"{model}-source").glob("*.tar"))) == 2


def test_what_cannot_be_fails_with_a_sentence(
    environment: dict[str, str], flows_forked: Forks, tmp_path: Path
) -> None:
    """And what failed is not tried again; what could be done stays."""
    missing, empty, cut = tmp_path / "missing.tar", tmp_path / "empty", tmp_path / "cut.tar"
    cut.write_bytes(SHARDS[0].read_bytes()[:20_000])
    shards, output = list(map(str, SHARDS)), str(tmp_path / "output")
    recipe = {"network": "tiny", "size": 8, "steps": 60, "batch_size": 8}
    few = {"model": GREY, "steps": 2}
    diverging = recipe | {"learning_rate": 1e30, "warmup_steps": 0}
    model = str(tmp_path / "model")
    nowhere = {"source": shards[:2], "test": shards[2], "output": "s3://bucket/out"}
    runs: list[tuple[str, dict[str, Any], str]] = [
        (
            "augment-dataset",
            {"source": str(missing), "output": str(tmp_path / "none")},
            f"no such shard: {missing}",
        ),
        (
            "augment-dataset",
            {"source": str(cut), "output": output, "recipe": few},
            "more failed than max_failed=0.01",
        ),
        (
            "augment-dataset",
            {"source": str(cut), "output": output, "recipe": few, "redo": "shut"},
            "redo shut: the plan of",
        ),
        (
            "verify-manifest",
            {"output": str(empty)},
            f"{empty} is not an output of diffaug: it has no run.json",
        ),
        (
            "train-denoiser",
            {"source": shards, "checkpoint": model, "recipe": diverging},
            "no checkpoint was written yet",
        ),
        (
            "evaluate-augmentation",
            nowhere,
            "s3://bucket/out: an evaluation requires a local folder",
        ),
        *(
            (
                name,
                parameters,
                f"is a relative path, and in this worker's folder it would be {meant}: g",
            )
            for name, parameters, meant in (
                ("augment-dataset", {"source": shards, "output": "out"}, tmp_path / "out"),
                (
                    "augment-dataset",
                    {"source": "in/*.tar", "output": output},
                    tmp_path / "in/*.tar",
                ),
                ("verify-manifest", {"output": "./out"}, tmp_path / "out"),
                ("train-denoiser", {"source": shards, "checkpoint": "c"}, tmp_path / "c"),
                ("evaluate-augmentation", nowhere | {"test": "t.tar"}, tmp_path / "t.tar"),
            )
        ),
        ("augment-dataset", {"source": [], "output": output}, "no SOURCE is given"),
        ("train-denoiser", {"source": shards, "checkpoint": ""}, "CHECKPOINT is empty or blank"),
        (
            "evaluate-augmentation",
            nowhere | {"output": str(tmp_path / "none"), "validation_source": ""},
            "SOURCE is empty or blank",
        ),
    ]
    asked = json.dumps([(name, parameters) for name, parameters, _ in runs])
    done = flows_forked(asked, entry="tests.support.flow_runs:main", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    ended = json.loads(done.stdout.splitlines()[-1])
    for (type_, message), (name, _, sentence) in zip(ended, runs, strict=True):
        assert type_ == "FAILED", (name, message)
        assert sentence in message
    assert not (tmp_path / "none").exists()
    manifest = pd.read_parquet(tmp_path / "output/manifest")
    assert "truncated_tar" in set(manifest["reason_code"].dropna())
    assert (manifest["status"] == "ok").any()
    trainings = [run for run in ask(environment, "task_runs/filter") if model in run["name"]]
    assert [run["run_count"] for run in trainings] == [1]
