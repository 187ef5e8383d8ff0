"""Scratch folders for unfinished files, and finding those that killed processes left behind."""

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
"""The file that a process keeps locked for as long as it works in a scratch folder."""

_LEFTOVER = re.compile(r"\.diffaug-.+|\.(run\.json|shards\.txt)-[0-9a-f]{12}")

_TEMPORARY = "diffaug-scratch-"
"""How the scratch folders of remote outputs are named, in the system's temporary folder."""

_YOUNG = 60
"""For so many seconds a new folder may still be without its lock."""


@contextmanager
def scratch(output: str) -> Iterator[Path]:
    """A local folder for unfinished files, removed at the end whatever happens.

    For a local output the folder lies inside it, under a name that begins with a dot, so that
    publishing is a rename; `leftovers` finds it again if the process is killed. For a remote
    output it lies in the system's temporary folder, and the next job on this machine sweeps up
    after killed ones.
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
            with contextlib.suppress(OSError):  # the file system has no locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        _remove(folder)


def _remove(folder: Path) -> None:
    try:
        shutil.rmtree(folder, ignore_errors=True)
    except BaseException:  # raised by a signal: nothing may be left half removed
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _sweep(folder: Path) -> None:
    """Remove what this user's killed jobs left there, so that it does not fill the disk."""
    for item in folder.glob(f"{_TEMPORARY}*"):
        with contextlib.suppress(OSError):  # another user's, or another job removed it first
            if time.time() - item.stat().st_mtime > _YOUNG and not _held(item / _LOCK):
                shutil.rmtree(item)


def leftovers(output: str) -> dict[Path, bool]:
    """Unfinished files and folders at a local output's top, and whether a live process holds each.

    Object stores never keep unfinished files, so for them the dict is empty.
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
    except OSError:  # locked, or unknown: leave it alone
        return True
    return False
