"""From tokens to a text again: what of a model's result is no text is refused."""

from __future__ import annotations

import unicodedata

import numpy as np
import pytest

from diffaug.errors import DefectError
from diffaug.texts import text as texts
from diffaug.texts.fit import TextFit
from diffaug.texts.text import Text
from tests.support.pieces import byte_pieces, word_pieces

WORDS = word_pieces(("red", "book", "end"))


def fitted(text: str, place: int, piece: str) -> Text:
    tokens = WORDS.tokens(text)
    ids = tokens.ids.copy()
    number = WORDS._tokenizer.token_to_id(piece)
    assert number is not None
    ids[place] = number
    return TextFit(Text(text, tokens), WORDS).from_model(ids)


def test_a_result_has_its_own_tokens() -> None:
    found = fitted("Red book", 1, "##s")
    assert found.text == "Reds"
    assert found.tokens is not None
    assert found.tokens.spans.tolist() == [[0, 3], [3, 4]]


@pytest.mark.parametrize("piece", ["[MASK]", "[PAD]"])
def test_a_token_that_cannot_be_drawn_is_a_defect_of_the_result(piece: str) -> None:
    with pytest.raises(
        DefectError, match="the model's result for this text is not finite"
    ) as found:
        fitted("red book", 1, piece)
    assert found.value.code == "non_finite"


def test_signs_that_the_text_had_are_none() -> None:
    assert fitted("red [MASK] book", 2, "end").text == "red [MASK] end"


def test_a_result_is_in_normal_form() -> None:
    pieces = byte_pieces()
    text = "x\u0301 e"  # which has no letter of its own, as é has
    tokens = pieces.tokens(text)
    ids = np.where(np.arange(len(tokens)) == 0, tokens.ids[-1], tokens.ids)
    ids[0] = pieces._tokenizer.token_to_id("e")
    found = TextFit(Text(text, tokens), pieces).from_model(ids).text
    assert found == unicodedata.normalize("NFC", "e\u0301 e") == "\u00e9 e"


def test_a_result_that_is_too_long_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "MOST_CHARACTERS", 8)
    assert len(fitted("red book", 1, "end").text) == 7
    with pytest.raises(DefectError, match="the text has 11 characters"):
        fitted("red red a", 2, "end")
