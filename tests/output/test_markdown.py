"""Names in Markdown, as a reader of the CommonMark specification renders them."""

from __future__ import annotations

import re
from html import unescape

import pytest
from markdown_it import MarkdownIt

from diffaug.output.markdown import code, text

NAMES = [
    "s3://bucket/a_b/*.tar",
    "a|b|c",
    "`rm -rf`",
    "``two``",
    "<script>alert(1)</script>",
    "<b>",
    "[x](http://example.com)",
    "![x](y)",
    "**bold** _it_ ~~gone~~",
    "__init__",
    "# no heading",
    "- no list",
    "+ 1",
    "1. no list",
    "12) no list",
    "=== no heading",
    "> no quote",
    "&amp; &lt;",
    "back\\slash\\",
    "two\nlines\r\nmore",
    "$x^2$",
    ":smile: a:b:c.tar",
    "-",
]


READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def rendered(markdown: str) -> str:
    """The text of the HTML, after its tags are dropped and its entities read."""
    return unescape(re.sub(r"<[^>]*>", "", READER.render(markdown))).strip("\n")


def tags(markdown: str) -> list[str]:
    """The tags of the HTML."""
    return re.findall(r"<(/?\w+)", READER.render(markdown))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_as_it_is(name: str) -> None:
    line = re.sub(r"[\r\n]+", " ", name)
    assert rendered(f"# {text(name)}") == line
    assert tags(f"# {text(name)}") == ["h1", "/h1"]
    assert rendered(text(name)) == line
    assert tags(text(name)) == ["p", "/p"]
    assert rendered(code(name)) == line
    assert tags(code(name)) == ["p", "code", "/code", "/p"]


def test_a_name_in_a_cell_stays_in_it() -> None:
    table = f"| a | b |\n| --- | --- |\n| {text('x|y')} | {text('z')} |\n"
    assert tags(table).count("td") == 2
    assert "x|y" in rendered(table)


def test_emoji_codes_are_broken() -> None:
    assert text("a:b:c") == "a\\:b:c"
    assert text("s3://b/c") == "s3://b/c"
