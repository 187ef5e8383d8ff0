"""Hostile names, samples that are no samples, and pickles."""

from __future__ import annotations

import pickle
import tarfile
import unicodedata
from typing import Any

from tests.support.hostile import Files, png
from tests.support.hostile_case import Case, Group, between, files, header

NAME, TWICE = "unsafe_name", "duplicate_key"
WITNESS = "opened-by-a-pickle"
"""The file, in the current folder, that comes to be when one of the pickles is opened."""

NAMES = Group("names", "Names")
SAMPLES = Group("samples", "Samples", fields={"carry": ("pkl", "pyd", "pth", "txt")})


def _named(name: str, what: str, key: str, code: str | None = NAME) -> None:
    """An image of a hostile key: it is said as it is in a tar, long names and all."""
    outcome = (("a", None), (key, code), ("z", None))
    NAMES.add(Case(name, what, lambda: between(files([f"{key}.png"])), outcome))


_named("climbs_out", "`../../b.png`", "../../b")
_named("climbs_within", "`in/../b.png`", "in/../b")
_named("absolute", "`/etc/b.png`", "/etc/b")
_named("backslashes", "`..\\..\\in/b.png`, which climbs on Windows", "..\\..\\in/b")
_named("two_dots_inside", "`a..b/fine.png`, which climbs nowhere", "a..b/fine", None)
_named("newline", "a line break in the name", "b\nb")
_named("escape", "a terminal's escape sequence in the name", "b\x1b[2J")
_named("right_to_left", "a right-to-left mark in the name", "b\u202egnp", None)
_named("unicode", "`手袋/é-ß-🙂.png`", "手袋/é-ß-🙂", None)
_named("quotes", "spaces, quotes, `$(…)` and a star in the name", "b '\"$(id)*", None)
_named("emoji_code", "`b:smile:c.png`, an emoji code of terminals", "b:smile:c", None)
_named("markup", "markup of HTML, Markdown and terminals", "[b]<b>&amp;*_`|[x](y)", None)
_named("key_of_255", "a key of 255 bytes", "b" * 255, None)
_named("key_of_4000", "a key of 4,000 bytes", "deep/" * 799 + "bbbbb", None)


@NAMES.between(("b" * 4096, NAME))
def key_of_100000() -> Files:
    """A key of 100,000 bytes"""
    return files(["b" * 100_000 + ".png"])


@NAMES.between(("b\0", NAME))
def nul() -> bytes:
    """A NUL in the name, from a PAX record"""
    return header("b.png", png(1), pax_headers={"path": "b\0.png"})


@NAMES.between(("?t?", NAME))
def latin_1() -> bytes:
    """A name that is not UTF-8"""
    info = tarfile.TarInfo("été.png")
    info.size = len(png(1))
    return info.tobuf(tarfile.GNU_FORMAT, "latin-1") + header("", png(1))[512:]


@NAMES.between(("b", None), ("B", None))
def only_case_differs() -> Files:
    """Two keys that differ only in case"""
    return files(["b.png", "B.png"])


@NAMES.between(*((unicodedata.normalize(form, "é"), None) for form in ("NFC", "NFD")))
def only_normal_form_differs() -> Files:
    """Two keys that differ only in their Unicode normal form"""
    return files([unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD")])


@NAMES.between()
def no_key() -> Files:
    """`.png` and `._mac.png`: hidden files, skipped as webdataset does"""
    return files([".png", "in/._mac.png"])


@NAMES.between(("b", None))
def upper_case() -> Files:
    """`b.PNG`"""
    return files(["b.PNG"])


@NAMES.between(("b", "no_image"))
def two_extensions() -> Files:
    """`b.tar.png`: to webdataset the extension is tar.png"""
    return files(["b.tar.png"])


@SAMPLES.between(("b", "no_image"))
def no_image() -> Files:
    """A label without an image"""
    return [("b.cls", b"1"), ("b.txt", b"trouser")]


@SAMPLES.between(("b", None))
def label_first() -> Files:
    """The label comes before its image"""
    return [("b.cls", b"1"), ("b.png", png(1))]


@SAMPLES.between(("b", None), ("c", None), ("b", TWICE), ("c", TWICE))
def interleaved() -> Files:
    """Two samples interleaved: both images, then both labels"""
    return [("b.png", png(1)), ("c.png", png(1)), ("b.cls", b"1"), ("c.cls", b"1")]


@SAMPLES.between(("b", None), ("b", TWICE))
def key_twice_together() -> Files:
    """The same key twice, side by side"""
    return [("b.png", png(1)), ("b.png", png(3))]


@SAMPLES.between(("b", None), ("c", None), ("b", TWICE))
def key_twice_apart() -> Files:
    """The same key twice, apart"""
    return [("b.png", png(1)), ("c.png", png(1)), ("b.png", png(3))]


@SAMPLES.between(("b", None))
def two_images() -> Files:
    """Two images in one sample: the first in the order of image_key is used"""
    return [("b.jpg", b"not looked at"), ("b.png", png(1))]


class _Bomb:
    """Unpickled, it leaves a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (WITNESS, "w")


PICKLE = pickle.dumps(_Bomb())


@SAMPLES.between(("b", None))
def pickles() -> Files:
    """Pickles next to an image, carried along: not opened"""
    return [("b.png", png(1)), *((f"b.{kind}", PICKLE) for kind in ("pkl", "pyd", "pth"))]


@SAMPLES.between(("b", "unreadable_image"))
def pickle_as_image() -> Files:
    """A pickle named .png"""
    return [("b.png", PICKLE)]
