"""The page of a job of texts: what was changed is marked, and no text is more than text."""

from __future__ import annotations

import html
import json
import random
import re
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect

from diffaug.report import contact_sheet, write_report
from diffaug.report.texts import marked, written
from diffaug.report.tried import try_page
from diffaug.texts.measures import words_of
from tests.support.browser import CHROMIUM, chromium
from tests.support.hostile import write_files
from tests.support.jobs import augmented, members
from tests.support.language_models import SENTENCES, bert

EVIL = '</script><script>alert(1)</script><img src=x onerror=alert(2)> & "the house"'
HEBREW = "הספר הגדול על הבית האדום"
TEXTS = (*SENTENCES[:3], EVIL, HEBREW, "A film.\n\n  The battery lasts;\tall day")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job with texts that are kept, filtered and failed."""
    folder = tmp_path_factory.mktemp("texts")
    files = [("x.txt", b"\xff\xfe"), ("x.cls", b"1")]
    for number, text in enumerate(TEXTS):
        files += [(f"{number}.txt", text.encode()), (f"{number}.cls", b"%d" % (number % 2))]
    model = bert(folder / "model", [*TEXTS, *SENTENCES])
    recipe: dict[str, Any] = {"model": str(model), "sampler": "random", "copies": 2}
    source = write_files(folder / "s.tar", files)
    augmented([source], folder / "out", **recipe, strength=(0.1, 1.0), filters=("edit < 0.6",))
    write_report(str(folder / "out"))
    return folder / "out"


def pieces(source: str, result: str) -> str:
    """What differs, as people write it by hand."""
    signs = {"same": "{}", "new": "+{}+", "gone": "-{}-"}
    return "".join(signs[one.kind].format(one.text) for one in marked(source, result))


@pytest.mark.parametrize(
    ("source", "result", "expected"),
    [
        ("the red house", "the red house", "the red house"),
        ("the red house", "the small house", "the -red-+small+ house"),
        ("the red house", "the house", "the- red- house"),
        ("red house", "house", "-red -house"),
        ("the house", "the red house", "the +red+ house"),
        ("the house", "the house, burnt", "the house+, burnt+"),
        ("a b  c\nd", "a  x c\n\nd", "a  -b-+x+ c\n\nd"),
        ("", "new", "+new+"),
        ("old", "", "-old-"),
        ("  ", " ", " "),
        ("It's sad.", "It's funny.", "It's -sad-+funny+."),
        ("क्षमा करें", "क्षमा मत", "क्षमा -करें-+मत+"),
        ("我喜欢猫", "我喜欢狗", "我喜欢-猫-+狗+"),
        ("a b c a b d", "a b c x b d", "a b c -a-+x+ b d"),
    ],
)
def test_what_differs_is_marked(source: str, result: str, expected: str) -> None:
    assert pieces(source, result) == expected


def test_nothing_of_either_is_lost() -> None:
    """The result letter for letter, and the source's words."""
    drawn, words = random.Random(0), [*" ".join(TEXTS).split(" "), "\n", " ", "é", ""]
    for _ in range(200):
        source, result = (" ".join(drawn.choices(words, k=drawn.randrange(9))) for _ in range(2))
        found = marked(source, result)
        assert "".join(one.text for one in found if one.kind != "gone") == result
        before = "\n".join(one.text for one in found if one.kind != "new")
        assert "".join(words_of(before)) == "".join(words_of(source))


def test_of_a_long_text_the_beginning_is_shown() -> None:
    source = " ".join(f"word{number}" for number in range(2000))
    shown = written(source.replace("word7 ", "new ") + " the end", source)
    assert [one.kind for one in shown.pieces] == ["same", "gone", "new", "same"]
    assert sum(len(one.text) for one in shown.pieces if one.kind != "gone") == 1200
    assert shown.more == f"the first 1,200 of {len(source) + 6:,} characters"
    assert written(source).detail == f"{source[:1200]} \u2026 the first 1,200 of 16,889 characters"
    assert written("short").detail == "short"


def test_the_page_says_what_the_manifest_says(output: Path) -> None:
    page = (output / "report/index.html").read_text(encoding="utf-8")
    rows = pd.read_parquet(output / "manifest")
    count = rows["status"].value_counts()
    assert min(count[name] for name in ("ok", "filtered", "failed")) > 0
    assert f"<dt>made, of {len(rows)} planned</dt><dd>{count['ok']}" in page
    assert "2 copies of each text, masked to strength 0.1, 1.0 and predicted back with" in page
    assert re.findall(r"<h3>(\w+)</h3>", page) == ["score_edit"]
    words = re.sub(
        r"<svg.*?</svg>|<[^>]+>",
        "",
        page.partition("<main>")[2].partition("</main>")[0],
        flags=re.DOTALL,
    )
    assert not re.findall(r"\b(?:images?|pictures?)\b", words)
    results: dict[str, bytes] = {}
    for tar in rows["output_shard"].dropna().unique():
        results |= members(output / tar)
    shown = re.findall(
        r'data-name="(\d+)".*?<span class="text" dir="auto">(.*?)</span>', page, re.S
    )
    assert {int(place) for place, _ in shown} == {*rows.index[rows["output_shard"].notna()]}
    for place, text in shown:
        whole = html.unescape(
            re.sub(r"</?ins>", "", re.sub(r"<del>.*?</del>", "", text, flags=re.DOTALL))
        )
        assert whole == results[str(rows.loc[int(place), "output_member"])].decode()
    found = re.search(r'<script type="application/json" id="details">(.*?)</script>', page)
    assert found is not None
    assert {*json.loads(found[1])["sources"].values()} == {"", *TEXTS}
    tags = _Tags()
    tags.feed(page)
    assert (tags.count["script"], tags.count["img"]) == (2, 0)
    assert tags.count["ins"] > 0


