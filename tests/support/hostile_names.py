"""Hostile names, samples that are no samples, and pickles."""

from __future__ import annotations

import pickle
import tarfile
import unicodedata
from typing import Any

from tests.support.hostile import Files, encoded, png
from tests.support.hostile_case import Case, Group, between, files, header
from tests.support.hostile_pictures import GREY

NAME, TWICE = "unsafe_name", "duplicate_key"
WITNESS = "opened-by-a-pickle"
"""The file, in the current folder, that comes to be when one of the pickles is opened."""

NAMES = Group("names", "Names")
SHARDS = Group("shards", "Names of shards")
SAMPLES = Group("samples", "Samples", fields={"carry": ("pkl", "pyd", "pth", "txt")})


def _named(name: str, what: str, key: str, code: str | None = NAME) -> None:
    """An image of a hostile key: it is said as it is in a tar, long names and all."""
    outcome = (("a", None), (key, code), ("z", None))
    NAMES.add(Case(name, what, lambda: between(files([f"{key}.png"])), outcome))


def _called(name: str, file: str, what: str, stem: str) -> None:
    """A shard of a hostile name, in which all images are right."""
    outcome = (("a", None), ("b", None), ("z", None))
    what = f"{what}; its tar is `{stem}-….tar`"
    SHARDS.add(Case(name, what, lambda: between(files(["b.png"])), outcome, shard=(file, stem)))


_called("shard_spaces", "in  2026.tar", "`in  2026.tar`, with two spaces", "in__2026")
_called("shard_url", "a#b?c=d;e.tar", "`a#b?c=d;e.tar`, which looks like a URL", "a_b_c_d_e")
_called("shard_chain", "q::r.tar", "`q::r.tar`, which looks like a chain of URLs", "q__r")
_called("shard_scheme", "s3:x.tar", "`s3:x.tar`, which looks like a store", "s3_x")
_called("shard_braces", "{00..11}.tar", "`{00..11}.tar`, which looks like a range", "00..11_")
_called("shard_glob", "[a-z]*.tar", "`[a-z]*.tar`, which looks like a pattern", "a-z__")
_called("shard_percent", "100%25.tar", "`100%25.tar`, which URLs would decode", "100_25")
_called("shard_shell", "'\"$(id)`\\.tar", "quotes, a backslash and `$(…)`", "id___")
_called("shard_newline", "b\nb.tar", "a line break", "b_b")
_called("shard_unicode", "手袋-é.tar", "`手袋-é.tar`", "-_")
_called("shard_home", "~root.tar", "`~root.tar`, which looks like a home folder", "root")


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


@NAMES.between(("IMG_2", "no_image"))
def dots_in_the_key() -> Files:
    """`IMG_2.0.png` to `IMG_2.5.png`: to webdataset one sample of the key IMG_2"""
    return files([f"IMG_2.{number}.png" for number in range(6)])


@NAMES.between(("b", "no_image"))
def unknown_picture() -> Files:
    """`b.heic`, which Pillow does not read"""
    return files(["b.heic"])


@NAMES.between(("b", None), ("c", None), ("d", None))
def other_spellings() -> Files:
    """`b.dib`, `c.APNG` and `d.jpx`, other spellings of BMP, PNG and JPEG 2000"""
    data = [encoded(GREY, format) for format in ("BMP", "PNG", "JPEG2000")]
    return list(zip(("b.dib", "c.APNG", "d.jpx"), data, strict=True))


@SAMPLES.between()
def litter() -> Files:
    """Thumbs.db, classes.json and LICENSE.md: files beside the samples"""
    return [(name, b"...") for name in ("Thumbs.db", "classes.json", "LICENSE.md")]


@SAMPLES.between()
def litter_twice() -> Files:
    """Two desktop.ini of one name, apart, and one that climbs out"""
    return [(name, b"") for name in ("desktop.ini", "notes.html", "desktop.ini", "../../x.ini")]


@SAMPLES.between(("README", "no_image"))
def litter_that_is_carried() -> Files:
    """README.txt, where .txt is a member to carry"""
    return [("README.txt", b"...")]


@SAMPLES.between(("b", None), ("c", None), ("b", TWICE))
def text_apart() -> Files:
    """The text of a sample stands apart from its image, in a member that is not asked for"""
    return [("b.png", png(1)), ("c.png", png(1)), ("b.caption", b"...")]


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
