"""Folders of pictures as SOURCE: packed beside the output, and reported in a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from diffaug.cli.app import err
from diffaug.cli.progress import Counts, counted

if TYPE_CHECKING:
    from diffaug.pack.packing import Packed

__all__ = ["packed"]


def packed(
    output: str, *given: Sequence[str], max_pixels: int
) -> tuple[list[list[str]], list[Packed]]:
    """Lists of sources with shards instead of folders of pictures, and what was packed for them.

    Raises:
        ConfigError: see `pack_folders`.
    """
    from diffaug.pack.beside import pack_folders

    shards, folders = pack_folders(
        given,
        output,
        lambda outcomes, total, tally: counted(
            outcomes, total, "packing pictures", err, Counts(tally, "packed", "left_out")
        ),
        max_pixels=max_pixels,
    )
    for one in folders:
        facts = {"folder": one.folder, "shards": len(one.shards), "images": one.images}
        err.print(str(one), "packed", **facts, left_out=len(one.left_out), classes=one.classes)
    return shards, folders
