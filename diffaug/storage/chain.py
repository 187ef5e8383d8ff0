"""Chains of URLs, as fsspec has them, and file names that only look like one."""

from __future__ import annotations

import inspect
from functools import cache
from typing import Any

import fsspec
from fsspec.implementations.chained import ChainedFileSystem

__all__ = ["is_chain", "url_to_fs"]


def is_chain(url: str) -> bool:
    """Whether a URL is a chain such as `zip://a.tar::x.zip`, and not of a file named `a::b.tar`.

    In a chain, the first link is of a file system that lies in another one's file, or caches it.
    """
    first, chained, _ = url.partition("::")
    return bool(chained) and _takes_another(first.partition("://")[0])


def url_to_fs(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path within it, which may have `::` in a name.

    Raises:
        ImportError: the protocol's package is not installed.
        ValueError: fsspec knows no such protocol.
    """
    if "::" not in url or is_chain(url):
        fs, path = fsspec.core.url_to_fs(url)
        return fs, path
    protocol, marked, _ = url.partition("://")
    kind: Any = fsspec.get_filesystem_class(protocol if marked else "file")
    return kind(**kind._get_kwargs_from_urls(url)), kind._strip_protocol(url)


@cache
def _takes_another(protocol: str) -> bool:
    try:
        kind: Any = fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError):
        return False
    parameters = inspect.signature(kind.__init__).parameters
    return issubclass(kind, ChainedFileSystem) or "target_protocol" in parameters
