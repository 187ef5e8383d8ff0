"""Photographs the page of a server, after a photograph was augmented on it.

python -m tests.support.page_picture      takes docs/serving-page.png again; then look at it
"""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect
from skimage import data

from tests.conftest import ROOT
from tests.support.browser import chromium
from tests.support.forks import fork_server
from tests.support.serving import PATIENCE, recipe_file, serving

SIZE = {"width": 1120, "height": 870}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, fork_server(Path(folder)) as forked:
        picture = Path(folder, "chelsea.jpg")
        Image.fromarray(data.chelsea()).save(picture, quality=92)
        recipe = recipe_file(Path(folder), "gentle", model="cifar10-32", strength=0.5)
        with serving(forked, "--recipe", recipe) as server, chromium() as browser:
            page = browser.new_page(viewport=SIZE, color_scheme="light")  # type: ignore[arg-type]
            page.goto(f"{server.url}/docs")
            page.get_by_label("Picture or drop").set_input_files(picture)
            page.get_by_role("button", name="Augment").click()
            made = page.get_by_role("img", name="result")
            expect(made).to_be_visible(timeout=PATIENCE * 1000)
            shot = page.screenshot()
    with Image.open(io.BytesIO(shot)) as image:
        few = image.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT)
        few.save(ROOT / "docs/serving-page.png", optimize=True)


if __name__ == "__main__":
    main()
