"""A text as it is read from a member, and what identifies it."""

from __future__ import annotations

import hashlib
import json

import pytest

from diffaug.errors import DefectError
from diffaug.texts.medium import Texts
from diffaug.texts.text import MOST_BYTES, MOST_CHARACTERS, Text, read_text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"plain", "plain"),
        (b"\xef\xbb\xbfmarked", "marked"),
        ("\ufeff\ufefftwice, and \ufeff once more".encode(), "twice, and \ufeff once more"),
        ("cafe\u0301 A\u030a".encode(), "caf\u00e9 \u00c5"),
        (b"two\r\nlines\0", "two\r\nlines\0"),
        (b"", ""),
        ("x" * MOST_CHARACTERS, "x" * MOST_CHARACTERS),
    ],
)
def test_a_member_is_a_text(data: bytes | str, text: str) -> None:
    assert read_text(data if isinstance(data, bytes) else data.encode()) == text


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"a\xff", "unreadable_text", "not UTF-8: invalid start byte at byte 1"),
        ("a".encode("utf-16"), "unreadable_text", "not UTF-8"),
        (b"\xed\xa0\x80", "unreadable_text", "not UTF-8"),
        (b"x" * (MOST_CHARACTERS + 1), "too_long", "has 100,001 characters"),
        (b"x" * (MOST_BYTES + 1), "too_long", "has 4,000,001 bytes"),
        ("\u0958".encode() * (MOST_CHARACTERS // 2 + 1), "too_long", "has 100,002 characters"),
        (("a" + "\u0301\u0323" * 40_000).encode(), "unreadable_text", "more than 1,000 marks"),
    ],
)
def test_what_is_no_text_is_refused(data: bytes, code: str, said: str) -> None:
    with pytest.raises(DefectError, match=said) as found:
        read_text(data)
    assert found.value.code == code


@pytest.mark.parametrize(
    "marks", ["\u0301" * 50, "\u0301\u0323" * 500], ids=["of Zalgo", "as many as may be"]
)
def test_marks_are_kept(marks: str) -> None:
    found = read_text(f"x{marks}y".encode())
    assert sorted(found) == sorted(f"x{marks}y")


def test_a_field_of_json() -> None:
    member = json.dumps({"text": "cafe\u0301", "more": [1, 2], "text ": "other"}).encode()
    assert read_text(member, "text") == "caf\u00e9"
    assert read_text(b"\xef\xbb\xbf" + member, "text ") == "other"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"text": ', "unreadable_text"),
        (b"[" * 100_000, "unreadable_text"),
        (b'{"text": "\\ud83d"}', "unreadable_text"),
        (b'{"other": "a"}', "no_text"),
        (b'{"text": 5}', "no_text"),
        (b'{"text": null}', "no_text"),
        (b'["text"]', "no_text"),
        (b"9" * 5000, "unreadable_text"),
    ],
)
def test_a_json_member_without_a_text(data: bytes, code: str) -> None:
    with pytest.raises(DefectError) as found:
        read_text(data, "text")
    assert found.value.code == code


def test_identity_is_of_what_it_says_alone() -> None:
    wanted = hashlib.sha256(b"text " + "caf\u00e9".encode()).hexdigest()
    for data in ("café".encode(), "cafe\u0301".encode(), b"\xef\xbb\xbfcaf\xc3\xa9"):
        assert Text(read_text(data)).sha256 == wanted
    assert Text(read_text(b'{"a": "caf\\u00e9"}', "a")).sha256 == wanted
    assert Text("cafe").sha256 != wanted


def test_what_is_written_is_read_back() -> None:
    medium = Texts("field")
    for text in ("", "a\r\nb", "caf\u00e9 \U0001f600\u200d \0"):
        assert medium.read_back(medium.write(Text(text), "txt"), 0).text == text
        read = medium.read(json.dumps({"field": text}).encode(), 0, None)
        assert read.stored.text == text
        assert read.stored is read.shown
        assert not read.jpeg
