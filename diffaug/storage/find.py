"""Finding files: patterns expand to URLs, folders to the names in them."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import fsspec
from braceexpand import braceexpand

from diffaug.errors import ConfigError, require_extra
from diffaug.storage.retry import patiently

__all__ = [
    "Stat",
    "exists",
    "expand",
    "filesystem",
    "forget_listings",
    "is_local",
    "join",
    "listing",
    "on_this_machine",
    "public_url",
    "stats",
]

_SECRETS = re.compile(r"(?<=://)[^/]*@|[?#].*?(?=::|$)")
"""User and password in front of a host; the query or fragment after a path."""

_EXTRAS = (("s3://", "s3", "s3fs"), ("http://", "http", "aiohttp"), ("https://", "http", "aiohttp"))
"""What URLs begin with, and the extra and module that open them."""

_WORTH_LISTING = 8
"""From this many files in one remote folder on, one listing replaces a request for each file."""


@dataclass(frozen=True, slots=True)
class Stat:
    """What a store reports about a file without reading it.

    Attributes:
        size: in bytes; None where the store does not report it.
        modified: when it was last written; None where the store does not report it.
    """

    size: int | None
    modified: datetime | None


def expand(patterns: str | list[str]) -> list[str]:
    """Turn files, globs, brace ranges and lists into URLs, in the order given and each once.

    Local paths come back absolute, and a glob's matches sorted.

    Raises:
        ConfigError: a pattern matches nothing, is malformed, or is a `pipe:` source.
    """
    urls: list[str] = []
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        if pattern.startswith("pipe:"):
            raise ConfigError(f"{pattern}: pipe: sources run a shell and are never opened")
        try:
            alternatives = list(braceexpand(pattern))
        except ValueError:
            raise ConfigError(f"{pattern}: its braces do not match") from None
        present = _present(alternatives)
        for url in alternatives:
            urls += [url] if url in present else _matches(url)
    return list(dict.fromkeys(urls))


def _present(urls: list[str]) -> set[str]:
    """Those remote URLs that a listing of their folders contains; only for several URLs."""
    try:
        return set(stats(url for url in urls if _is_plain_remote(url))) if len(urls) > 1 else set()
    except OSError:
        return set()  # each is then looked up by itself, and reports what is wrong


def _matches(url: str) -> list[str]:
    fs, path = filesystem(url)
    try:
        kind = _kind(fs, path)
        if kind is None and any(char in path for char in "*?["):
            if "::" in url:
                raise ConfigError(f"{public_url(url)}: in a chain of URLs, name each shard")
            found = sorted(patiently(fs.glob, path))
            if not found:
                raise ConfigError(f"no shard matches {public_url(url)}: check the path")
        elif kind == "directory":
            raise ConfigError(f"{public_url(url)} is a folder: name its shards, {url}/*.tar")
        elif kind is None:
            raise ConfigError(f"no such shard: {public_url(url)}")
        else:
            return [path if on_this_machine(fs) and "::" not in url else url]
    except OSError as error:
        raise ConfigError(f"cannot look for {public_url(url)}: {error}") from error
    return [str(name) if on_this_machine(fs) else fs.unstrip_protocol(name) for name in found]


def _kind(fs: Any, path: str) -> str | None:
    """`file` or `directory`; None if nothing is there."""
    try:
        return str(patiently(fs.info, path)["type"])
    except (FileNotFoundError, NotADirectoryError):
        return None


def join(folder: str, *parts: str) -> str:
    """A path below a folder URL."""
    return "/".join([folder.rstrip("/"), *parts])


def public_url(url: str) -> str:
    """The URL, or chain of URLs, without user, password or query, so that it may be recorded."""
    if "://" not in url:
        return url
    return _SECRETS.sub("", url)


def exists(url: str) -> bool:
    """Whether there is a file at `url` now."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    return _kind(fs, path) is not None


def listing(folder: str, suffix: str) -> list[str]:
    """The sorted names in a folder that end in `suffix` and do not begin with a dot."""
    names = (name for name in _entries(folder) if not name.startswith("."))
    return sorted(name for name in names if name.endswith(suffix))


def forget_listings(url: str) -> None:
    """Drop what fsspec has cached of a store's contents, which may have changed since."""
    filesystem(url)[0].invalidate_cache()


def stats(urls: Iterable[str]) -> dict[str, Stat]:
    """What stores report about these files; a remote folder with many of them is listed once.

    Files that are gone are left out. So are those of stores that cannot list (http), where each
    file would cost a request.
    """
    urls = list(urls)
    folders = Counter(_folder(url) for url in urls if _is_plain_remote(url))
    listed = {
        join(folder, name): _stat(info)
        for folder, count in folders.items()
        if count >= _WORTH_LISTING
        for name, info in _entries(folder).items()
    }
    found = {}
    for url in urls:
        if url in listed:
            found[url] = listed[url]
        elif folders[_folder(url)] < _WORTH_LISTING and "::" not in url and not _is_http(url):
            fs, path = filesystem(url)
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                found[url] = _stat(patiently(fs.info, path))
    return found


def _stat(info: dict[str, Any]) -> Stat:
    stamps = (info.get(name) for name in ("LastModified", "updated", "last_modified", "created"))
    when = info["mtime"] if "mtime" in info else next(filter(None, stamps), None)
    if isinstance(when, str):
        when = datetime.fromisoformat(when)
    if isinstance(when, float | int):
        when = datetime.fromtimestamp(when, UTC)
    return Stat(info.get("size"), when)


def _folder(url: str) -> str:
    return url.rpartition("/")[0]


def _is_http(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def _is_plain_remote(url: str) -> bool:
    return "://" in url and "::" not in url and not _is_http(url) and not is_local(url)


def _entries(folder: str) -> dict[str, dict[str, Any]]:
    """What a folder holds now, by name; nothing if there is no such folder."""
    fs, path = filesystem(folder)
    fs.invalidate_cache()
    try:
        found = patiently(fs.ls, path, detail=True)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    return {str(info["name"]).rstrip("/").rpartition("/")[2]: info for info in found}


def filesystem(url: str) -> tuple[Any, str]:
    """The fsspec file system of a URL, and the path within it.

    Raises:
        ConfigError: fsspec knows no such protocol, or the protocol's package is not installed.
    """
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        for start, extra, module in _EXTRAS:
            if start in url:
                require_extra(public_url(url), extra, module)
        raise ConfigError(f"{public_url(url)}: {error}") from None
    except ValueError as error:
        raise ConfigError(f"{public_url(url)} is not a URL diffaug can open: {error}") from None
    return fs, path


def is_local(url: str) -> bool:
    """Whether a URL points into this machine's file system."""
    return on_this_machine(filesystem(url)[0])


def on_this_machine(fs: Any) -> bool:
    """Whether a file system is this machine's own."""
    return "file" in ((fs.protocol,) if isinstance(fs.protocol, str) else fs.protocol)
