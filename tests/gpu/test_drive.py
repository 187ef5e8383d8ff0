"""The driver: each step has an entry, whatever happens to it; and the whole run, on a processor."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import ROOT
from tests.gpu import drive
from tests.gpu.drive import Step, take
from tests.gpu.report import NOT_A_GPU
from tests.support import tiny

RUN = ROOT / "tests/gpu/run.sh"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run's folder, in which steps run with this Python, and find the modules there."""
    (tmp_path / "venv/bin").mkdir(parents=True)
    python = tmp_path / "venv/bin/python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return tmp_path


def taken(folder: Path, code: str, limit: float = 600) -> dict[str, Any]:
    (folder / "a_step.py").write_text(code)
    return take(Step(name="latent", module="a_step", limit=limit), folder, limit)


def test_the_last_json_is_the_result(folder: Path) -> None:
    code = """print('{"a": 0}'); print('{"a": 1}'); print("{'a': 2}"); print("bye")"""
    entry = taken(folder, code)
    assert (entry["status"], entry["result"]) == ("passed", {"a": 1})
    assert entry["last_lines"][-1] == "bye"


def test_a_step_that_fails_keeps_its_result_and_its_last_lines(folder: Path) -> None:
    entry = taken(folder, """print('{"a": 1}')\nraise SystemExit("what went wrong")""")
    assert (entry["status"], entry["result"]) == ("failed", {"a": 1})
    assert entry["last_lines"][-1] == "what went wrong"


def test_a_step_without_a_result_has_failed(folder: Path) -> None:
    assert taken(folder, "print('all is well')")["status"] == "failed"


def test_a_step_is_stopped_with_what_it_started(folder: Path) -> None:
    """What it started holds a pipe open for as long as it runs."""
    held = folder / "held"
    os.mkfifo(held)
    reader = os.open(held, os.O_RDONLY | os.O_NONBLOCK)
    code = f"""
import os, subprocess, time
pipe = os.open({str(held)!r}, os.O_WRONLY)
subprocess.Popen(["sleep", "1000000"], pass_fds=[pipe])
print("started", flush=True)
time.sleep(1000000)
"""
    limit, entry = 3, taken(folder, code, limit=3)
    while not entry["last_lines"]:  # a busy machine has not begun it by then
        limit *= 3
        entry = taken(folder, code, limit=limit)
    assert entry["last_lines"] == ["started"]
    assert entry["status"] == f"stopped after {limit} s"
    os.set_blocking(reader, True)
    assert os.read(reader, 1) == b""  # nobody holds it: waits for as long as somebody does
    os.close(reader)


def test_without_an_environment_nothing_else_is_tried(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wheels").mkdir()
    where = ["--wheels", str(tmp_path / "wheels"), "--out", str(tmp_path / "out")]
    assert drive.main(["--device", "cpu", *where, "--only", "latent"]) == 1
    results = json.loads((tmp_path / "out/results.json").read_text())
    statuses = {step["name"]: step["status"] for step in results["steps"]}
    assert statuses == {"environment": "failed", "machine": "skipped", "latent": "skipped"}
    assert "no environment" in (tmp_path / "out/page.md").read_text()
    assert "diffaug" in (tmp_path / "out/steps.log").read_text()
    assert "latent: skipped" in capsys.readouterr().out


def test_a_step_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no step checkpoint, but environment, machine, device"):
        drive.main(["--out", str(tmp_path), "--only", "latent", "checkpoint"])


@pytest.mark.proof
def test_the_whole_run_on_a_processor(tmp_path: Path) -> None:
    """With the project's own wheel alone: the rest is what this Python has."""
    tree = tmp_path / "tree"  # a build leaves files next to what it builds
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "diffaug", tree / "diffaug", ignore=ignore)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", tmp_path / "wheels", tree], check=True)
    checkpoint = tiny.stable_diffusion(tmp_path / "a-model")
    command = [RUN, "--device", "cpu", "--small", "--wheels", tmp_path / "wheels"]
    command += ["--checkpoint", checkpoint, "--steps", "4", "--out", tmp_path / "out"]
    done = subprocess.run(
        [*map(str, command)],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((tmp_path / "out/results.json").read_text())
    steps = {step["name"]: step for step in results["steps"]}
    lanes = ["lanes-float32", "lanes-bfloat16"]
    assert list(steps) == ["environment", "machine", "device", *lanes, "latent", "checkpoint"]
    assert {step["status"] for step in steps.values()} == {"passed"}
    assert steps["machine"]["result"]["device_class"].startswith("cpu/")
    checks = steps["device"]["result"]["checks"]
    assert len(checks) == 6
    assert all(check["rows"] == check["equal"] > 0 for check in checks)
    for name in lanes:
        found = steps[name]["result"]
        assert f"lanes-{found['dtype']}" == name
        assert {"c_over_a", "c_over_b", "c_over_d"} <= found.keys()
    assert steps["latent"]["result"].keys() == {"tiny, guidance 1", "tiny, guidance 7.5"}
    page = (tmp_path / "out/page.md").read_text()
    assert NOT_A_GPU in page
    assert page.count("\n### ") == 4
    report = json.loads((tmp_path / "out/checkpoint.json").read_text())
    assert str(tmp_path) not in json.dumps(report)
    assert report["made"] == report["photographs"] == report["replay"]["equal"] == 8
    assert report["difference"]["largest"] < 1e-4
    data = base64.b64decode(report["pictures"].partition("base64,")[2])
    assert Image.open(io.BytesIO(data)).size == (8 * 128, 2 * 128)
