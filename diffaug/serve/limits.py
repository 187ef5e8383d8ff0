"""What a server takes on."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server takes on.

    Attributes:
        wait: seconds of work that may wait.
        body: bytes of a picture, and of the members of a shard's sample that are read.
        cache: bytes of results to keep.
    """

    wait: float = 60
    body: int = 2**26
    cache: int = 10**10
