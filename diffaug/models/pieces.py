"""The pieces of a masked language model's tokenizer: what they are in a text, and where.

A text is edited piece by piece, and what is not changed stays as it is written, letter for letter.
So each piece must have a place in the text, and be something by itself. Pieces for which that is
not so are left alone: they are neither hidden nor drawn. These are what the tokenizer adds, what
stands for an unknown word, and the bytes of letters that it splits.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from diffaug.errors import ConfigError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = ["Pieces", "Tokens", "signs_around"]

_UNUSED = re.compile(r"\[unused\d+\]|madeupword\d+|<0x[0-9A-Fa-f]{2}>")
"""Pieces that hold a place in a vocabulary, and bytes."""


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """A text's tokens, without those that a model puts around them.

    Attributes:
        ids: (N,).
        spans: (N, 2): where each begins and ends in the text, in characters.
    """

    ids: NDArray[np.int64]
    spans: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ids)


class Pieces:
    """A tokenizer's pieces.

    Args:
        tokenizer: of the tokenizers library; nobody else's. It is told neither to cut texts nor to
            fill them up.
        special: pieces that the model uses as signs: for the mask, for padding, for a class.
        name: the model, as errors call it.

    Attributes:
        drawn: (V,): which pieces may come into a text, and be hidden in it.
        begins: (V,): which pieces begin a word; others are written without a space before them.
        lowers: whether it writes all letters small.

    Raises:
        ConfigError: the tokenizer is of a kind that is not known here.
    """

    def __init__(self, tokenizer: Tokenizer, special: Collection[int], name: str) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer, self._name = tokenizer, name
        described = json.loads(tokenizer.to_str())
        read = _reader(described, name)
        count = tokenizer.get_vocab_size(with_added_tokens=True)
        written = [read(tokenizer.id_to_token(one) or "") for one in range(count)]
        self.begins = np.array([begins for _, begins in written])
        self._texts = [text for text, _ in written]
        self.drawn = np.array([_is_letters(text) for text in self._texts])
        added = [token["id"] for token in described.get("added_tokens", []) if token["special"]]
        unused = [
            one for one in range(count) if _UNUSED.fullmatch(tokenizer.id_to_token(one) or "")
        ]
        self.drawn[[*special, *added, *unused]] = False
        self.lowers = tokenizer.normalizer is not None and (
            tokenizer.normalizer.normalize_str("A") == "a"
        )

    def __len__(self) -> int:
        return len(self._texts)

    def text(self, piece: int) -> str:
        """What a piece is in a text, without a space before it."""
        return self._texts[piece]

    def tokens(self, text: str) -> Tokens:
        """The tokens of a text."""
        found = self._tokenizer.encode(text, add_special_tokens=False)
        spans = [
            (end - len(text[begin:end].lstrip()), end) if begin < end else (begin, end)
            for begin, end in found.offsets
        ]
        return Tokens(
            np.array(found.ids, dtype=np.int64), np.array(spans, dtype=np.int64).reshape(-1, 2)
        )

    def written(self, ids: Sequence[int]) -> str:
        """The text that pieces make, as the tokenizer writes them."""
        return str(self._tokenizer.decode(ids)).strip()

    def may_change(self, tokens: Tokens) -> NDArray[np.bool_]:
        """Which tokens (N,) have letters of their own, and are pieces that may be drawn."""
        begins, ends = tokens.spans[:, 0], tokens.spans[:, 1]
        alone = ends > begins
        alone[1:] &= begins[1:] >= ends[:-1]
        alone[:-1] &= begins[1:] >= ends[:-1]
        may: NDArray[np.bool_] = alone & self.drawn[tokens.ids]
        return may

    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The pieces that stand before and behind every text; raises what `signs_around` does."""
        return signs_around(self._tokenizer, f"model {self._name}")


def signs_around(tokenizer: Tokenizer, where: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What a tokenizer puts before and behind every text.

    Raises:
        ConfigError: it writes a text otherwise between its signs than alone; the message begins
            with `where`.
    """
    inner = tokenizer.encode("a", add_special_tokens=False).ids
    outer = tokenizer.encode("a").ids
    for place in range(len(outer)):
        if outer[place : place + len(inner)] == inner:
            return tuple(outer[:place]), tuple(outer[place + len(inner) :])
    raise ConfigError(f"{where}: its tokenizer does not put its signs around a text, but into it")


def _reader(described: dict[str, object], name: str) -> Callable[[str], tuple[str, bool]]:
    """From a piece as the vocabulary has it to its text, and whether it begins a word."""
    for kind, sign in _decoders(described.get("decoder")):
        if kind == "WordPiece":
            return lambda piece: (piece.removeprefix(sign), not piece.startswith(sign))
        if kind == "ByteLevel":
            return _of_bytes
        if kind == "Metaspace":
            return lambda piece: _after_space(piece.replace(sign, " "))
    raise ConfigError(
        f"model {name}: its tokenizer is none of word pieces, bytes or sentence pieces, which are "
        "those that can be edited here"
    )


def _decoders(described: object) -> list[tuple[str, str]]:
    """(kind, sign) of a tokenizer's decoder, or of those that it is made of."""
    if not isinstance(described, dict):
        return []
    if described.get("type") == "Sequence":
        return [found for one in described["decoders"] for found in _decoders(one)]
    sign = described.get("prefix") or described.get("replacement") or ""
    return [(str(described.get("type")), str(sign))]


def _of_bytes(piece: str) -> tuple[str, bool]:
    """The text of a piece that writes bytes as letters; empty if the bytes are no text."""
    try:
        text = bytes(_bytes()[letter] for letter in piece).decode()
    except (KeyError, UnicodeDecodeError):
        return "", False
    return _after_space(text)


def _after_space(text: str) -> tuple[str, bool]:
    """The text of a piece that has its space before it, and whether there is one."""
    return text.removeprefix(" "), text.startswith(" ")


def _is_letters(text: str) -> bool:
    """Whether a piece writes something that can be seen, and no space around it."""
    return bool(text) and text.isprintable() and text == text.strip()


@cache
def _bytes() -> dict[str, int]:
    """Which byte each letter stands for (Radford et al. 2019): printable ones for themselves, the
    others for letters from 256 on."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return {chr(byte): byte for byte in shown} | {
        chr(256 + place): byte for place, byte in enumerate(hidden)
    }
