"""Draws the contact sheet of the demo's output for the documentation, and photographs its report.

`python -m tests.support.screenshots OUTPUT`, of a `make demo` in a folder whose name everybody may
read; then look at them.
"""

from __future__ import annotations

import io
import sys
import tempfile
from pathlib import Path
from typing import Literal

from PIL import Image
from playwright.sync_api import Browser

from diffaug.report import contact_sheet
from tests.conftest import ROOT
from tests.support.browser import chromium

Colours = Literal["light", "dark"]


def photograph(report: Path, browser: Browser, colours: Colours, click: str | None) -> Image.Image:
    """The top of the page, with what a click on something opens."""
    page = browser.new_page(viewport={"width": 1280, "height": 1500}, color_scheme=colours)
    page.goto(report.as_uri())
    if click:
        page.locator(click).first.click()
    page.wait_for_timeout(500)
    data = page.screenshot()
    page.close()
    with Image.open(io.BytesIO(data)) as picture:
        return picture.convert("RGB")


def draw_contact_sheet(output: str) -> None:
    """Four sources, spread evenly, one below the other."""
    with tempfile.TemporaryDirectory() as folder:
        drawn = Path(folder, "sheet.png")
        contact_sheet(output, drawn, sources=4, columns=1)
        with Image.open(drawn) as sheet:
            sheet.save(ROOT / "docs/contact-sheet.jpg", quality=90)


def main(output: str) -> None:
    draw_contact_sheet(output)
    report = Path(output).resolve() / "report/index.html"
    with chromium() as browser:
        shots: list[tuple[str, Colours, str | None]] = [
            ("report-light", "light", None),
            ("report-dark", "dark", None),
            ("report-row", "light", "#images .card"),
        ]
        for name, colours, click in shots:
            picture = photograph(report, browser, colours, click)
            picture.save(ROOT / f"docs/{name}.png", optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
