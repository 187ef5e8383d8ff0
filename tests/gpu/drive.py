"""What diffaug does on a GPU: checks, benchmarks and, on request, a public checkpoint.

Makes an environment of this Python's torch and diffaug's wheels, then takes one step after the
other, each with its own time limit. A step that fails is recorded, and the next one is taken. In
OUT: results.json, with an entry for each step; page.md, the same to be read; steps.log, all that
the steps printed; with --checkpoint, checkpoint.json, to be sent back. Exits with 1 if a step
failed.

Only the standard library is imported here: nothing else is installed yet.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.gpu.environment import ROOT, environment
from tests.gpu.report import page

__all__ = ["Step", "main", "steps", "take"]

Entry = dict[str, Any]
"""What results.json says of a step."""

LINES = 20
"""Of a step's output, in results.json; steps.log has all of it."""

_LEAST = 5
"""Seconds: a step is not begun with fewer."""

_SLOWER = 6
"""How many times as long everything may take on a processor."""

_RATIOS = ["one", "mixed", "range"]


@dataclass(frozen=True, kw_only=True)
class Step:
    """A program to run.

    Attributes:
        name: what results.json calls it.
        module: what it runs.
        arguments: of the module.
        limit: seconds after which it is stopped.
        extra: whether its time comes on top of --minutes.
    """

    name: str
    module: str
    arguments: Sequence[str] = ()
    limit: float
    extra: bool = False


def main(given: Sequence[str] | None = None) -> int:
    asked = _arguments(given)
    out = asked.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    started, slower = time.monotonic(), _SLOWER if asked.device == "cpu" else 1
    minutes = asked.minutes or 8 * slower
    found: dict[str, Any] = {
        "gpu_run": 1,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "device": asked.device,
        "small": asked.small,
        "commit": _commit(),
        "steps": [],
    }
    (out / "steps.log").write_text("")
    with tempfile.TemporaryDirectory(prefix="diffaug-gpu-") as name:
        for step in steps(asked, Path(name), out):
            left = step.limit * slower
            if not step.extra:
                left = min(left, 60 * minutes - (time.monotonic() - started))
            entry = _entry(step, Path(name), left, found["steps"])
            found["steps"].append(entry)
            found["seconds"] = round(time.monotonic() - started, 1)
            _write(out, found, (Path(name) / f"{step.name}.log"))
            print(f"{step.name}: {entry['status']}, {entry['seconds']:.0f} s", flush=True)
            if entry["status"] != "passed":
                print(*(f"    {line}" for line in entry["last_lines"]), sep="\n", flush=True)
    print(f"results.json, page.md and steps.log are in {out}")
    return int(any(entry["status"] != "passed" for entry in found["steps"]))


def steps(asked: argparse.Namespace, folder: Path, out: Path) -> list[Step]:
    """What there is to do, in order."""
    device, small = ["--device", asked.device], asked.small
    wheels = [] if asked.wheels is None else [str(asked.wheels.resolve())]
    found = [
        Step(
            name="environment",
            module="tests.gpu.environment",
            arguments=[str(folder), *wheels],
            limit=120 if wheels else 900,
            extra=not wheels,
        ),
        Step(name="machine", module="tests.gpu.machine", arguments=device, limit=60),
        Step(
            name="device",
            module="tests.gpu.device",
            arguments=[*device, *(["--small"] if small else [])],
            limit=180,
        ),
    ]
    sizes = ["--images", "32", "--rounds", "1", "--workloads", "one"]
    if not small:
        sizes = ["--images", "320", "--rounds", "3", "--workloads", *_RATIOS]
    found += [
        Step(
            name=f"lanes-{dtype}",
            module="tests.benchmarks.lanes",
            arguments=[*device, "--dtype", dtype, *sizes],
            limit=90,
        )
        for dtype in ("float32", "bfloat16")
    ]
    sizes = ["--images", "8", "--rounds", "1", "--models", "tiny"]
    if not small:
        models = ["small", "medium"] if asked.device != "cpu" else ["tiny", "small"]
        sizes = ["--images", "32", "--rounds", "3", "--models", *models]
    found.append(
        Step(
            name="latent",
            module="tests.benchmarks.latent",
            arguments=[*device, *sizes],
            limit=90,
        )
    )
    if asked.checkpoint is not None:
        found.append(_checkpoint(asked, out))
    names = [step.name for step in found]
    wanted = asked.only or names
    if unknown := set(wanted) - set(names):
        sys.exit(f"--only: there is no step {', '.join(sorted(unknown))}, but {', '.join(names)}")
    return [step for step in found if step.name in ("environment", "machine", *wanted)]


