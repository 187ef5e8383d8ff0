"""Webdataset shards from what people have: class folders, tables, idx files."""

from __future__ import annotations

from diffaug.pack.entry import Tally
from diffaug.pack.open import open_source, safe_name
from diffaug.pack.source import Picture, Source
from diffaug.pack.write import Limits, Outcome, pack

__all__ = ["Limits", "Outcome", "Picture", "Source", "Tally", "open_source", "pack", "safe_name"]
