"""A tokenizer's pieces: what they are in a text, where, and which of them may change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from diffaug.errors import ConfigError
from diffaug.models.pieces import Pieces
from tests.support.language_models import bert
from tests.support.pieces import byte_pieces, sentence_pieces, word_pieces
from tests.support.text_edits import language_model

WORDS = ("red", "film", "##s", "un", "##like", "##ly")
ALL = [word_pieces(WORDS), byte_pieces(), sentence_pieces(("\u2581red", "\u2581film"))]
IDS = ["words", "bytes", "sentences"]


def seen(pieces: Pieces, text: str) -> list[tuple[str, str, bool, bool]]:
    """(piece, what it stands for in the text, begins a word, may change) of each token."""
    tokens = pieces.tokens(text)
    may_change = pieces.may_change(tokens)
    return [
        (pieces.text(number), text[begin:end], bool(pieces.begins[number]), bool(may))
        for number, (begin, end), may in zip(
            tokens.ids.tolist(), tokens.spans.tolist(), may_change.tolist(), strict=True
        )
    ]


def test_word_pieces() -> None:
    assert seen(word_pieces(WORDS), "Red films, unlikely") == [
        ("red", "Red", True, True),
        ("film", "film", True, True),
        ("s", "s", False, True),
        (",", ",", True, True),
        ("un", "un", True, True),
        ("like", "like", False, True),
        ("ly", "ly", False, True),
    ]
    assert word_pieces(WORDS).lowers
    assert not word_pieces(WORDS, lowers=False).lowers


def test_bytes() -> None:
    assert seen(byte_pieces(), "What is the") == [
        ("What", "What", False, True),
        ("is", "is", True, True),
        ("the", "the", True, True),
    ]
    assert not byte_pieces().lowers


def test_sentence_pieces() -> None:
    found = seen(sentence_pieces(("\u2581red", "\u2581film")), "red films")
    assert found == [
        ("red", "red", True, True),
        ("film", "film", True, True),
        ("s", "s", False, True),
    ]


def test_signs_and_unknown_words_are_neither_hidden_nor_drawn() -> None:
    pieces = word_pieces(WORDS)
    assert np.flatnonzero(~pieces.drawn).tolist() == [0, 1, 2, 3, 4, 5]  # and one that is unused
    found = seen(pieces, "red [MASK] \u2603 [CLS] film")
    assert [text for _, text, _, may in found if may] == ["red", "film"]


def test_spaces_and_bytes_of_letters_are_not_drawn() -> None:
    pieces = byte_pieces(("a  b   c    d  é", "é  a    b"))
    texts = [pieces.text(number) for number in np.flatnonzero(pieces.drawn).tolist()]
    assert "é" in texts
    assert all(text.strip() == text and text.isprintable() for text in texts)
    spaces = pieces._tokenizer.token_to_id("\u0120\u0120")
    assert spaces is not None
    assert not pieces.drawn[spaces]
    assert [may for _, _, _, may in seen(pieces, "\U0001f600")] == [False] * 4
    few = sentence_pieces()
    assert [few.text(n) for n in np.flatnonzero(~few.drawn).tolist()] == [
        "<pad>",
        "<unk>",
        "",
        " ",
        "<0x41>",
    ]


@pytest.mark.parametrize("pieces", ALL, ids=IDS)
@settings(max_examples=100, deadline=None)
@given(text=st.text(max_size=40))
def test_what_may_change_has_letters_of_its_own(pieces: Pieces, text: str) -> None:
    tokens = pieces.tokens(text)
    may = pieces.may_change(tokens)
    of = np.zeros(len(text), dtype=int)
    for begin, end in tokens.spans:
        assert 0 <= begin <= end <= len(text)
        of[begin:end] += 1
    for (begin, end), number in zip(tokens.spans[may], tokens.ids[may], strict=True):
        assert begin < end
        assert (of[begin:end] == 1).all()
        assert not text[begin].isspace()
        assert pieces.drawn[number]


@pytest.mark.parametrize("word", ["red", "films", "unlikely", "it's", "well-made", "3.5"])
@pytest.mark.parametrize("pieces", ALL, ids=IDS)
def test_pieces_in_a_row_are_the_text(pieces: Pieces, word: str) -> None:
    found = seen(pieces, f"{word} {word}")
    assert all(piece == written for piece, written, _, may in found if may)
    assert "".join(piece for piece, *_ in found) == word + word


def test_a_tokenizer_that_cuts_and_fills_does_neither_here(tmp_path: Path) -> None:
    """As those of sentence transformers are stored."""
    folder = bert(tmp_path)
    file = str(folder / "tokenizer.json")
    tokenizer = Tokenizer.from_file(file)
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=12)
    tokenizer.save(file)
    model = language_model(folder)
    assert (model.before, model.behind) == ((2,), (3,))
    assert [text for _, text, _, _ in seen(model.pieces, "a a a a a a a a")] == ["a"] * 8
    assert seen(model.pieces, "") == []


def test_what_stands_around_a_text() -> None:
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "<s>": 1, "</s>": 2, "b": 3}, unk_token="b"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece()
    signs = [("<s>", 1), ("</s>", 2)]
    for single, around in (
        ("$A", ((), ())),
        ("<s> $A", ((1,), ())),
        ("$A </s>", ((), (2,))),
        ("<s> <s> $A </s> <s>", ((1, 1), (2, 1))),
    ):
        tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=signs
        )
        assert Pieces(tokenizer, [1, 2], "it").around() == around


def test_a_tokenizer_of_another_kind_is_refused() -> None:
    tokenizer = Tokenizer(models.BPE({"a": 0}, []))
    for decoder in (None, decoders.BPEDecoder()):
        if decoder is not None:
            tokenizer.decoder = decoder
        with pytest.raises(ConfigError, match="model it: its tokenizer is none of word pieces"):
            Pieces(tokenizer, [], "it")
