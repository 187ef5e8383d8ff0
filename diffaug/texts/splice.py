"""Putting changed tokens back into a text, which otherwise stays as it is written.

Letters between tokens belong to the text: spaces, line breaks, and what a tokenizer does not see.
A space comes or goes only beside a token that has changed, as the new one is written: with a space
before it if it begins a word, and without one if it goes on with one or closes a phrase. Where two
words or signs of the same kinds stood without a space (3.5, U.S., Chinese), none comes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffaug.models.pieces import Pieces, Tokens

__all__ = ["spliced"]

_CLOSING = frozenset(".,;:!?)]}%\u2026\u2019\u201d\u00bb")
_OPENING = frozenset("([{$#\u00ab\u201c\u2018")


def spliced(
    text: str,
    tokens: Tokens,
    ids: NDArray[np.int64],
    pieces: Pieces,
    kept: NDArray[np.bool_] | None = None,
) -> str:
    """The text with other tokens in places.

    Args:
        text: as it was.
        tokens: as it was read.
        ids: (N,): what the tokens are now.
        pieces: of the tokenizer.
        kept: (N,): which tokens are of words to which no other may be joined; by default none.
    """
    changed = tokens.ids != ids
    if not changed.any():
        return text
    parts: list[str] = []
    at, before_changed = 0, False
    for place, (begin, end) in enumerate(tokens.spans.tolist()):
        between, old = text[at:begin], text[at if begin < at else begin : end]
        new = old
        was, now = int(tokens.ids[place]), int(ids[place])
        if changed[place]:
            new = pieces.text(now)
            if pieces.lowers:
                both_begin = bool(pieces.begins[was] & pieces.begins[now])
                new = _cased(new, old, text[begin - 1 : begin], both_begin)
        if changed[place] or before_changed:
            last = parts[-1][-1:] if parts else ""
            begins = bool(pieces.begins[now]) or (
                kept is not None and place > 0 and bool(kept[place - 1] & pieces.begins[was])
            )
            kinds = (_kind(last), _kind(new[:1]))
            between = _between(
                between,
                last,
                new,
                begins=begins,
                is_new=bool(changed[place]),
                after_new=before_changed,
                alike=bool(pieces.begins[was])
                and (_kind(text[at - 1 : at]), _kind(old[:1])) == kinds,
            )
        parts += [part for part in (between, new) if part]
        at, before_changed = max(at, end), bool(changed[place])
    return "".join(parts) + text[at:]


def _between(
    between: str, last: str, new: str, *, begins: bool, is_new: bool, after_new: bool, alike: bool
) -> str:
    """What stands between two tokens, of which one has changed.

    Args:
        between: what stood there.
        last: the letter before it.
        new: the token behind it.
        begins: whether that begins a word.
        is_new: whether it has changed.
        after_new: whether the token before it has changed.
        alike: whether two of the same kinds stood there.
    """
    if between.strip(" ") or not last or not new:
        return between  # a line break, letters that no token has, or the beginning of the text
    if (is_new and (not begins or new in _CLOSING)) or (after_new and last in _OPENING):
        return ""
    if between or not begins or alike or last in _OPENING:
        return between
    return " " if _kind(new[0]) == "word" and _kind(last) in ("word", "closing") else ""


def _kind(letter: str) -> str:
    """Of a word, closing a phrase, or another."""
    if letter.isalnum():
        return "word"
    return "closing" if letter and letter in _CLOSING else "other"


def _cased(new: str, old: str, before: str, both_begin: bool) -> str:
    """A new piece, written small, with the case of the old one.

    Args:
        new: the piece.
        old: as the text had it.
        before: the letter before that.
        both_begin: whether both begin a word.
    """
    if old.isupper() and (len(old) > 1 or before.isupper()):
        return new.upper()
    return new[:1].upper() + new[1:] if both_begin and old[:1].isupper() else new
