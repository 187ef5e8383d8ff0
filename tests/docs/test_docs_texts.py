"""The words of docs/texts.md, run in one folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, Python, blocks, commands

pytestmark = pytest.mark.pages

PAGE = (ROOT / "docs/texts.md").read_text(encoding="utf-8")


@pytest.mark.proof
def test_texts_are_made_packed_learned_augmented_shown_drawn_and_evaluated(
    checkout: Path, cli: Cli, python: Python
) -> None:
    (made,) = blocks(PAGE, "python")
    python(made)
    said = [cli(*words[1:]) for words in commands(PAGE)]
    assert [one.code for one in said] == [0] * 8, said
    _, _, augmented, verified, *_, evaluated = said
    count = len(list((checkout / "texts").rglob("*.txt")))
    assert count > 100
    assert f"{2 * count} planned = {2 * count} made" in augmented.out
    assert "20 replayed: 20 equal" in verified.out
    assert "5 labels per class, clean texts: " in evaluated.out
    assert len((checkout / "drawn.txt").read_text(encoding="utf-8").splitlines()) == 4
