"""Masked language models of a few thousand random weights, as transformers saves them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, normalizers, pre_tokenizers, processors, trainers
from tokenizers.models import BPE, WordPiece
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForSequenceClassification,
    BertModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
)

__all__ = ["SENTENCES", "bert", "classifier", "encoder", "roberta"]

SENTENCES = (
    "What is the capital of Yugoslavia ?",
    "Who wrote the book about the small red house on the hill?",
    "A film that is neither funny nor sad, but long.",
    "The battery lasts all day; the camera is slow to charge.",
    "It's an honest, well-acted and quietly moving story (mostly).",
    "How many people live in the largest city of the world?",
    "Great screen, bad speakers, and the price isn't right!",
    "Where can one find a good restaurant near the river, please?",
)

_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "initializer_range": 0.6,
}


def bert(
    folder: Path,
    texts: Iterable[str] = SENTENCES,
    kind: Any = BertForMaskedLM,
    seed: int = 0,
    **config: Any,
) -> Path:
    """A BERT of word pieces that writes all letters small."""
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=180, special_tokens=special)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    torch.manual_seed(seed)
    asked = _SMALL | {"max_position_embeddings": 64} | config
    model = kind(BertConfig(vocab_size=len(fast), pad_token_id=0, **asked))
    return _saved(folder, fast, model)


def encoder(folder: Path, **config: Any) -> Path:
    """A BERT that embeds texts."""
    return bert(folder, kind=BertModel, seed=2, **config)


def classifier(folder: Path, classes: int = 3, **config: Any) -> Path:
    """A BERT that gives texts a class."""
    return bert(folder, kind=BertForSequenceClassification, seed=3, num_labels=classes, **config)


def roberta(folder: Path, texts: Sequence[str] = SENTENCES, **config: Any) -> Path:
    """A RoBERTa of bytes, whose positions are counted from its padding token on."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    trainer = trainers.BpeTrainer(
        vocab_size=420,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
    torch.manual_seed(1)
    asked = _SMALL | {"max_position_embeddings": 66} | config
    model = RobertaForMaskedLM(
        RobertaConfig(vocab_size=len(fast), pad_token_id=1, bos_token_id=0, eos_token_id=2, **asked)
    )
    return _saved(folder, fast, model)


def _saved(folder: Path, tokenizer: Any, model: Any) -> Path:
    tokenizer.save_pretrained(folder)
    model.save_pretrained(folder)
    return folder
