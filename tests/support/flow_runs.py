"""Runs of flows in processes of their own."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pandas as pd

from diffaug.output.survey import read_report
from tests.support.forks import ROOT, Forked, Forks
from tests.support.gate import JUDGE, NAME, hold
from tests.support.jobs import GREY, manifest, tars, tree
from tests.support.services import wait_until

__all__ = [
    "BATCH",
    "PATIENCE",
    "RECIPE",
    "SHARDS",
    "TOLD",
    "Augmenting",
    "Undisturbed",
    "assert_equal",
    "assert_most_completed",
    "assert_task_runs",
    "main",
    "on_a_cluster",
    "parts",
    "task_runs",
]

PATIENCE = 480
"""Seconds that a run may take where other tests keep a slow machine busy; alone, 60 will do."""

SHARDS = 7
RECIPE: dict[str, Any] = {"model": GREY, "sampler": "one-step", "strength": 0.5, "judges": [JUDGE]}
BATCH = 8

TOLD = 1
"""Task runs of a flow run that is complete, beside its groups': the telling of the outcome."""

Undisturbed = tuple[dict[str, bytes], pd.DataFrame]
"""What comes out where nothing is killed: every tar, and the manifest."""

SCRIPT = """\
import json, shutil, sys
sys.path.insert(0, sys.argv[1])
from flows.augment_dataset import augment_dataset
if len(sys.argv) > 3:
    shutil.rmtree(sys.argv[3])
state = augment_dataset(**json.loads(sys.argv[2])[0][1], return_state=True)
print(json.dumps([[state.type.value, state.message]]))
"""


def main() -> None:
    """Run the flows that `sys.argv` names as JSON, `[[name, parameters], …]`.

    The last line printed is how each ended, `[[type, message], …]`.
    """
    ended = []
    for name, parameters in json.loads(sys.argv[1]):
        module = name.replace("-", "_")
        flow = getattr(importlib.import_module(f"flows.{module}"), module)
        state = flow(**parameters, return_state=True)
        ended.append([state.type.value, state.message])
    print(json.dumps(ended))


class Augmenting:
    """A run of `augment-dataset` that a test can hold back, from a folder that is no checkout.

    Args:
        start: forks it; None starts a new Python, which then imports the flow.
        environment: of the process.
        sources: its shards.
        output: its OUTPUT.
        hold_at: how many parts are committed when it is held; 0 does not hold it.
        checkout: where a new Python finds the flows.
        remove: what a new Python removes once it has imported them.
        parameters: further ones of the flow.
    """

    def __init__(
        self,
        start: Forks | None,
        environment: Mapping[str, str],
        sources: list[Path],
        output: Path,
        *,
        hold_at: int = 0,
        checkout: Path = ROOT,
        remove: tuple[str, ...] = (),
        **parameters: Any,
    ) -> None:
        self.output = output
        output.parent.mkdir(exist_ok=True)
        self._gate = gate_of(output)
        self._gate.unlink(missing_ok=True)
        if hold_at:
            hold(self._gate, output, hold_at)
        self._hold_at = hold_at
        given = {"source": list(map(str, sources)), "output": str(output), "recipe": RECIPE}
        given |= {"batch_size": BATCH, "shards_per_task": 1} | parameters
        asked = json.dumps([["augment-dataset", given]])
        env = {**environment, NAME: str(self._gate)}
        self._log = output.parent / f"{output.name}.log"
        self.process: Forked | subprocess.Popen[bytes]
        if start is not None:
            entry = f"{__name__}:main"
            self.process = start.start(asked, entry=entry, cwd=output.parent, env=env)
            return
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", SCRIPT, str(checkout), asked, *remove],
                cwd=output.parent,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def said(self) -> str:
        """All it has printed so far; of a fork, what matters last."""
        if isinstance(self.process, Forked):
            return self.process.err + self.process.out
        return self._log.read_text()

    def parts(self) -> list[Path]:
        """The committed parts."""
        return sorted(self.output.glob("manifest/*.parquet"))

    def wait_until_held(self) -> None:
        """Wait until it has committed what it is to commit before it is held."""
        wait_until(
            lambda: len(self.parts()) >= self._hold_at or self.process.poll() is not None,
            PATIENCE,
            f"{self._hold_at} parts",
        )
        assert self.process.poll() is None, f"it ended before it was held:\n{self.said}"

    def go_on(self) -> None:
        """Hold it no longer."""
        self._gate.unlink()

    def worker(self) -> int:
        """The process that committed the first part."""
        return read_report(str(self.parts()[0])).pid

    def end(self) -> int:
        """The exit status, once it has ended."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"no end after {PATIENCE} seconds:\n{self.said}") from None
        finally:
            self.process.kill()
            self.process.wait()

    def assert_completed(self) -> None:
        """It ends as it should."""
        assert self.end() == 0, self.said
        assert '[["COMPLETED"' in self.said.splitlines()[-1], self.said


def gate_of(output: Path) -> Path:
    """The file by which runs into an output are held."""
    return output.with_name(f"{output.name}.gate")


def on_a_cluster(environment: Mapping[str, str], output: Path, folder: Path) -> dict[str, str]:
    """The environment of a cluster whose workers find the judge, and no other file of ours."""
    (folder / "tests/support").mkdir(parents=True)
    for name in ("__init__.py", "support/__init__.py", "support/gate.py"):
        (folder / "tests" / name).write_bytes((ROOT / "tests" / name).read_bytes())
    return {**environment, NAME: str(gate_of(output)), "PYTHONPATH": str(folder)}


def assert_equal(output: Path, undisturbed: Undisturbed) -> None:
    expected, frame = undisturbed
    assert tars(output) == expected
    pd.testing.assert_frame_equal(manifest(output), frame)
    assert set((output / "shards.txt").read_text().splitlines()) == {
        f"shards/{n}" for n in expected
    }


def parts(output: Path) -> dict[str, tuple[int, str]]:
    """The committed manifest parts, with their times and digests."""
    found = tree(output / "manifest")
    return {name: state for name, state in found.items() if name.endswith(".parquet")}


def task_runs(environment: dict[str, str]) -> Counter[str]:
    """How many task runs the last flow run has, by how they ended."""
    url = environment["PREFECT_API_URL"]
    latest = {"limit": 1, "sort": "START_TIME_DESC"}
    (run,) = httpx.post(f"{url}/flow_runs/filter", json=latest, timeout=60).json()
    of_it = {"flow_runs": {"id": {"any_": [run["id"]]}}}
    found = httpx.post(f"{url}/task_runs/filter", json=of_it, timeout=60).json()
    return Counter(task["state_type"] for task in found)


def assert_task_runs(environment: dict[str, str], expected: dict[str, int]) -> None:
    """The server takes in what happened to tasks a little later than it happens."""
    what = f"task runs {expected}"
    wait_until(lambda: task_runs(environment) == expected, 180, what)


def assert_most_completed(environment: dict[str, str]) -> None:
    """All but one: of that the server may know only what the worker said that was killed."""
    least = SHARDS - 1 + TOLD
    what = f"{least} completed task runs"
    wait_until(lambda: task_runs(environment)["COMPLETED"] >= least, 180, what)
