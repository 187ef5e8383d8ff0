"""The keys of a tar that were seen, to notice one that comes again."""

from __future__ import annotations

import hashlib
from collections import deque

__all__ = ["Keys"]


class Keys:
    """Keys in the order in which they came; they are kept as digests of 16 bytes.

    Args:
        most: how many of the newest to remember; None: all.
    """

    def __init__(self, most: int | None = None) -> None:
        self._most = most
        self._known: set[bytes] = set()
        self._order: deque[bytes] = deque()

    def __contains__(self, key: str) -> bool:
        return _digest(key) in self._known

    def add(self, key: str) -> None:
        """Remember a key."""
        digest = _digest(key)
        if digest in self._known:
            return
        self._known.add(digest)
        if self._most is not None:
            self._order.append(digest)
            if len(self._order) > self._most:
                self._known.remove(self._order.popleft())


def _digest(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()
