"""Names in what Prefect's UI shows, which is Markdown: none of them is markup."""

from __future__ import annotations

import re
from html import unescape

import pytest
from markdown_it import MarkdownIt

from diffaug import Summary

NAME = "/data/[x](http://y)|`z` *a* <b> __c__ :d: #1"


@pytest.mark.parametrize("kind", ["outcome", "verify", "train"])
def test_a_name_is_shown_as_it_is(kind: str) -> None:
    from flows import outcome, train_denoiser, verify_manifest
    from flows.verify_manifest import Checked

    counts = dict.fromkeys(("shards", "committed", "planned", "ok"), 1)
    counts |= dict.fromkeys(("filtered", "failed", "output_bytes", "rejects_bytes"), 0)
    summary = Summary(**counts, seconds=1.0)
    page = {
        "outcome": lambda: outcome._markdown(summary, NAME, None),
        "verify": lambda: verify_manifest._markdown(
            Checked(shards=1, differences=1, first=[NAME]), 1, NAME
        ),
        "train": lambda: train_denoiser._markdown(
            {"step": 1, "images": 1, "skipped": 0, "loss": 1.0}, NAME, "denoiser"
        ),
    }[kind]()
    html = MarkdownIt("commonmark").enable("table").render(page)
    assert set(re.findall(r"<(\w+)", html)) <= {
        *("h1", "table", "thead", "tbody", "tr", "th", "td", "p", "code", "ul", "li")
    }
    shown = unescape(re.sub(r"<[^>]*>", "", html))
    assert shown.startswith(f"{NAME}\n")
    assert shown.count(NAME) >= 2
