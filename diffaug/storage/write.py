"""Writing files: each appears whole under its name, or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffaug.errors import os_error_number
from diffaug.storage.find import exists, filesystem, on_this_machine
from diffaug.storage.retry import patiently

__all__ = ["create", "publish", "remove", "replace", "writing"]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Let a library's failure to write a local file be the error that the system reported.

    safetensors and torch raise errors of their own on a full disk, and numpy gives no reason.

    Args:
        path: the file or folder that the library writes.

    Raises:
        OSError: the system refused to write; the error names the path.
    """
    try:
        yield
    except Exception as error:
        number = os_error_number(error)
        if number is not None:
            raise OSError(number, os.strerror(number), str(path)) from error
        if isinstance(error, OSError):
            raise OSError(f"{path}: {error}: is the disk full?") from error
        raise


def publish(local: Path, url: str) -> None:
    """Move a finished local file to a URL whose name holds its digest.

    A file that is already there has the same name and so the same bytes: replacing it changes
    nothing.
    """
    fs, path = filesystem(url)
    if on_this_machine(fs):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _flush(local)
        local.replace(path)
        _flush(Path(path).parent)
    else:
        patiently(fs.put_file, str(local), path)
        local.unlink()


def create(local: Path, url: str) -> bool:
    """Move a finished local file to `url` unless something is there; return whether it was moved.

    Local file systems, and stores with conditional writes (S3's If-None-Match, GCS's generation),
    decide this atomically. On any other store it is a check followed by a write.
    """
    fs, path = filesystem(url)
    if on_this_machine(fs):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _flush(local)
        try:
            os.link(local, path)
        except FileExistsError:
            return False
        _flush(Path(path).parent)
    elif exists(url) or not _created(fs, local, path, url):
        return False
    local.unlink()
    return True


def _created(fs: Any, local: Path, path: str, url: str) -> bool:
    try:
        patiently(fs.put_file, str(local), path, mode="create")
    except (NotImplementedError, TypeError):
        patiently(fs.put_file, str(local), path)
    except OSError as error:
        if exists(url):  # another writer was faster, or this one wrote it and lost the answer
            return False
        if error.errno != errno.ENOSYS:
            raise
        patiently(fs.put_file, str(local), path)
    return True


def replace(data: bytes, url: str) -> None:
    """Put `data` at `url` atomically, whatever was there before."""
    fs, path = filesystem(url)
    if not on_this_machine(fs):
        patiently(fs.pipe_file, path, data)
        return
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(path).with_name(f".{Path(path).name}-{uuid.uuid4().hex[:12]}")
    try:
        temporary.write_bytes(data)
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove(url: str) -> None:
    """Remove a file if it exists."""
    fs, path = filesystem(url)
    with contextlib.suppress(FileNotFoundError):
        if on_this_machine(fs):
            fs.rm_file(path)
        else:
            patiently(fs.rm_file, path)


def _flush(path: Path) -> None:
    """Flush a file, or the entries of a folder, to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
