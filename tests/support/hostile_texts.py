"""Texts that go wrong, or look as if they would, one each: what becomes of them in a real job.

    python -m tests.support.hostile_texts

writes the table of docs/texts.md.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pandas as pd

from tests.conftest import ROOT
from tests.support.language_models import bert
from tests.support.texts import text_job, write_texts

__all__ = ["BEGIN", "END", "IN_JSON", "PAGE", "TEXTS", "rows", "table"]

PAGE = ROOT / "docs/texts.md"
BEGIN, END = "<!-- hostile -->\n", "<!-- /hostile -->\n"

TEXTS: dict[str, tuple[str, bytes, str]] = {
    "plain": ("A sentence", b"The red house is on the hill.", ""),
    "empty": ("Zero bytes", b"", "nothing_to_change"),
    "spaces": ("Only spaces and line breaks", b" \t\r\n \xc2\xa0", "nothing_to_change"),
    "letter": ("One letter", b"a", ""),
    "signs": ("Only signs of the model", b"[MASK] [CLS] [SEP] [PAD]", "nothing_to_change"),
    "among": ("A sign of the model among words", b"the [MASK] is red", ""),
    "unknown": (
        "Only words that the tokenizer does not know",
        "\u1200\u1208 \u2603".encode(),
        "nothing_to_change",
    ),
    "binary": ("No text: a PNG", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "unreadable_text"),
    "latin": ("Latin-1", "the caf\u00e9".encode("latin-1"), "unreadable_text"),
    "utf16": ("UTF-16", "the red house".encode("utf-16"), "unreadable_text"),
    "half": ("UTF-8 cut within a letter", "the caf\u00e9".encode()[:-1], "unreadable_text"),
    "marked": ("With a byte order mark", b"\xef\xbb\xbfthe red house", ""),
    "windows": ("Line ends of Windows", b"the red\r\nhouse is\r\n\r\non the hill\r\n", ""),
    "nul": ("With NUL", b"the red\0house \0", ""),
    "hebrew": (
        "From right to left",
        "\u202e\u05d0\u05d1 the \u05d2 \u0645\u0631\u062d\u0628\u0627 red\u202c".encode(),
        "",
    ),
    "marks": (
        "Letters with many marks",
        ("the r" + "\u0323\u0301\u0300" * 100 + "ed house").encode(),
        "",
    ),
    "zalgo": (
        "A letter with 60,000 marks",
        ("the r" + "\u0323\u0301" * 30_000 + "ed").encode(),
        "unreadable_text",
    ),
    "emoji": (
        "Emoji of several characters",
        "the \U0001f469\u200d\U0001f680\ufe0f red".encode(),
        "",
    ),
    "ligatures": ("Ligatures, and letters that grow", "the \ufb01lm \ufdfa \u0130s ß".encode(), ""),
    "long": ("3,000 words", b"the red house " * 1_000, ""),
    "word": ("A word of 90,000 letters", b"the " + b"a" * 90_000, ""),
    "many": ("More than 100,000 characters", b"the red " * 12_501, "too_long"),
    "huge": ("10 MB", b"the red " * 1_250_000, "too_long"),
}
"""What each is, its bytes, and the reason code; empty: it is made."""

IN_JSON: dict[str, tuple[str, bytes, str]] = {
    "plain": ("A field with a text", b'{"text": "the red house"}', ""),
    "escaped": ("Written in escapes", json.dumps({"text": "the \U0001f600 \0 red"}).encode(), ""),
    "cut": ("Cut short", b'{"text": "the red', "unreadable_text"),
    "deep": ("Lists within lists, 100,000 deep", b"[" * 100_000, "unreadable_text"),
    "number": ("A number with 5,000 digits", b'{"text": ' + b"9" * 5000 + b"}", "unreadable_text"),
    "none": ("Without the field", b'{"title": "the red house"}', "no_text"),
    "list": ("A list", b'["the red house"]', "no_text"),
    "other": ("The field holds a number", b'{"text": 5}', "no_text"),
    "half": ("Half of an emoji", b'{"text": "the \\ud83d red"}', "unreadable_text"),
    "empty": ("The field is empty", b'{"text": ""}', "nothing_to_change"),
    "zero": ("Zero bytes", b"", "unreadable_text"),
}
"""The same, of members from which the field `text` is taken."""


def rows(folder: Path, model: Path) -> pd.DataFrame:
    """The manifests of a job of each kind, with one copy a text."""
    plain = write_texts(folder / "plain.tar", {key: data for key, (_, data, _) in TEXTS.items()})
    json_members = {key: data for key, (_, data, _) in IN_JSON.items()}
    in_json = write_texts(folder / "json.tar", json_members, extension="json")
    return pd.concat(
        [
            text_job([plain], folder / "plain", model, strength=0.3, steps=2),
            text_job([in_json], folder / "json", model, strength=0.5, text_key="json:text"),
        ]
    )


def table(found: pd.DataFrame) -> str:
    """What became of each, in Markdown."""
    lines = ["| text | what became of it | reason code | reason |", "| :--- | :--- | :--- | :--- |"]
    for cases, extension in ((TEXTS, "txt"), (IN_JSON, "json")):
        for key, (what, _, _) in cases.items():
            row = found[found["source_member"] == f"{key}.{extension}"].iloc[0]
            made = row["status"] == "ok"
            became = "made" if made else row["status"]
            code, reason = ("", "") if made else (f"`{row['reason_code']}`", row["reason"])
            what = f"JSON: {what[:1].lower()}{what[1:]}" if cases is IN_JSON else what
            lines.append(f"| {what} | {became} | {code} | {reason} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        found = table(rows(Path(name), bert(Path(name) / "model")))
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    PAGE.write_text(f"{before}{BEGIN}{found}{END}{rest.partition(END)[2]}", encoding="utf-8")


if __name__ == "__main__":
    main()
