"""The names of files: which are refused, and when two of them name one file."""

from __future__ import annotations

import os
import re
from pathlib import Path

from fsspec.implementations.local import LocalFileSystem

from diffaug.errors import ConfigError
from diffaug.storage.chain import is_chain

__all__ = ["identity", "known_scheme", "lies_in", "refuse_nowhere", "refuse_root", "tidy"]

_S3 = re.compile(r"(?<![^:])s3[an]://")
"""Hadoop's names for S3, at the start of a link of a chain."""

_ONE_STORE = {"s3a": "s3", "s3n": "s3", "gcs": "gs", "az": "abfs", "abfss": "abfs", "ssh": "sftp"}
"""Schemes that open the same store as another."""

_LIKE_DISKS = ("sftp", "ftp", "smb", "hdfs", "webhdfs")
"""Stores that ignore a doubled slash; to an object store, `a//b` and `a/b` are two objects."""

_NEEDS_HOST = re.compile(
    r"(?:^|::)(?:s3[an]?|gs|gcs|az|abfss?|https?|ftp|sftp|ssh|smb)://\s*(?:/|$)"
)
_NO_PATH = re.compile(r"\s*|(?:file|local):(?://)?\s*")
_ROOT = re.compile(r"(?:(?:file|local):)?/[/.]*")


def refuse_nowhere(url: str, what: str = "a path or URL") -> None:
    """Check that a path or URL names a place.

    Args:
        url: a path, or a URL that fsspec knows.
        what: what the user calls it, such as OUTPUT.

    Raises:
        ConfigError: it is empty or blank, or a URL without its bucket or host.
    """
    if _NO_PATH.fullmatch(url):
        raise ConfigError(f"{what} is empty or blank: name a file or folder (is a variable unset?)")
    if _NEEDS_HOST.search(url):
        public = re.split(r"[?#]", url)[0]
        raise ConfigError(f"{what} {public} names no bucket or host: is a variable unset?")


def refuse_root(url: str, what: str = "OUTPUT") -> None:
    """Check that a folder to write to names a place, and is not the root of the disk.

    Raises:
        ConfigError: it does not, or it is: `"$FOLDER/"` is the root where FOLDER is unset.
    """
    refuse_nowhere(url, what)
    if _ROOT.fullmatch(url):
        raise ConfigError(f"{what} is the root of the disk: name a folder (is a variable unset?)")


def known_scheme(url: str) -> str:
    """The URL, with S3 named as fsspec names it."""
    return _S3.sub("s3://", url)


def tidy(url: str) -> str:
    """A URL as it is recorded: local paths absolute, without doubled slashes, `.` and `..`.

    Symbolic links keep their names, since a file's name and ending have a meaning: a cache may
    call `train.tar.gz` by its digest. Paths on other stores stay as they are.
    """
    if not _is_local(url):
        return known_scheme(url)
    path = LocalFileSystem._strip_protocol(url)
    if not path.startswith("/"):  # fsspec leaves the `~` of a user who does not exist
        path = f"{Path.cwd()}/{path}"
    up, dots, rest = f"{path}/".rpartition("/../")
    if dots:  # `..` leads up from where a link leads, so that part is resolved
        path = f"{os.path.realpath(f'{up}/..')}/{rest}"
    return os.path.normpath(f"/{path.lstrip('/')}")


def identity(url: str) -> str:
    """A URL that is the same for every spelling of one file.

    Symbolic links are resolved. A doubled slash is ignored where the store ignores it. The result
    can be opened, but a link's own name and ending may be lost: record `tidy(url)` instead.
    """
    if is_chain(url):
        chain, _, last = url.rpartition("::")
        return f"{known_scheme(chain)}::{identity(last)}"
    if _is_local(url):
        return os.path.realpath(tidy(url))
    scheme, _, path = url.partition("://")
    scheme = _ONE_STORE.get(scheme, scheme)
    if scheme in _LIKE_DISKS:
        path = re.sub(r"/(?:\.?/)+", "/", path)
    if scheme == "memory":
        path = f"/{path.lstrip('/')}"
    return f"{scheme}://{path}"


def lies_in(url: str, folder: str) -> bool:
    """Whether a file or folder lies in a folder or is that folder, however both are spelled."""
    return f"{identity(url)}/".startswith(f"{identity(folder).rstrip('/')}/")


def _is_local(url: str) -> bool:
    return not is_chain(url) and ("://" not in url or url.startswith(("file://", "local://")))
