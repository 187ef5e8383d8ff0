"""The words of docs/clips.md, run in one folder: the picture they draw is the one it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, Python, blocks, commands
from tests.docs.test_docs_site import assert_alike

pytestmark = pytest.mark.pages

PAGE = (ROOT / "docs/clips.md").read_text(encoding="utf-8")


@pytest.mark.proof
def test_clips_are_made_augmented_shown_and_loaded(
    checkout: Path, cli: Cli, python: Python
) -> None:
    made, drawn, loaded = blocks(PAGE, "python")
    python(made)
    said = [cli(*words[1:]) for words in commands(PAGE)]
    assert [one.code for one in said] == [0, 0, 0]
    assert "8 planned = 8 made" in said[0].out
    assert "4 replayed: 4 equal" in said[1].out
    python("\n".join((made, drawn, loaded)))
    assert_alike(checkout / "clips.jpg", ROOT / "docs/clips.jpg")
