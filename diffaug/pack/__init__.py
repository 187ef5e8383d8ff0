"""Packing pictures into webdataset shards, from class folders, tables or idx files."""

from __future__ import annotations

from diffaug.pack.entry import Totals
from diffaug.pack.open import open_source, safe_name
from diffaug.pack.source import Listed, PictureSource
from diffaug.pack.write import Limits, Outcome, pack

__all__ = [
    "Limits",
    "Listed",
    "Outcome",
    "PictureSource",
    "Totals",
    "open_source",
    "pack",
    "safe_name",
]
