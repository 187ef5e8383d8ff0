"""Labels that are no numbers, or none the model knows: fatal only where a class conditions."""

from __future__ import annotations

from tests.support.hostile import Files, png
from tests.support.hostile_case import Case, Group, between
from tests.support.hostile_names import PICKLE

LABELS = Group("labels", "Labels, under `condition: label`", fields={"condition": "label"})


@LABELS.between(("b", "no_label"), label=(None, PICKLE.decode("utf-8", "replace").strip()))
def pickle_as_label() -> Files:
    """A pickle for a label"""
    return [("b.png", png(1)), ("b.cls", PICKLE)]


@LABELS.between(("b", "no_label"), label=(None, None))
def no_label() -> Files:
    """No label at all"""
    return [("b.png", png(1))]


def _labelled(
    name: str, what: str, label: bytes, code: str | None, row: tuple[int | None, str | None]
) -> None:
    def make() -> bytes:
        return between([("b.png", png(1)), ("b.cls", label)])

    LABELS.add(Case(name, what, make, (("a", None), ("b", code), ("z", None)), label=row))


WORD, RANGE = "no_label", "unknown_label"
_labelled("spaces", "` 7\\n`", b" 7\n", None, (7, None))
_labelled("plus", "`+7`", b"+7", None, (7, None))
_labelled("zeros", "`007`", b"007", None, (7, None))
_labelled("word", "`trouser`", b"trouser", WORD, (None, "trouser"))
_labelled("real", "`1.5`", b"1.5", WORD, (None, "1.5"))
_labelled("whole_real", "`1.0`", b"1.0", WORD, (None, "1.0"))
_labelled("not_a_number", "`nan`", b"nan", WORD, (None, "nan"))
_labelled("huge", "40 digits", b"9" * 40, WORD, (None, "9" * 40))
_labelled("minus", "`-1`", b"-1", RANGE, (-1, None))
_labelled("beyond", "`10`, of a model that knows 0 to 9", b"10", RANGE, (10, None))
_labelled("empty", "zero bytes", b"", WORD, (None, ""))
_labelled("nul_byte", "`1` and a NUL", b"1\0", WORD, (None, "1\0"))
_labelled(
    "byte_order_mark", "`1` after a byte order mark", b"\xef\xbb\xbf1", WORD, (None, "\ufeff1")
)
_labelled("full_width", "a full-width `\uff11`", "\uff11".encode(), WORD, (None, "\uff11"))
_labelled("underscore", "`1_0`", b"1_0", WORD, (None, "1_0"))
_labelled("hexadecimal", "`0x1`", b"0x1", WORD, (None, "0x1"))
_labelled("utf_16", "`1` in UTF-16", "1".encode("utf-16-le"), WORD, (None, "1\0"))
_labelled("not_utf_8", "bytes that are not text", b"\xff\xfe\xfa", WORD, (None, "\ufffd" * 3))
_labelled("json", '`{"class": 1}`', b'{"class": 1}', WORD, (None, '{"class": 1}'))
_labelled("book", "a million letters", b"x" * 1_000_000, WORD, (None, "x" * (1 << 16)))
