"""Checkpoints: found, checked, digested, and loaded behind the one Denoiser."""

from diffaug.models.card import Card, shipped_cards
from diffaug.models.checkpoint import Checkpoint, find_checkpoint
from diffaug.models.load import load_denoiser

__all__ = ["Card", "Checkpoint", "find_checkpoint", "load_denoiser", "shipped_cards"]
