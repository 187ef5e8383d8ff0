"""The words of docs/filters.md, run in one folder: what they print is what the page shows."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, blocks, diffaug_command

pytestmark = pytest.mark.services

PAGE = (ROOT / "docs/filters.md").read_text(encoding="utf-8")


def _python(code: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_commands_and_the_python_run(tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    clothes, *looks = blocks(PAGE, "python")
    (tmp_path / "clothes.py").write_text(clothes)
    text = "\n".join(blocks(PAGE, "bash")).replace("\\\n", " ")
    commands = [shlex.split(line) for line in text.splitlines() if line]
    assert [command[1] for command in commands] == ["augment", "verify", "augment"]
    said = []
    for command in commands:
        done = diffaug_command(*command[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert "120 planned = " in said[0]
    assert " filtered + 0 failed; 1 of 1 shards committed" in said[0]
    assert "6 replayed: 6 equal" in said[1]
    *queries, paired = looks
    printed = _python("from PIL import Image\n" + "\n".join(queries), tmp_path)
    assert "score_" in printed
    assert " of 120 images in 2 tars" in printed
    assert f"```\n{_python(paired, tmp_path)}```" in PAGE
