"""Putting changed tokens back into a text, which otherwise stays as it is written.

Letters between tokens belong to the text: spaces, line breaks, and what a tokenizer does not see.
A space comes or goes only beside a token that has changed, as the new one is written: with a space
before it if it begins a word, and without one if it goes on with one or closes a phrase.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from diffaug.models.pieces import Pieces, Tokens

__all__ = ["spliced"]

_CLOSING = frozenset(".,;:!?)]}%\u2026\u2019\u201d\u00bb")
_OPENING = frozenset("([{$#\u00ab\u201c\u2018")


def spliced(text: str, tokens: Tokens, ids: NDArray[np.int64], pieces: Pieces) -> str:
    """The text with other tokens in places.

    Args:
        text: as it was.
        tokens: as it was read.
        ids: (N,): what the tokens are now.
        pieces: of the tokenizer.
    """
    changed = tokens.ids != ids
    if not changed.any():
        return text
    parts: list[str] = []
    at, before_changed = 0, False
    for place, (begin, end) in enumerate(tokens.spans.tolist()):
        between, old = text[at:begin], text[at if begin < at else begin : end]
        new = old
        if changed[place]:
            new = _cased(pieces.text(int(ids[place])), old, place, tokens, pieces)
        if changed[place] or before_changed:
            last = parts[-1][-1:] if parts else ""
            begins = bool(pieces.begins[ids[place]])
            between = _between(between, last, new, begins, bool(changed[place]))
        parts += [part for part in (between, new) if part]
        at, before_changed = max(at, end), bool(changed[place])
    return "".join(parts) + text[at:]


def _between(between: str, last: str, new: str, begins: bool, is_new: bool) -> str:
    """What stands between two tokens, of which one has changed."""
    if between.strip() or not last or not new:
        return between  # letters that no token has, or the beginning of the text
    if is_new and (not begins or new in _CLOSING):
        return ""
    if between or not begins or last in _OPENING:
        return between
    return " " if _of_word(new[0]) and (_of_word(last) or last in _CLOSING) else ""


def _of_word(letter: str) -> bool:
    return letter.isalnum()


def _cased(new: str, old: str, place: int, tokens: Tokens, pieces: Pieces) -> str:
    """A new piece with the case of the old one, where the tokenizer knows none."""
    if not pieces.lowers or not pieces.begins[tokens.ids[place]]:
        return new
    if len(old) > 1 and old.isupper():
        return new.upper()
    return new[:1].upper() + new[1:] if old[:1].isupper() else new
