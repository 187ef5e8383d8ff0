"""The page of `diffaug report` in a real browser: opened, filtered, clicked, walked by keys."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page, expect

from diffaug.report import write_report
from tests.conftest import Cli
from tests.support.browser import CHROMIUM, chromium
from tests.support.hostile import encoded, fashion, write_files, write_samples
from tests.support.jobs import augmented

pytestmark = [
    pytest.mark.services,
    pytest.mark.skipif(
        CHROMIUM is None, reason="there is no Chromium here: Debian has it as `chromium`"
    ),
]


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job with images that are kept, filtered and failed."""
    folder = tmp_path_factory.mktemp("report")
    torn, *others = fashion(16)
    source = write_samples(folder / "s.tar", [*others, torn | {"png": torn["png"][:100]}])
    augmented([source], folder / "out", copies=2, strength=(0.2, 0.6), filters=("ssim >= 0.5",))
    write_report(str(folder / "out"))
    return folder / "out"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, output: Path) -> Iterator[Page]:
    """The page, which asks for nothing but itself and has nothing to complain of."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    url = (output / "report/index.html").as_uri()
    page.on("request", lambda asked: wrong.append(asked.url))
    page.goto(url)
    yield page
    page.close()
    assert [each for each in wrong if each != url and not each.startswith("data:")] == []


def shown(page: Page) -> int:
    return page.locator("#images .card:visible").count()


def test_images_are_chosen_by_class_verdict_and_strength(page: Page, output: Path) -> None:
    rows = pd.read_parquet(output / "manifest")
    made = rows[rows["output_shard"].notna()]
    counted = page.locator("#count")
    expect(counted).to_have_text(f"{len(made)} of {len(made)} images")
    page.select_option("select[name=class]", "trouser")
    trousers = made[made["label_text"] == "trouser"]
    assert shown(page) == len(trousers) > 0
    page.select_option("select[name=status]", "filtered")
    assert shown(page) == (trousers["status"] == "filtered").sum()
    page.click("button[type=reset]")
    expect(counted).to_have_text(f"{len(made)} of {len(made)} images")
    page.locator("input[name=to]").fill("0.3")
    assert shown(page) == (made["strength"] <= 0.3).sum()
    expect(page.locator("output[name=to-shown]")).to_have_text("0.3")
    page.select_option("select[name=status]", "filtered")
    few = (made["status"] == "filtered") & (made["strength"] <= 0.3)
    assert shown(page) == few.sum()


def test_a_click_shows_the_row_and_a_command_that_replays_it(
    page: Page, output: Path, cli: Cli, tmp_path: Path
) -> None:
    card = page.locator("#images .card").nth(3)
    card.click()
    lines = page.locator("dialog tr")
    cells = {
        line.locator("th").inner_text(): line.locator("td").inner_text() for line in lines.all()
    }
    rows = pd.read_parquet(output / "manifest")
    assert list(cells) == list(rows.columns)
    row = rows[rows["sample_id"] == cells["sample_id"]].iloc[0]
    assert cells["source_key"] == row["source_key"]
    assert float(cells["score_ssim"]) == row["score_ssim"]
    pictures = page.locator("dialog img:visible")
    assert pictures.count() == 2
    for picture in pictures.all():
        assert picture.evaluate("image => image.naturalWidth") == 28
    command = shlex.split(page.locator("dialog code").inner_text())
    assert command[0] == "diffaug"
    said = cli(*command[1:], "-o", tmp_path / "again.png")
    assert said.code == 0, said
    assert (tmp_path / "again.png").stat().st_size == row["output_bytes"]
    page.click("dialog [data-close]")
    expect(page.locator("dialog")).to_be_hidden()


def test_keys_are_enough(page: Page) -> None:
    """Tab to an image, Enter, arrows to the next ones, Escape, and back where it was."""
    for _ in range(40):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.matches('.card')"):
            break
    first = page.evaluate("document.activeElement.dataset.name")
    page.keyboard.press("Enter")
    title = page.locator("#lineage-title")
    expect(title).to_contain_text("copy 0")
    page.keyboard.press("ArrowRight")
    expect(title).to_contain_text("copy 1")
    page.keyboard.press("ArrowLeft")
    expect(title).to_contain_text("copy 0")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()
    assert page.evaluate("document.activeElement.dataset.name") == first


def test_photographs_are_shown_larger_than_small_pictures(browser: Browser, tmp_path: Path) -> None:
    """And smooth, where single pixels of small ones are seen."""
    shown = []
    for name, side in (("small", 32), ("large", 100)):
        png = encoded(Image.new("RGB", (side, side), "orange"), "PNG")
        write_files(tmp_path / f"{name}.tar", [("a.png", png)])
        augmented([tmp_path / f"{name}.tar"], tmp_path / name, model="cifar10-32")
        write_report(str(tmp_path / name))
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.goto((tmp_path / name / "report/index.html").as_uri())
        image = page.locator("#images .card img")
        box = image.bounding_box()
        assert box is not None
        shown.append((box["width"], image.evaluate("one => getComputedStyle(one).imageRendering")))
        page.close()
    (small, pixels), (large, smooth) = shown
    assert large > 1.8 * small
    assert (pixels, smooth) == ("pixelated", "auto")


def test_a_failed_row_has_its_lineage_too(page: Page) -> None:
    page.locator("#failed button").first.click()
    expect(page.locator("#lineage-title")).to_contain_text("failed")
    assert not page.locator("dialog code").is_visible()
    assert page.locator("dialog img:visible").count() == 0


def test_light_and_dark(browser: Browser, output: Path) -> None:
    """Text stands off its ground in both, charts too, as WCAG measures it."""
    for scheme in ("light", "dark"):
        page = browser.new_page(color_scheme=scheme)
        page.goto((output / "report/index.html").as_uri())
        ground = brightness(page, "body", "backgroundColor")
        assert (ground > 0.8) == (scheme == "light")
        for thing, what in (("body", "color"), (".faint", "color"), (".chart text", "fill")):
            ink = brightness(page, thing, what)
            ratio = (max(ink, ground) + 0.05) / (min(ink, ground) + 0.05)
            assert ratio >= 4.5, (scheme, thing)
        page.close()


def brightness(page: Page, selector: str, what: str) -> float:
    """Relative luminance, 0 to 1."""
    colour = page.locator(selector).first.evaluate(f"thing => getComputedStyle(thing).{what}")
    levels = [int(level) / 255 for level in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    red, green, blue = (
        level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4 for level in levels
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
