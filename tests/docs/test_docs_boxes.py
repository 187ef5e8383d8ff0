"""The words of docs/boxes.md, run in one folder: the picture they draw is the one it shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, Python, blocks, commands
from tests.docs.test_docs_site import assert_alike

pytestmark = pytest.mark.pages

PAGE = (ROOT / "docs/boxes.md").read_text(encoding="utf-8")


def test_boxes_are_drawn_on_what_they_were_carried_with(
    checkout: Path, cli: Cli, python: Python
) -> None:
    made, *looks = blocks(PAGE, "python")
    python(made)
    for words in commands(PAGE):
        done = cli(*words[1:])
        assert done.code == 0, done
        assert "8 planned = 8 ok" in done.out
    python("\n".join((made, *looks)))
    assert_alike(checkout / "boxes.jpg", ROOT / "docs/boxes.jpg")
