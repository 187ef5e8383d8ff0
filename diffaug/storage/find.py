"""Finding files: patterns expand to URLs, folders to the names in them."""

from __future__ import annotations

import contextlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from braceexpand import braceexpand

from diffaug.errors import ConfigError, require_extra
from diffaug.storage.chain import is_chain, url_to_fs
from diffaug.storage.names import identity, known_scheme, refuse_nowhere, tidy
from diffaug.storage.retry import patiently

__all__ = [
    "Found",
    "Stat",
    "entries",
    "exists",
    "expand",
    "filesystem",
    "find",
    "forget_listings",
    "is_folder",
    "is_local",
    "join",
    "listing",
    "on_this_machine",
    "public_url",
    "stats",
]

_log = logging.getLogger(__name__)

_USER = re.compile(r"(?<=://)[^/]*@")
"""User and password in front of a host."""

_QUERY = re.compile(r"[?#].*")
"""The query or fragment after a path."""

_ANY_LETTER = ("", "file", "local", "memory", "s3", "s3a", "s3n", "gs", "gcs")
"""Stores whose files' names may hold ? and #, and whose URLs have neither query nor fragment."""

_WILD = re.compile(r"[*?\[]")

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


class Found(NamedTuple):
    """A file that a pattern led to.

    Attributes:
        url: as it is recorded.
        identity: the same for every spelling of the file.
        named: the identity of what the pattern names without a wildcard: the file, or the folder
            that a glob begins in.
    """

    url: str
    identity: str
    named: str


def expand(patterns: list[str]) -> list[str]:
    """Turn files, globs, brace ranges and lists into URLs, in the order given and each once.

    Local paths come back absolute, and a glob's matches sorted. A file that is spelled in several
    ways comes once: under its own name rather than a link's, and else as it was spelled first.

    Raises:
        ConfigError: a pattern is blank or malformed, matches nothing, or is a `pipe:` source.
    """
    return [found.url for found in find(patterns)]


def find(patterns: list[str]) -> list[Found]:
    """The files of `expand`, each with its identity and what the pattern named."""
    files: dict[str, Found] = {}
    for pattern in patterns:
        refuse_nowhere(pattern, "SOURCE")
        if pattern.startswith("pipe:"):
            raise ConfigError(f"{pattern}: pipe: sources run a shell and are never opened")
        try:
            alternatives = list(braceexpand(pattern))
        except ValueError:
            raise ConfigError(f"{pattern}: its braces do not match") from None
        present = _present(alternatives)
        for url in alternatives:
            refuse_nowhere(url, "SOURCE")
            for found in [_named(url)] if url in present else _matches(url):
                files[found.identity] = _merged(files.get(found.identity, found), found)
    return list(files.values())


def _merged(one: Found, other: Found) -> Found:
    """One file, found twice: its own name comes before a link's, and a name before a glob."""
    url = other.url if other.url == other.identity else one.url
    return Found(url, one.identity, max(one.named, other.named, key=len))


def _named(url: str) -> Found:
    same = identity(url)
    return Found(tidy(url), same, same)


def _present(urls: list[str]) -> set[str]:
    """Those remote URLs that a listing of their folders contains; only for several URLs."""
    try:
        return set(stats(url for url in urls if _is_plain_remote(url))) if len(urls) > 1 else set()
    except OSError:
        return set()  # each is then looked up by itself, and reports what is wrong


def _matches(url: str) -> Iterator[Found]:
    """The files that a name or glob leads to."""
    try:
        fs, path = filesystem(url)
    except FileNotFoundError:  # the archive of a chain
        raise ConfigError(f"no such shard: {public_url(url)}") from None
    is_local = on_this_machine(fs)
    if is_local and not is_chain(url):
        url = path = tidy(url)
    else:
        fs.invalidate_cache()
    try:
        kind = _kind(fs, path)
        if kind is None and _WILD.search(path):
            if is_chain(url):
                raise ConfigError(f"{public_url(url)}: in a chain of URLs, name each shard")
            found = patiently(fs.glob, path, detail=True)
        elif kind == "directory":
            raise ConfigError(f"{public_url(url)} is a folder: name its shards, {url}/*.tar")
        elif kind is None:
            raise ConfigError(f"no such shard: {public_url(url)}")
        else:
            return iter([_named(url)])
    except OSError as error:
        raise ConfigError(f"cannot look for {public_url(url)}: {error}") from error
    whole = str if is_local else fs.unstrip_protocol
    files = [whole(name) for name, info in sorted(found.items()) if _is_shard(name, info)]
    files = [name for name in files if not _is_request(name)]
    if not files:
        raise ConfigError(f"no shard matches {public_url(url)}: check the path")
    folder = identity(whole(_folder(_WILD.split(path)[0])) or "/")
    return (Found(name, identity(name), folder) for name in files)


