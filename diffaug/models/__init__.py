"""Checkpoints: finding, checking and digesting them, and loading them as a Denoiser."""

from diffaug.models.card import Card, known_cards, shipped_cards, write_card
from diffaug.models.checkpoint import Addons, Checkpoint, find_checkpoint
from diffaug.models.load import (
    at_revision,
    checkpoint_of,
    load_masked_model,
    load_model,
    placed,
    read_denoiser,
)
from diffaug.models.pretrained import Pretrained
from diffaug.models.suggestion import Suggestion, suggestion_for, with_suggestions

__all__ = [
    "Addons",
    "Card",
    "Checkpoint",
    "Pretrained",
    "Suggestion",
    "at_revision",
    "checkpoint_of",
    "find_checkpoint",
    "known_cards",
    "load_masked_model",
    "load_model",
    "placed",
    "read_denoiser",
    "shipped_cards",
    "suggestion_for",
    "with_suggestions",
    "write_card",
]
