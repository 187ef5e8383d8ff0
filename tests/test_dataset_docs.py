"""The words of docs/mixing.md, run: its command, then its Python, in one folder."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, blocks, diffaug_command

pytestmark = pytest.mark.services

MIXING = (ROOT / "docs/mixing.md").read_text(encoding="utf-8")


def test_the_command_and_the_python_of_mixing_run(tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (command,) = map(shlex.split, blocks(MIXING, "bash"))
    done = diffaug_command(*command[1:], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    code = "\n".join(blocks(MIXING, "python"))
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stderr
    (said,) = ran.stdout.splitlines()
    assert f"# {said}\n" in MIXING
