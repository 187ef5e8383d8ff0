"""Tokens: who may use a server, and whose a request is."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from diffaug.errors import ConfigError
from diffaug.serve.problems import ProblemError

__all__ = ["Tokens", "read_tokens"]

_SHORTEST = 16


class Tokens:
    """The tokens of a server; without any, everyone may use it.

    Args:
        tokens: texts. Only digests of them are kept.
    """

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        self._digests = [_digest(token) for token in tokens]

    @property
    def are_required(self) -> bool:
        """Whether there are any."""
        return bool(self._digests)

    def owner(self, authorization: str | None) -> str:
        """Whose a request is, by its header `Authorization: Bearer TOKEN`.

        The time this takes does not depend on the token.

        Raises:
            ProblemError: 401: it has no token, or one that is not known.
        """
        if not self._digests:
            return ""
        scheme, _, token = (authorization or "").partition(" ")
        given = _digest(token.strip())
        same = [hmac.compare_digest(given, known) for known in self._digests]
        if scheme.lower() != "bearer" or not any(same):
            raise ProblemError(
                401,
                "no_token",
                "this server requires the header Authorization: Bearer TOKEN, a token it knows",
                {"WWW-Authenticate": "Bearer"},
            )
        return str(same.index(True))


def read_tokens(path: Path) -> Tokens:
    """The tokens of a file, one a line; empty lines and those that begin with # do not count.

    Raises:
        ConfigError: the file cannot be read, holds none, or one that is easily guessed.
    """
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--tokens: {path} cannot be read: {error}") from error
    tokens = [line for line in lines if line and not line.startswith("#")]
    if not tokens:
        raise ConfigError(f"--tokens: {path} holds no token: write one a line")
    for number, token in enumerate(tokens, 1):
        if len(token) < _SHORTEST or " " in token or not token.isascii():
            raise ConfigError(
                f"--tokens: token {number} of {path} is not {_SHORTEST} or more letters and "
                "digits: make one by `openssl rand -hex 24`"
            )
    return Tokens(tokens)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogateescape")).digest()
