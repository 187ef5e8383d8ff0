"""Folders of pictures as a flow's source: packed by the worker that plans, and logged."""

from __future__ import annotations

from prefect import get_run_logger

from diffaug.pack.beside import pack_folders
from diffaug.pack.packing import Packed
from flows.paths import listed

__all__ = ["packed"]


def packed(
    output: str, *given: str | list[str] | None, max_pixels: int
) -> tuple[list[list[str]], list[Packed]]:
    """Lists of sources with shards instead of folders of pictures, and what was packed for them.

    Raises:
        ConfigError: see `pack_folders`.
    """
    shards, folders = pack_folders(list(map(listed, given)), output, max_pixels=max_pixels)
    for one in folders:
        get_run_logger().info("%s", one)
    return shards, folders
