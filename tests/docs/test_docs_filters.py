"""The words of docs/filters.md, run in one folder: what they print is what the page shows."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import ROOT, Cli, Python, blocks, commands

pytestmark = pytest.mark.pages

PAGE = (ROOT / "docs/filters.md").read_text(encoding="utf-8")


@pytest.mark.proof
def test_the_commands_and_the_python_run(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli, python: Python
) -> None:
    clothes, *looks = blocks(PAGE, "python")
    (checkout / "clothes.py").write_text(clothes)
    monkeypatch.syspath_prepend(checkout)
    assert [words[1] for words in commands(PAGE)] == ["augment", "verify", "augment"]
    said = []
    for words in commands(PAGE):
        done = cli(*words[1:])
        assert done.code == 0, done
        said.append(done.out)
    assert "120 planned = " in said[0]
    assert " filtered + 0 failed; 1 of 1 shards committed" in said[0]
    assert "6 replayed: 6 equal" in said[1]
    *queries, paired = looks
    printed = python("from PIL import Image\n" + "\n".join(queries))
    assert "score_" in printed
    assert " of 120 images in 2 tars" in printed
    assert f"```\n{python(paired)}```" in PAGE
