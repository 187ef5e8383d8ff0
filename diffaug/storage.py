"""Files on any fsspec URL: find them, read them, and publish them whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import fsspec
from braceexpand import braceexpand

from diffaug.errors import ConfigError

__all__ = [
    "create",
    "exists",
    "expand",
    "is_local",
    "join",
    "leftovers",
    "listing",
    "open_read",
    "public_url",
    "publish",
    "read_bytes",
    "remove",
    "replace",
    "scratch",
    "sha256",
]


_SECRETS = re.compile(r"(?<=://)[^/]*@|[?#].*?(?=::|$)")
"""User and password before a host, and a query or fragment behind a path."""

_LOCK = ".lock"
"""What the process that works in a scratch folder holds locked for as long as it lives."""

_LEFTOVER = re.compile(r"\.diffaug-.+|\.(run\.json|shards\.txt)-[0-9a-f]{12}")


def expand(patterns: list[str]) -> list[str]:
    """Turn files, globs, brace ranges and lists into URLs: in the order given, each once.

    Local paths come back absolute, globs sorted.

    Raises:
        ConfigError: a pattern matches nothing, is malformed, or is a `pipe:`.
    """
    urls: list[str] = []
    for pattern in patterns:
        if pattern.startswith("pipe:"):
            raise ConfigError(f"{pattern}: pipe: sources run a shell and are never opened")
        try:
            alternatives = list(braceexpand(pattern))
        except ValueError:
            raise ConfigError(f"{pattern}: its braces do not match") from None
        for url in alternatives:
            urls += _matches(url)
    return list(dict.fromkeys(urls))


def _matches(url: str) -> list[str]:
    fs, path = _fs(url)
    try:
        if any(char in path for char in "*?[") and not fs.exists(path):
            if "::" in url:
                raise ConfigError(f"{public_url(url)}: in a chain of URLs, name each shard")
            found = sorted(fs.glob(path))
            if not found:
                raise ConfigError(f"no shard matches {public_url(url)}: check the path")
        elif fs.isdir(path):
            raise ConfigError(f"{public_url(url)} is a folder: name its shards, {url}/*.tar")
        elif not fs.exists(path):
            raise ConfigError(f"no such shard: {public_url(url)}")
        else:
            return [path if _is_local(fs) and "::" not in url else url]
    except OSError as error:
        raise ConfigError(f"cannot look for {public_url(url)}: {error}") from error
    return [str(name) if _is_local(fs) else fs.unstrip_protocol(name) for name in found]


def join(folder: str, *parts: str) -> str:
    """A path below a folder URL."""
    return "/".join([folder.rstrip("/"), *parts])


def public_url(url: str) -> str:
    """The URL, or chain of URLs, as it may be recorded: without user, password or query."""
    if "://" not in url:
        return url
    return _SECRETS.sub("", url)


@contextmanager
def open_read(url: str) -> Iterator[IO[bytes]]:
    """Open a file for reading from start to end, decompressed when its name ends in .gz."""
    zipped = url.endswith((".gz", ".tgz"))
    with fsspec.open(url, "rb", compression="gzip" if zipped else None) as stream:
        yield stream


def sha256(url: str) -> str:
    """Digest of a file's bytes as they are stored, in hex."""
    total = hashlib.sha256()
    with fsspec.open(url, "rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()


def read_bytes(url: str) -> bytes:
    """The whole of a small file."""
    fs, path = _fs(url)
    data: bytes = fs.cat_file(path)
    return data


def exists(url: str) -> bool:
    """Whether there is a file at `url` now."""
    fs, path = _fs(url)
    fs.invalidate_cache()
    return bool(fs.exists(path))


def listing(folder: str, suffix: str) -> list[str]:
    """The names in a folder that end in `suffix` and do not begin with a dot, sorted."""
    fs, path = _fs(folder)
    fs.invalidate_cache()
    if not fs.isdir(path):
        return []
    names = (str(name).rpartition("/")[2] for name in fs.ls(path, detail=False))
    return sorted(name for name in names if name.endswith(suffix) and not name.startswith("."))


@contextmanager
def scratch(output: str) -> Iterator[Path]:
    """A local folder for unfinished files, removed in the end whatever happens.

    For a local output it lies in there, under a name that begins with a dot, so that publishing
    is a rename. What a killed process leaves of it is found by `leftovers`.
    """
    fs, path = _fs(output)
    if _is_local(fs):
        Path(path).mkdir(parents=True, exist_ok=True)
        folder = Path(path, f".diffaug-{uuid.uuid4().hex[:12]}")
        folder.mkdir()
    else:
        folder = Path(tempfile.mkdtemp(prefix="diffaug-"))
    try:
        with (folder / _LOCK).open("wb") as lock:
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def leftovers(output: str) -> dict[Path, bool]:
    """Unfinished files and folders at a local output's top, and whether a live process holds each.

    Nothing is ever left in an object store: there it is an empty dict.
    """
    fs, path = _fs(output)
    if not _is_local(fs) or not Path(path).is_dir():
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


def publish(local: Path, url: str) -> None:
    """Move a finished local file to a URL whose name holds its digest.

    A file already there holds the same bytes, by its name, and is replaced or kept alike.
    """
    fs, path = _fs(url)
    if _is_local(fs):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _flush(local)
        local.replace(path)
    else:
        fs.put_file(str(local), path)
        local.unlink()


def create(local: Path, url: str) -> bool:
    """Move a finished local file to `url` unless something is there; say whether it was moved.

    Local files and stores with an exclusive-create mode decide this atomically; on any other
    store it is a check followed by a write.
    """
    fs, path = _fs(url)
    if _is_local(fs):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        _flush(local)
        try:
            os.link(local, path)
        except FileExistsError:
            return False
        local.unlink()
        return True
    data = local.read_bytes()
    try:
        if not _create_exclusively(fs, path, data):
            if exists(url):
                return False
            fs.pipe_file(path, data)
    except FileExistsError:
        return False
    local.unlink()
    return True


def _create_exclusively(fs: Any, path: str, data: bytes) -> bool:
    """Write with mode xb; False where the store has no such mode."""
    with contextlib.suppress(NotImplementedError, ValueError):
        with fs.open(path, "xb") as stream:
            stream.write(data)
        return True
    return False


def replace(data: bytes, url: str) -> None:
    """Put `data` at `url`, atomically, whatever was there."""
    fs, path = _fs(url)
    if not _is_local(fs):
        fs.pipe_file(path, data)
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
    """Remove a file, if it is there."""
    fs, path = _fs(url)
    with contextlib.suppress(FileNotFoundError):
        fs.rm_file(path)


def _flush(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _fs(url: str) -> tuple[Any, str]:
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise ConfigError(f"{public_url(url)}: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{public_url(url)} is no URL diffaug can open: {error}") from None
    return fs, path


def is_local(url: str) -> bool:
    """Whether a URL is of this machine's file system."""
    return _is_local(_fs(url)[0])


def _is_local(fs: Any) -> bool:
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)
