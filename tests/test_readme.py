"""The README's own words, run: its commands first, then its Python, in one folder."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT, blocks, diffaug_command

pytestmark = pytest.mark.services

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the checkout's root, in which the README's `diffaug` commands have been run."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "tests").symlink_to(ROOT / "tests")
    text = "".join(blocks(README, "bash")).replace("\\\n", " ")
    commands = [shlex.split(line) for line in text.splitlines() if line.startswith("diffaug ")]
    path = ["sample", "pack", "train", "augment", "evaluate", "report"]
    assert [command[1] for command in commands] == ["augment", "verify", "models", *path, "sample"]
    for command in commands:
        done = diffaug_command(*command[1:], cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def test_the_whole_way_ends_in_a_verdict_and_a_page(folder: Path) -> None:
    rows = pd.read_parquet(folder / "kept/manifest")
    assert len(rows) == 160
    assert ((rows["score_ssim"] >= 0.5) == (rows["status"] == "ok")).all()
    assert set(rows["status"]) == {"ok", "filtered"}
    told = json.loads((folder / "evaluation/results/results.json").read_text())
    assert {one["word"] for one in told["verdicts"]} == {"no evidence"}
    assert "160 planned" in (folder / "kept/report/index.html").read_text()


def test_python_blocks_run_and_print_what_they_say(folder: Path) -> None:
    code = "\n".join(blocks(README, "python"))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "00000-a0 9 (28, 28)" in done.stdout
    assert done.stdout.splitlines()[-1] == "120"
    for number in ("00000     0      9       0.4      8", "00002     0      1       0.4      8"):
        assert number in done.stdout
        assert number in README