def _is_shard(path: str, info: dict[str, Any]) -> bool:
    """Whether a glob's match is a file, and not one that a job has not finished."""
    if "/.diffaug-" in path:
        return False
    return info["type"] != "directory" and not (info.get("islink") and Path(path).is_dir())


def _is_request(url: str) -> bool:
    """Whether a URL that a web page links to has a query, which may hold a password."""
    if public_url(url) == _USER.sub("", url):
        return False
    _log.warning("left out %s: its URL has a query or fragment", public_url(url))
    return True


def _kind(fs: Any, path: str) -> str | None:
    """`file` or `directory`; None if nothing is there."""
    try:
        return str(patiently(fs.info, path)["type"])
    except (FileNotFoundError, NotADirectoryError):
        return None


def join(folder: str, *parts: str) -> str:
    """A path below a folder or URL.

    Raises:
        ConfigError: the folder is empty or blank: what is joined to it would lie in the root.
    """
    refuse_nowhere(folder, "a folder")
    base = folder if folder.endswith("://") else folder.rstrip("/")
    return "/".join([base, *parts])


def public_url(url: str) -> str:
    """The URL, or chain of URLs, without user, password or query, so that it may be recorded."""
    return "::".join(map(_public, url.split("::"))) if "://" in url else url


def _public(link: str) -> str:
    """One link of a chain of URLs, without user, password or query."""
    scheme = link.partition("://")[0] if "://" in link else ""
    link = _USER.sub("", link)
    return link if scheme in _ANY_LETTER else _QUERY.sub("", link)


def exists(url: str) -> bool:
    """Whether there is a file at `url` now."""
    fs, path = filesystem(url)
    fs.invalidate_cache()
    return _kind(fs, path) is not None


def is_folder(url: str) -> bool:
    """Whether a path or URL is that of a folder; never of a web page, a chain, or no place at all.

    Raises:
        ConfigError: the URL cannot be opened here.
    """
    if not url.strip() or url.startswith("pipe:") or is_chain(url) or _is_http(url):
        return False
    fs, path = filesystem(url)
    try:
        return _kind(fs, path) == "directory"
    except OSError:
        return False  # whoever opens it reports what is wrong


def listing(folder: str, suffix: str) -> list[str]:
    """The sorted names in a folder that end in `suffix` and do not begin with a dot."""
    names = (name for name in entries(folder) if not name.startswith("."))
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
        for name, info in entries(folder).items()
    }
    found = {}
    for url in urls:
        if url in listed:
            found[url] = listed[url]
        elif "://" not in url and not is_chain(url):
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                stat = Path(url).stat()
                found[url] = Stat(stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))
        elif folders[_folder(url)] < _WORTH_LISTING and not is_chain(url) and not _is_http(url):
            fs, path = filesystem(url)
            fs.invalidate_cache()
            with contextlib.suppress(FileNotFoundError, NotADirectoryError):
                here = on_this_machine(fs)
                found[url] = _stat(fs.info(path) if here else patiently(fs.info, path))
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
    return "://" in url and not is_chain(url) and not _is_http(url) and not is_local(url)


def entries(folder: str) -> dict[str, dict[str, Any]]:
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
        ConfigError: the URL names no place, fsspec knows no such protocol, or the protocol's
            package is not installed.
    """
    refuse_nowhere(url)
    url = known_scheme(url)
    try:
        fs, path = url_to_fs(url)
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
