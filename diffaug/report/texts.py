"""Texts on a page: a result with what was changed in it marked."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from diffaug.texts.alignment import kept

__all__ = ["Piece", "Written", "marked", "written"]

_MOST = 1200
"""How many characters of a text a page shows."""

_ALONE = "\u3041-\u30ff\u3400-\u9fff\uf900-\ufaff"
"""Letters of scripts without spaces, each of which counts as a word."""

_WORD = re.compile(rf"[{_ALONE}]|(?:(?![{_ALONE}])\w)+|[^\w\s]")
_JOINERS = "\u200c\u200d"


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a text.

    Attributes:
        kind: `same` in source and result, `new` in the result, or `gone` from it.
        text: what it says.
    """

    kind: Literal["same", "new", "gone"]
    text: str


@dataclass(frozen=True, slots=True)
class Written:
    """A text in a page.

    Attributes:
        pieces: what is shown of it.
        more: how much more there is, in words; empty if all is shown.
        whole: the text.
        uri: empty: it is no picture.
        why: empty: it is there.
    """

    pieces: tuple[Piece, ...]
    more: str
    whole: str
    uri: str = ""
    why: str = ""

    @property
    def detail(self) -> str:
        """What a click shows of a source."""
        return "".join(piece.text for piece in self.pieces) + (self.more and f" \u2026 {self.more}")


def written(text: str, source: str | None = None) -> Written:
    """A text as a page shows it.

    Args:
        text: as it is.
        source: what it was made of; what differs is marked. None: there is none.
    """
    shown = text[:_MOST]
    pieces: list[Piece] = [Piece("same", shown)]
    if source is not None:
        # of both somewhat more than is shown, so that the end of one is not taken for a change
        pieces = list(_cut(marked(source[: 2 * _MOST], text[: 2 * _MOST]), _MOST))
    more = f"the first {_MOST:,} of {len(text):,} characters" if len(text) > _MOST else ""
    return Written(tuple(pieces), more, text)


def _cut(pieces: list[Piece], most: int) -> Iterator[Piece]:
    """The pieces of a result's first characters."""
    for piece in pieces:
        if most <= 0:
            return
        if piece.kind == "gone":
            yield piece
            continue
        yield Piece(piece.kind, piece.text[:most])
        most -= len(piece.text)


def marked(source: str, result: str) -> list[Piece]:
    """A result in pieces, between which stands what is gone of its source.

    The pieces that are not gone are the result, letter for letter. What differs is decided word by
    word, so other spaces between words are no difference.
    """
    before, after = _words(source), _words(result)
    same = kept(
        [source[begin:end] for begin, end in before], [result[begin:end] for begin, end in after]
    )
    pieces: list[Piece] = []
    at = a = c = 0  # in the result, and the next words of both
    for b, d in [*same, (len(before), len(after))]:
        if c < d:  # what stands between words belongs to neither
            pieces.append(Piece("same", result[at : after[c][0]]))
        if a < b:
            pieces.append(Piece("gone", _gone(source, before, a, b, replaced=c < d)))
        if c < d:
            pieces.append(Piece("new", result[after[c][0] : after[d - 1][1]]))
            at = after[d - 1][1]
        if d < len(after):
            pieces.append(Piece("same", result[at : after[d][1]]))
            at = after[d][1]
        a, c = b + 1, d + 1
    return list(_joined([*pieces, Piece("same", result[at:])]))


def _gone(source: str, words: list[tuple[int, int]], a: int, b: int, *, replaced: bool) -> str:
    """The words from a to b of a source; where none is in their place, with a space beside them."""
    begin, end = words[a][0], words[b - 1][1]
    if not replaced and a:
        begin = words[a - 1][1]
    elif not replaced and b < len(words):
        end = words[b][0]
    return source[begin:end]


def _joined(pieces: list[Piece]) -> Iterator[Piece]:
    """Without empty pieces, or two of what is the same after each other."""
    same = ""
    for piece in pieces:
        if piece.kind == "same":
            same += piece.text
            continue
        if same:
            yield Piece("same", same)
        same = ""
        yield piece
    if same:
        yield Piece("same", same)


def _words(text: str) -> list[tuple[int, int]]:
    """Where the words of a text are, and other signs; a word has the marks on its letters."""
    shadow = "".join("a" if _is_mark(letter) else letter for letter in text)
    return [found.span() for found in _WORD.finditer(shadow)]


def _is_mark(letter: str) -> bool:
    return letter in _JOINERS or unicodedata.category(letter).startswith("M")
