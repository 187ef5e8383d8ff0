"""Making a tokenizer of word pieces from texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["make_tokenizer"]

_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_LEAST = 2
"""How often a piece comes at least."""


def make_tokenizer(texts: Iterable[str], pieces: int, classes: int) -> Any:
    """A tokenizer of transformers, as BERT's: word pieces of small letters (Wu et al. 2016).

    Args:
        texts: what it is made from.
        pieces: how many it has at most.
        classes: for how many classes it has a sign, [CLASS0] and so on.
    """
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
    from tokenizers.models import WordPiece
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    special = [*_SPECIAL, *(f"[CLASS{number}]" for number in range(classes))]
    trainer = trainers.WordPieceTrainer(
        vocab_size=pieces, min_frequency=_LEAST, special_tokens=special, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", special.index("[CLS]")), ("[SEP]", special.index("[SEP]"))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        additional_special_tokens=special[len(_SPECIAL) :],
    )