def test_the_page_of_a_trial_marks_them_too(output: Path) -> None:
    page = try_page(str(output), "texts", command="again", cost="an hour", not_known="much")
    assert "Choose the highest strength whose texts are still good." in page
    tags = _Tags()
    tags.feed(page)
    assert (tags.count["script"], tags.count["img"]) == (0, 0)
    assert tags.count["ins"] > 0


def test_texts_are_on_no_contact_sheet(output: Path, tmp_path: Path) -> None:
    assert contact_sheet(str(output), tmp_path / "sheet.png") == 0
    assert not (tmp_path / "sheet.png").exists()


def test_a_source_that_is_gone_is_said(tmp_path: Path) -> None:
    """Its results are shown, without marks."""
    source = write_files(tmp_path / "s.tar", [("a.txt", SENTENCES[0].encode())])
    augmented([source], tmp_path / "out", model=str(bert(tmp_path / "m")), sampler="random")
    source.unlink()
    page = Path(write_report(str(tmp_path / "out"))).read_text(encoding="utf-8")
    assert page.count("cannot be read: ") == 1
    assert page.count('<span class="text"') > 0
    assert "<ins>" not in page


class _Tags(HTMLParser):
    """Counts the tags of a page outside of its dialog."""

    def __init__(self) -> None:
        super().__init__()
        self.count = Counter[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] += 1


services = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no Chromium here: Debian has it as `chromium`"
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, output: Path) -> Iterator[Page]:
    """The page, of which no text runs, asks for anything or complains."""
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    wrong: list[str] = []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.on("dialog", lambda dialog: wrong.append(dialog.message))
    url = (output / "report/index.html").as_uri()
    page.on("request", lambda asked: wrong.append(asked.url))
    page.goto(url)
    yield page
    page.close()
    assert [each for each in wrong if each != url] == []


@services
@pytest.mark.services
def test_what_a_text_holds_is_shown_and_never_run(page: Page) -> None:
    shown = page.locator("#texts .source .text").all_inner_texts()
    assert [*shown] == [*TEXTS]
    assert page.locator("main img, main script").count() == 0
    card = page.locator(".strip", has=page.get_by_text(EVIL, exact=True)).locator(".card").first
    card.click()
    expect(page.locator("dialog [data-show=source]")).to_have_text(EVIL)
    made = page.locator("dialog [data-show=result]")
    assert made.inner_html() == card.locator(".text").inner_html()
    assert page.locator("dialog img, dialog script").count() == 0
    page.keyboard.press("ArrowRight")
    expect(page.locator("#lineage-title")).to_contain_text("copy 1")
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_be_hidden()


@services
@pytest.mark.services
def test_a_text_runs_in_its_own_direction(page: Page) -> None:
    for text, direction in ((HEBREW, "rtl"), (SENTENCES[0], "ltr")):
        source = page.locator("#texts .source .text", has_text=text)
        assert source.evaluate("one => getComputedStyle(one).direction") == direction
        words = source.evaluate(
            """one => {
                const range = document.createRange(), letters = one.firstChild;
                const left = (at) => {
                    range.setStart(letters, at); range.setEnd(letters, at + 1);
                    return range.getBoundingClientRect().left;
                };
                return [left(0), left(letters.length - 1)];
            }"""
        )
        assert (words[0] > words[1]) == (direction == "rtl")


@services
@pytest.mark.services
def test_texts_are_chosen_by_verdict_and_strength(page: Page, output: Path) -> None:
    rows = pd.read_parquet(output / "manifest")
    made = rows[rows["output_shard"].notna()]
    counted = page.locator("#count")
    expect(counted).to_have_text(f"{len(made)} of {len(made)} texts")
    page.select_option("select[name=status]", "filtered")
    expect(counted).to_have_text(f"{(made['status'] == 'filtered').sum()} of {len(made)} texts")
    page.click("button[type=reset]")
    page.locator("input[name=to]").fill("0.3")
    expect(counted).to_have_text(f"{(made['strength'] <= 0.3).sum()} of {len(made)} texts")


@services
@pytest.mark.services
@pytest.mark.parametrize("width", [1280, 400])
def test_a_text_stands_beside_what_was_made_of_it(page: Page, width: int) -> None:
    """Below it on a narrow screen; and nothing is wider than the page."""
    page.set_viewport_size({"width": width, "height": 900})
    strip = page.locator(".strip").first
    source, made = strip.locator(".source").bounding_box(), strip.locator(".made").bounding_box()
    assert source is not None
    assert made is not None
    if width > 1000:
        assert made["x"] >= source["x"] + source["width"]
    else:
        assert made["y"] >= source["y"] + source["height"]
    assert page.evaluate("document.documentElement.scrollWidth") <= width
