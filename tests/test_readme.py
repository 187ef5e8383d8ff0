"""The README's own words, run: its commands first, then its Python, in one folder."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, blocks, diffaug_command

pytestmark = pytest.mark.services

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like the checkout's root, in which the README's `diffaug` commands have been run."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "tests").symlink_to(ROOT / "tests")
    lines = [line for block in blocks(README, "bash") for line in block.splitlines()]
    commands = [line.replace("'", "").split() for line in lines if line.startswith("diffaug ")]
    assert [command[1] for command in commands] == ["augment", "verify", "models", "sample"]
    for command in commands:
        done = diffaug_command(*command[1:], cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


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
