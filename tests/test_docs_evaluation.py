"""The commands of docs/evaluation.md, run, in one folder like the checkout's root."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.conftest import ROOT, blocks, diffaug_command

pytestmark = pytest.mark.services

TEXT = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")


def test_its_commands_run(tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    text = "".join(blocks(TEXT, "bash")).replace("\\\n", " ")
    commands = [shlex.split(line) for line in text.splitlines()]
    assert [command[1] for command in commands] == ["evaluate", "evaluate", "augment"]
    for command in commands:
        done = diffaug_command(*command[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    for name in ("README.md", "results.json", "scores.parquet", "summary.parquet", "gains.png"):
        assert (tmp_path / "evaluation/results" / name).is_file()
    assert "240 planned = 240 ok" in done.stdout
