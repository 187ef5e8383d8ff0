"""Changed tokens put back into a text: what has not changed stays, letter for letter."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffaug.models.pieces import Pieces
from diffaug.texts.splice import spliced
from tests.support.pieces import byte_pieces, replaced, sentence_pieces, word_pieces

WORDS = ("the", "red", "book", "film", "was", "good", "##ing", "##s", "end", "so")
WORD = word_pieces(WORDS)
CASED = word_pieces(WORDS, lowers=False)
BYTE = byte_pieces(("the red book was good, so (the end) it's so.", "The red BOOK 3.5 the-end"))
SENTENCE = sentence_pieces(("\u2581red", "\u2581book"))
ALL = pytest.mark.parametrize(
    "pieces", [WORD, CASED, BYTE, SENTENCE], ids=["words", "cased", "bytes", "sentences"]
)

HOSTILE = st.text(
    st.one_of(
        st.characters(codec="utf-8"),
        st.sampled_from("abcTHE redbookfilm.,()'-3 \t\n\r\u00a0\u200d\u0301\u0323\ufeff\0é北京"),
        st.sampled_from(["\U0001f600", "\U0001f469", "\u05d0", "\u0628", "\u202e", "ﷺ", "İ", "ß"]),
    ),
    max_size=60,
)


@ALL
@given(text=HOSTILE)
@settings(max_examples=50, deadline=None)
def test_nothing_changed_is_the_text_itself(pieces: Pieces, text: str) -> None:
    tokens = pieces.tokens(text)
    assert spliced(text, tokens, tokens.ids.copy(), pieces) == text


@ALL
@given(text=HOSTILE, seed=st.integers(0, 1000), share=st.floats(0, 1))
@settings(max_examples=150, deadline=None)
def test_all_else_survives_in_order(pieces: Pieces, text: str, seed: int, share: float) -> None:
    """The result is the text between changed tokens, but for spaces beside those."""
    random = np.random.default_rng(seed)
    tokens = pieces.tokens(text)
    changed = pieces.may_change(tokens) & (random.random(len(tokens)) < share)
    ids = np.where(changed, random.choice(np.flatnonzero(pieces.drawn), len(tokens)), tokens.ids)
    changed = ids != tokens.ids
    result = spliced(text, tokens, ids, pieces)
    result.encode()
    pattern, at = "", 0
    for number, (begin, end) in zip(ids[changed].tolist(), tokens.spans[changed], strict=True):
        written = pieces.text(number)
        cases = {written, written.upper(), written[:1].upper() + written[1:]}
        new = "|".join(map(re.escape, cases if pieces.lowers else [written]))
        pattern += _kept(text[at:begin], after=at > 0) + f" *(?:{new})"
        at = end
    pattern += _kept(text[at:], after=at > 0, before=False)
    assert re.fullmatch(pattern, result, re.DOTALL), (text, result, pattern)


def _kept(text: str, after: bool, before: bool = True) -> str:
    """A pattern of a part that is kept, after and before a changed token."""
    found = text.strip(" ") if after and before else text.lstrip(" ") if after else text
    found = found if after or not before else text.rstrip(" ")
    return (" *" if after else "") + re.escape(found)


CASES = [
    # text, (place, piece), result
    ("the red book", [(1, "good")], "the good book"),
    ("The red book", [(0, "so")], "So red book"),
    ("the RED book", [(1, "good")], "the GOOD book"),
    ("the Red book", [(1, "good")], "the Good book"),
    ("so the red", [(1, "##ing")], "soing red"),
    ("so The red", [(1, "##ing")], "soing red"),
    ("so THE red", [(1, "##ing")], "soING red"),
    ("the films", [(2, "##ing")], "the filming"),
    ("the FILMS", [(2, "##ing")], "the FILMING"),
    ("the films", [(1, "book")], "the books"),
    ("the films", [(2, "red")], "the film red"),
    ("the red book", [(1, ",")], "the, book"),
    ("the red book", [(1, "(")], "the (book"),
    ("the red book", [(1, "("), (2, "end")], "the (end"),
    ("the ( red", [(2, "end")], "the ( end"),
    ("the (red) book", [(2, "good")], "the (good) book"),
    ("the (red) book", [(3, ".")], "the (red. book"),
    ("the (red) book", [(3, "end")], "the (red end book"),
    ("the (red) book", [(1, "so")], "the so red) book"),
    ("the red.", [(2, "end")], "the red end"),
    ("red,book", [(1, "so")], "red so book"),
    ("(the end.)", [(4, "so")], "(the end. so"),
    ("the 3.5 end", [(3, "7")], "the 3.7 end"),
    ("the 3.5 end", [(2, ",")], "the 3,5 end"),
    ("the U.S. end", [(3, "k")], "the U.K. end"),
    ("so-so", [(2, "red")], "so-red"),
    ("so-so", [(1, "good")], "so good so"),
    ("it's so", [(4, "red")], "it's red"),
    ("北京大学", [(1, "海")], "北海大学"),
    ("the red\nthe end", [(2, ",")], "the red\n, end"),
    ("the red\r\n\r\n The end", [(2, "so")], "the red\r\n\r\n So end"),
    ("the red\tbook", [(1, "good")], "the good\tbook"),
    ("the  red  book", [(1, "good")], "the  good  book"),
    ("  the red  ", [(0, "so"), (1, "good")], "  so good  "),
    ("the \U0001f600 red", [(2, "good")], "the \U0001f600 good"),
    ("so\U0001f600 red", [(1, "good")], "so\U0001f600 good"),
    ("the re\u0301d end", [(2, "so")], "the re\u0301d so"),
    ("red\u0323 end", [(0, "film")], "film\u0323 end"),
    ("\u05d0\u05d1 red \u202e the", [(1, "so"), (2, "so")], "\u05d0\u05d1 so \u202e so"),
]


@pytest.mark.parametrize(("text", "places", "result"), CASES)
def test_word_pieces(text: str, places: list[tuple[int, str]], result: str) -> None:
    assert replaced(WORD, text, places) == result


def test_case_is_the_tokenizers_own_where_it_knows_case() -> None:
    assert not CASED.may_change(CASED.tokens("The"))[0]  # which it does not know
    cased = word_pieces((*WORDS, "The", "RED"), lowers=False)
    assert replaced(cased, "The RED", [(0, "so"), (1, "good")]) == "so good"
    assert replaced(cased, "so good", [(0, "The"), (1, "RED")]) == "The RED"


@pytest.mark.parametrize(
    ("text", "places", "result"),
    [
        ("the red book", [(1, "\u0120good")], "the good book"),
        ("so red book", [(1, "s")], "sos book"),
        ("the red", [(0, "\u0120good")], "good red"),
        ("the red book", [(1, ".")], "the. book"),
        ("so (the end)", [(2, "\u0120good")], "so (good end)"),
        ("so, the", [(1, "\u0120good")], "so good the"),
        ("the\nred", [(0, "so")], "so\nred"),
        ("so \U0001f600 the", [(-1, "\u0120good")], "so \U0001f600 good"),
        ("so \U0001f600\u200d the", [(0, "the")], "the \U0001f600\u200d the"),
    ],
)
def test_bytes(text: str, places: list[tuple[int, str]], result: str) -> None:
    assert replaced(BYTE, text, places) == result


def test_sentence_pieces() -> None:
    assert replaced(SENTENCE, "red red", [(1, "\u2581book")]) == "red book"
    assert replaced(SENTENCE, "red book", [(1, "s")]) == "reds"
    assert replaced(SENTENCE, "reds", [(1, "\u2581book")]) == "red book"


def test_no_piece_goes_on_a_kept_word() -> None:
    for pieces, piece, wanted in ((WORD, "##ing", "the ing end"), (BYTE, "s", "the s end")):
        text = "the red end"
        tokens = pieces.tokens(text)
        ids, kept = tokens.ids.copy(), np.array([True, False, False])
        number = pieces._tokenizer.token_to_id(piece)
        assert number is not None
        ids[1] = number
        assert spliced(text, tokens, ids, pieces, kept) == wanted
        assert spliced(text, tokens, ids, pieces) == wanted.replace("the ", "the")
