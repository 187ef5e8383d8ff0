"""Making a tokenizer from texts."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

__all__ = ["make_tokenizer"]

_SPECIAL = ("[PAD]", "[CLS]", "[SEP]", "[MASK]")
_LEAST = 2
"""How often a piece comes at least."""


def make_tokenizer(texts: Iterable[str], pieces: int, classes: int) -> Any:
    """A tokenizer of transformers: byte pairs of small letters (Sennrich et al. 2016, Radford et
    al. 2019). The same texts always give the same one.

    Args:
        texts: what it is made from.
        pieces: how many it has at most; at least the 256 bytes and its signs.
        classes: for how many classes it has a sign, [CLASS0] and so on.
    """
    from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(BPE())
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    special = [*_SPECIAL, *(f"[CLASS{number}]" for number in range(classes))]
    trainer = trainers.BpeTrainer(
        vocab_size=pieces,
        min_frequency=_LEAST,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.Sequence(
        [
            processors.ByteLevel(trim_offsets=True),
            processors.TemplateProcessing(
                single="[CLS] $A [SEP]",
                special_tokens=[(sign, special.index(sign)) for sign in ("[CLS]", "[SEP]")],
            ),
        ]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        additional_special_tokens=special[len(_SPECIAL) :],
    )
