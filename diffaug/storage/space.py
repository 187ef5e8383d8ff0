"""How much room there is for an output."""

from __future__ import annotations

import shutil
from pathlib import Path

from diffaug.storage.find import filesystem, on_this_machine

__all__ = ["free_bytes"]


def free_bytes(url: str) -> int | None:
    """The bytes that this user may still write to a local folder, whether or not it exists yet.

    None on other stores, which do not report it, and where the disk cannot be asked.
    """
    fs, path = filesystem(url)
    if not on_this_machine(fs):
        return None
    folder = Path(path)
    there = next((one for one in (folder, *folder.parents) if one.exists()), None)
    try:
        return None if there is None else shutil.disk_usage(there).free
    except OSError:
        return None
