"""The command of docs/evaluation.md, run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, commands

pytestmark = pytest.mark.pages

TEXT = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")


def test_its_command_runs(checkout: Path, cli: Cli) -> None:
    (command,) = commands(TEXT)
    said = cli(*command[1:])
    assert said.code == 0, said
    for name in ("README.md", "results.json", "scores.parquet", "summary.parquet", "gains.png"):
        assert (checkout / "evaluation/results" / name).is_file()
