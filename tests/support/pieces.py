"""Tokenizers of a few pieces that a test names, one of each kind that texts are edited by."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import numpy as np
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE, Unigram, WordPiece

from diffaug.models.pieces import Pieces
from diffaug.texts.splice import spliced
from tests.support.language_models import SENTENCES

__all__ = ["byte_pieces", "replaced", "sentence_pieces", "word_pieces"]

_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,;:!?()'\"-%$é北京海大学"


@cache
def word_pieces(words: tuple[str, ...] = (), lowers: bool = True) -> Pieces:
    """Word pieces as BERT has them: these words, and all letters."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused7]", *words]
    pieces += [*_LETTERS, *(f"##{letter}" for letter in _LETTERS if letter.isalnum())]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowers)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.add_special_tokens(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])
    return Pieces(tokenizer, range(5), "words")


@cache
def byte_pieces(texts: tuple[str, ...] = SENTENCES) -> Pieces:
    """Byte pairs as RoBERTa has them, of which the first five are signs."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return Pieces(tokenizer, range(5), "bytes")


@cache
def sentence_pieces(words: tuple[str, ...] = ()) -> Pieces:
    """Sentence pieces as XLM-RoBERTa has them."""
    pieces = ["<pad>", "<unk>", "\u2581", "\u2581\u2581", "<0x41>", *words]
    pieces += [*_LETTERS, *(f"\u2581{letter}" for letter in _LETTERS)]
    tokenizer = Tokenizer(Unigram([(piece, -len(pieces) / len(piece)) for piece in pieces], 1))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    return Pieces(tokenizer, range(2), "sentences")


def replaced(pieces: Pieces, text: str, places: Iterable[tuple[int, str]]) -> str:
    """A text with other pieces, given by how they are written, at these of its tokens."""
    tokens = pieces.tokens(text)
    ids = tokens.ids.copy()
    for place, piece in places:
        number = pieces._tokenizer.token_to_id(piece)
        assert number is not None, piece
        ids[place] = number
    assert pieces.may_change(tokens)[np.flatnonzero(ids != tokens.ids)].all()
    return spliced(text, tokens, ids, pieces)