def take(step: Step, folder: Path, limit: float) -> Entry:
    """Run one step, which is stopped with all that it started when its time is over."""
    log, started = folder / f"{step.name}.log", time.monotonic()
    own = step.name == "environment"  # which runs in this Python, to make the one of the others
    python = sys.executable if own else str(folder / "venv/bin/python")
    with log.open("wb") as output:
        running = subprocess.Popen(
            [python, "-P", "-m", step.module, *step.arguments],
            cwd=folder,
            env=environment(folder) | ({"PYTHONPATH": str(ROOT)} if own else {}),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = running.wait(limit)
            status = "failed" if code else "passed"
        except subprocess.TimeoutExpired:
            status = f"stopped after {limit:.0f} s"
        finally:
            _stop(running)
    lines = log.read_text(errors="replace").splitlines()
    result = _result(lines)
    if status == "passed" and result is None:
        status = "failed"  # it ended well, and said nothing
    entry = {"status": status, "seconds": round(time.monotonic() - started, 1)}
    return entry | {"result": result, "last_lines": [line[:500] for line in lines[-LINES:]]}


def _entry(step: Step, folder: Path, left: float, before: Sequence[Entry]) -> Entry:
    """The entry of a step that is taken, or of one that cannot be."""
    about = {"name": step.name, "command": f"{step.module} {' '.join(step.arguments)}".strip()}
    reason = ""
    if any(e["name"] == "environment" and e["status"] != "passed" for e in before):
        reason = "there is no environment to run it in"
    elif left < _LEAST:
        reason = "no time was left: give --minutes more, or --only this step"
    if not reason:
        try:
            return about | {"limit": round(left)} | take(step, folder, left)
        except OSError as error:
            reason = str(error)
    return about | {"status": "skipped", "seconds": 0.0, "result": None, "last_lines": [reason]}


def _checkpoint(asked: argparse.Namespace, out: Path) -> Step:
    arguments = [str(asked.checkpoint.resolve()), "--device", asked.device]
    arguments += ["--out", str(out), "--count", "8" if asked.small else "64"]
    if asked.photographs is not None:
        arguments += ["--photographs", str(asked.photographs.resolve())]
    for name in ("strength", "steps", "guidance", "batch_size"):
        if (value := getattr(asked, name)) is not None:
            arguments += [f"--{name.replace('_', '-')}", str(value)]
    return Step(
        name="checkpoint",
        module="tests.gpu.checkpoint",
        arguments=arguments,
        limit=600,
        extra=True,
    )


def _result(lines: Sequence[str]) -> Any:
    """The JSON object that a step printed last."""
    for line in reversed(lines):
        if line.startswith("{"):
            try:
                return json.loads(line)
            except ValueError:
                continue
    return None


def _stop(running: subprocess.Popen[bytes]) -> None:
    """End what is left of a step's processes: it leads their group."""
    for sign, patience in ((signal.SIGTERM, 5), (signal.SIGKILL, 30)):
        try:
            os.killpg(running.pid, sign)
        except ProcessLookupError:
            break
        try:
            running.wait(patience)
        except subprocess.TimeoutExpired:
            continue
    running.wait()


def _write(out: Path, found: dict[str, Any], log: Path) -> None:
    """After each step: what is known does not depend on the next."""
    (out / "results.json").write_text(json.dumps(found, indent=2) + "\n")
    (out / "page.md").write_text(page(found))
    if log.exists():
        with (out / "steps.log").open("a") as all_of_it:
            all_of_it.write(f"==== {log.stem}\n{log.read_text(errors='replace')}\n")


def _commit() -> str | None:
    """The commit of this checkout, if git is there to say it."""
    try:
        said = subprocess.run(
            ["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True
        )
    except OSError:
        return None
    return said.stdout.strip() or None


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/gpu/run.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N or cpu [default: cuda]")
    parser.add_argument("--wheels", type=Path, help="a folder of wheels; then without a network")
    parser.add_argument("--out", type=Path, default=Path("gpu-run"), help="[default: gpu-run]")
    parser.add_argument("--small", action="store_true", help="the least of everything")
    parser.add_argument("--minutes", type=float, help="for all but --checkpoint [default: 8]")
    parser.add_argument("--only", nargs="+", help="steps to take, after the environment's")
    parser.add_argument("--checkpoint", type=Path, help="a folder that a diffusers pipeline saved")
    parser.add_argument("--photographs", type=Path, help="a folder of JPEGs and PNGs for it")
    parser.add_argument("--strength", type=float, help="of its edits")
    parser.add_argument("--steps", type=int, help="likewise: 1 to 4 for a turbo")
    parser.add_argument("--guidance", type=float, help="likewise: 1 for a turbo")
    parser.add_argument("--batch-size", type=int, help="likewise: pictures a call")
    return parser.parse_args(given)


if __name__ == "__main__":
    sys.exit(main())
