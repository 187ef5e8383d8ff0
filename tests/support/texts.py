"""Shards of texts, and what a job leaves of them, read by nothing of diffaug."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from tests.support.hostile import write_files
from tests.support.jobs import augmented, output_bytes

__all__ = ["made_texts", "text_job", "write_texts"]

Texts = Mapping[str, str | bytes]


def write_texts(
    path: Path, texts: Texts, labels: Mapping[str, str] | None = None, extension: str = "txt"
) -> Path:
    """A shard of texts, each with its class if it has one."""
    files: list[tuple[str, bytes]] = []
    for key, text in texts.items():
        files.append((f"{key}.{extension}", text.encode() if isinstance(text, str) else text))
        if labels and key in labels:
            files.append((f"{key}.cls", labels[key].encode()))
    return write_files(path, files)


def text_job(sources: list[Path], output: Path, model: Path, **fields: Any) -> pd.DataFrame:
    """Run a whole job of texts with a batch of 4, and return its manifest."""
    asked = {"strength": 0.5, "steps": 6, "sampler": "random", "batch_size": 4, "dtype": "float32"}
    return augmented(sources, output, **(asked | {"model": str(model)} | fields))


def made_texts(output: Path, rows: pd.DataFrame) -> dict[tuple[str, int], str]:
    """The text of each (key, copy) that was made."""
    return {
        (str(row.source_key), int(str(row.copy))): output_bytes(output, row).decode()
        for row in rows[rows["status"] == "ok"].itertuples()
    }
