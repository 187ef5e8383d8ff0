"""The README's own words, run: its commands first, then its Python, in one folder."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tests.conftest import ROOT, Cli, Python, blocks, commands

pytestmark = pytest.mark.services

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_commands_and_its_python_run(checkout: Path, cli: Cli, python: Python) -> None:
    """The whole way ends in a verdict and a page; Python prints what the README says."""
    typed = [words for words in commands(README) if words[0] == "diffaug"]
    path = ["sample", "pack", "train", "augment", "evaluate", "report"]
    assert [words[1] for words in typed] == [
        *("augment", "verify", "models", "report"),
        *path,
        "sample",
    ]
    for words in typed:
        done = cli(*words[1:])
        assert done.code == 0, done
    rows = pd.read_parquet(checkout / "kept/manifest")
    assert len(rows) == 160
    assert ((rows["score_ssim"] >= 0.5) == (rows["status"] == "ok")).all()
    assert set(rows["status"]) == {"ok", "filtered"}
    told = json.loads((checkout / "evaluation/results/results.json").read_text())
    assert {one["word"] for one in told["verdicts"]} == {"no evidence"}
    assert "160 planned" in (checkout / "kept/report/index.html").read_text()

    printed = python("\n".join(blocks(README, "python")))
    assert "00000-a0 9 (28, 28)" in printed
    assert printed.splitlines()[-1] == "120"
    for number in ("00000     0      9       0.4      8", "00002     0      1       0.4      8"):
        assert number in printed
        assert number in README
