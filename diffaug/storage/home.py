"""Local paths as people write them."""

from __future__ import annotations

import os
import re
from pathlib import Path

__all__ = ["local_path"]

_FILE = re.compile(r"(?:file|local):(?://)?")
"""What may stand in front of a local path, as fsspec reads it."""


def local_path(text: str | os.PathLike[str]) -> Path:
    """The path: without a `file:` in front, and with a leading `~` or `~user` as a home folder.

    A shell replaces a `~` at the beginning of a word only: in neither `--output=~/x.png` nor a
    file of fields. The `~` of a user who does not exist stays.
    """
    path = os.fspath(text)
    if prefix := _FILE.match(path):
        path = path[prefix.end() :]
    return Path(os.path.expanduser(path))  # noqa: PTH111  pathlib's raises for an unknown user
