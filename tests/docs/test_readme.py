"""The README's own words, run: its commands first, then its Python, in one folder.

Those of its service are run in test_docs_serving.py.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, Python, blocks, commands
from tests.support.hostile import encoded
from tests.support.packing import picture, write

pytestmark = pytest.mark.pages

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_its_commands_and_its_python_run(checkout: Path, cli: Cli, python: Python) -> None:
    """Python prints what the README shows."""
    for seed, one in enumerate(("cat", "dog")):
        write(checkout / f"photos/{one}/1.jpg", encoded(picture(seed, (40, 30)), "JPEG"))
    of_ours = [words for words in commands(README) if words[0] == "diffaug"]
    typed = [words for words in of_ours if words[1] not in ("serve", "replay")]
    assert [words[1] for words in typed] == [*("try", "augment", "augment", "verify", "report")]
    for words in typed:
        done = cli(*words[1:])
        assert done.code == 0, done
    assert (checkout / "try-photos.html").exists()
    assert "40 planned" in (checkout / "augmented/report/index.html").read_text()
    printed = python("\n".join(blocks(README, "python")))
    assert "00000-a0 9 (28, 28)" in printed
    for number in ("00000     0      9       0.4      8", "00002     0      1       0.4      8"):
        assert number in printed
        assert number in README
