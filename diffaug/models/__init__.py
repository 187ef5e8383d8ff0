"""Checkpoints: found, checked, digested, and loaded behind the one Denoiser."""

from diffaug.models.card import Card, shipped_cards, write_card
from diffaug.models.checkpoint import Checkpoint, find_checkpoint
from diffaug.models.load import load_denoiser, read_denoiser

__all__ = [
    "Card",
    "Checkpoint",
    "find_checkpoint",
    "load_denoiser",
    "read_denoiser",
    "shipped_cards",
    "write_card",
]
