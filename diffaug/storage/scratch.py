"""A place for what is unfinished, and what killed processes left of such places."""

from __future__ import annotations

import contextlib
import fcntl
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from diffaug.storage.find import filesystem, on_this_machine

__all__ = ["leftovers", "scratch"]

_LOCK = ".lock"
"""What the process that works in a scratch folder holds locked for as long as it lives."""

_LEFTOVER = re.compile(r"\.diffaug-.+|\.(run\.json|shards\.txt)-[0-9a-f]{12}")


_TEMPORARY = "diffaug-scratch-"
"""Begins the names of the scratch folders of remote outputs, in the system's temporary folder."""

_YOUNG = 60
"""Seconds within which a folder may not have its lock yet."""


@contextmanager
def scratch(output: str) -> Iterator[Path]:
    """A local folder for unfinished files, removed in the end whatever happens.

    For a local output it lies in there, under a name that begins with a dot, so that publishing
    is a rename; what a killed process leaves of it is found by `leftovers`. For a remote one it
    lies in the system's temporary folder, and the next job there removes what is left of it.
    """
    fs, path = filesystem(output)
    if on_this_machine(fs):
        Path(path).mkdir(parents=True, exist_ok=True)
        folder = Path(path, f".diffaug-{uuid.uuid4().hex[:12]}")
        folder.mkdir()
    else:
        _sweep(Path(tempfile.gettempdir()))
        folder = Path(tempfile.mkdtemp(prefix=_TEMPORARY))
    try:
        with (folder / _LOCK).open("wb") as lock:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what killed jobs of this user left there, so that a disk does not fill with it."""
    for item in folder.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):  # of another user, or removed by another job
            if time.time() - item.stat().st_mtime > _YOUNG and not _held(item / _LOCK):
                shutil.rmtree(item)


def leftovers(output: str) -> dict[Path, bool]:
    """Unfinished files and folders at a local output's top, and whether a live process holds each.

    Nothing is ever left in an object store: there it is an empty dict.
    """
    fs, path = filesystem(output)
    if not on_this_machine(fs) or not Path(path).is_dir():
        return {}
    found = sorted(item for item in Path(path).iterdir() if _LEFTOVER.fullmatch(item.name))
    return {item: _held(item / _LOCK) for item in found if not item.is_symlink()}


def _held(lock: Path) -> bool:
    try:
        with lock.open("r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # locked, or not to be known: then it is let alone
        return True
    return False
