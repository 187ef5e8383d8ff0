"""Addresses of servers: checked, and shown without the password that they may hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit

from diffaug.errors import ConfigError

__all__ = ["Address", "addresses"]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Attributes:
        url: without a password, and without a slash at its end.
        login: user and password, if the URL had them.
    """

    url: str
    login: tuple[str, str] | None = field(default=None, repr=False)


def addresses(urls: str | Sequence[str]) -> tuple[Address, ...]:
    """The addresses that a caller gave, each once.

    Raises:
        ConfigError: there is none, or one of them is not the URL of a server.
    """
    given = [urls] if isinstance(urls, str) else urls
    if not isinstance(given, Sequence) or not given:
        raise ConfigError("urls: give the address of a server, such as http://host:8321, or a list")
    return tuple(dict.fromkeys(map(_address, given)))


def _address(url: Any) -> Address:
    if not isinstance(url, str):
        raise ConfigError(f"urls: an address must be a text, got {type(url).__name__}")
    try:
        parts = urlsplit(url.strip())
        whole = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # of its port
        whole = False
    if not whole or "@" in parts.path or parts.query or parts.fragment:  # "/" in a password
        shown = url.rpartition("@")[2].partition("?")[0]
        raise ConfigError(f"urls: {shown!r} is not a server's address, such as http://host:8321")
    user, _, host = parts.netloc.rpartition("@")
    name, _, password = user.partition(":")
    login = (unquote(name), unquote(password)) if user else None
    return Address(f"{parts.scheme}://{host}{parts.path.rstrip('/')}", login)
