"""The report of a job of clips, in a real browser: clips play while they are pointed at."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from diffaug.report.page import write_report
from diffaug.report.sheet import contact_sheet
from tests.support.browser import chromium
from tests.support.clips import container, moving, write_clips
from tests.support.jobs import augmented


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    clips = {"a": container(moving(5)), "b": container(moving(70, (80, 64), seed=1))}
    augmented([write_clips(folder / "clips.tar", clips)], folder / "out", strength=0.3, copies=2)
    write_report(str(folder / "out"))
    return folder / "out"


@pytest.mark.services
def test_clips_play_while_they_are_pointed_at(output: Path) -> None:
    with chromium() as browser:
        page = browser.new_page()
        mistakes: list[str] = []
        page.on("pageerror", lambda error: mistakes.append(str(error)))
        page.goto(f"file://{output}/report/index.html")
        clips = page.locator(".strip").first.locator("img[data-plays]")
        assert clips.count() == 3
        still = clips.first.get_attribute("src")
        playing = "all => all.map(one => one.src === one.dataset.plays)"
        assert clips.evaluate_all(playing) == [False] * 3
        clips.first.hover()
        assert clips.evaluate_all(playing) == [True] * 3
        assert clips.first.evaluate("one => one.decode().then(() => one.naturalWidth)") == 48
        page.mouse.move(0, 0)
        assert clips.first.get_attribute("src") == still
        page.locator(".card").first.click()
        shown = page.locator("dialog img").evaluate_all(
            "all => all.map(one => one.src.slice(0, 16))"
        )
        assert shown == ["data:image/webp;"] * 2
        page.keyboard.press("Escape")
        page.emulate_media(media="print")
        assert page.locator(".strip img.frames").first.is_visible()
        assert not clips.first.is_visible()
        assert not mistakes
        page.close()


def test_a_sentence_says_that_they_are_clips(output: Path) -> None:
    assert "2 copies of each clip" in (output / "report/index.html").read_text()


def test_the_sheet_shows_a_frame_of_each(output: Path, tmp_path: Path) -> None:
    assert contact_sheet(str(output), tmp_path / "sheet.png") == 2
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 300
