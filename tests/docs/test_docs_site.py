"""The documentation: it builds, its links lead somewhere, and what its pages say to type works."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import diffaug
from diffaug.cli import app
from diffaug.manifest.columns import COLUMNS
from diffaug.recipe import Recipe
from tests.conftest import MLCROISSANT, ROOT, Cli, Python, blocks, commands

DOCS = ROOT / "docs"
PAGES = [*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *ROOT.glob("*/README.md")]

_LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        target = (page.parent / name).resolve() if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {_anchor(heading) for heading in headings}, link


def _anchor(heading: str) -> str:
    """As GitHub and MyST make it of a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


@pytest.mark.pages
def test_it_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", str(DOCS), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    pages = (tmp_path / "reference").glob("*.html")
    text = {path.stem: re.sub("<[^>]+>", "", path.read_text()) for path in pages}
    for name in COLUMNS:
        assert name in text["columns"]
    for name in diffaug.__all__:
        assert name == "__version__" or f"diffaug.{name}" in text["python"]
    for field in Recipe.model_fields:
        assert f"--{field.replace('_', '-')}" in text["cli"]
    for verb in ("augment", "doctor", "evaluate", "export", "try", "verify"):
        assert f"diffaug {verb}" in text["cli"]


def test_the_design_page_lists_the_layers_that_are_checked() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = project["tool"]["importlinter"]["contracts"]
    (layers,) = (one["layers"] for one in contracts if one.get("containers") == ["diffaug"])
    page = (DOCS / "design.md").read_text(encoding="utf-8")
    _, _, after = page.partition("| layer | what it is |\n| :--- | :--- |\n")
    table, _, _ = after.partition("\n\n")
    rows = [re.findall(r"`(\w+)`", line.split("|")[1]) for line in table.splitlines()]
    assert rows == [re.findall(r"\w+", layer) for layer in layers]


def test_every_command_of_a_page_is_one() -> None:
    """With flags that it has: also those that proofs alone run, and those that nothing does."""
    seen = set()
    for page in PAGES:
        for words in commands(page.read_text(encoding="utf-8")):
            if words[0] == "diffaug":
                app.parse_args(words[1:], exit_on_error=False, print_error=False)
                seen.add(words[1])
    assert seen >= {"augment", "evaluate", "pack", "report", "sample", "train", "try", "verify"}


@pytest.mark.pages
@MLCROISSANT
@pytest.mark.parametrize(
    "name",
    [
        *("getting-started", "concepts", "manifest"),
        pytest.param("choosing-strength", marks=pytest.mark.proof),
        *("adding-a-judge", "adding-a-family", "pictures"),
    ],
)
def test_what_a_page_says_to_type_works(
    name: str, checkout: Path, cli: Cli, python: Python
) -> None:
    """Its commands of diffaug's, then its Python."""
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    for command in commands(page):
        if command[0] != "make":  # `make demo` is run on a fresh clone
            assert command[0] == "diffaug"
            said = cli(*command[1:])
            assert said.code == 0, said
    python("\n".join(blocks(page, "python")))
    for drawn in (*checkout.glob("*.png"), *checkout.glob("*.jpg")):
        if name == "concepts":
            assert_alike(drawn, DOCS / drawn.name)


def assert_alike(drawn: Path, shown: Path) -> None:
    """Networks end in other last bits on other processors, and no more than that."""
    with Image.open(drawn) as one, Image.open(shown) as other:
        assert one.size == other.size
        apart = np.asarray(one.convert("L"), float) - np.asarray(other.convert("L"), float)
    assert np.abs(apart).mean() < 2
