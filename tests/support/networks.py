"""Tiny random classifiers and CLIP models, saved as transformers saves them."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    ResNetConfig,
    ResNetForImageClassification,
    ViTConfig,
    ViTForImageClassification,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

TEXT = 16
"""How many tokens the tiny CLIP reads."""


def vit(folder: Path, seed: int = 0, **config: Any) -> Path:
    torch.manual_seed(seed)
    own: dict[str, Any] = {
        **{"image_size": 32, "patch_size": 8, "hidden_size": 32, "num_hidden_layers": 2},
        **{"num_attention_heads": 2, "intermediate_size": 64, "num_labels": 10},
        "initializer_range": 0.3,  # so that its answers differ
    }
    model: Any = ViTForImageClassification(ViTConfig(**own | config))
    model.save_pretrained(folder)
    processor: Any = ViTImageProcessorPil(size={"height": 32, "width": 32})
    processor.save_pretrained(folder)
    return folder


def resnet(folder: Path) -> Path:
    torch.manual_seed(1)
    own: dict[str, Any] = {"embedding_size": 16, "hidden_sizes": [16, 32], "depths": [1, 1]}
    own |= {"layer_type": "basic", "num_labels": 7}
    config = ResNetConfig(**own)
    model: Any = ResNetForImageClassification(config)
    model.save_pretrained(folder)
    processor: Any = ViTImageProcessorPil(size={"height": 48, "width": 48})
    processor.save_pretrained(folder)
    return folder


def clip(folder: Path) -> Path:
    torch.manual_seed(2)
    tokenizer: Any = CLIPTokenizer(vocab=_vocabulary(), merges=[], model_max_length=TEXT)
    shared: dict[str, Any] = {
        **{"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2},
        "intermediate_size": 64,
    }
    config = CLIPConfig(
        text_config={
            **shared,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": TEXT,
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={**shared, "image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    model: Any = CLIPModel(config)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    processor: Any = CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}
    )
    processor.save_pretrained(folder)
    return folder


def _vocabulary() -> dict[str, int]:
    """Letters, no word of more."""
    letters = [*string.ascii_lowercase, *(f"{letter}</w>" for letter in string.ascii_lowercase)]
    return {token: n for n, token in enumerate([*letters, "<|startoftext|>", "<|endoftext|>"])}
