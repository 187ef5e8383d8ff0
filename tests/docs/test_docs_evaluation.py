"""The commands of docs/evaluation.md, run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, commands

pytestmark = pytest.mark.pages

TEXT = (ROOT / "docs/evaluation.md").read_text(encoding="utf-8")


def test_its_commands_run(checkout: Path, cli: Cli) -> None:
    command, planned = commands(TEXT)
    said = cli(*planned[1:])
    assert said.code == 0, said
    assert "smallest gain over flips and crops that they would show four times in five" in said.out
    assert not (checkout / "planned").exists()
    said = cli(*command[1:])
    assert said.code == 0, said
    for name in ("README.md", "results.json", "scores.parquet", "summary.parquet", "gains.png"):
        assert (checkout / "evaluation/results" / name).is_file()
