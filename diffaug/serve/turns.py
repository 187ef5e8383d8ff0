"""Turns: a queue that serves its owners evenly, however much each of them has put into it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterator
from itertools import chain
from typing import Generic, TypeVar

__all__ = ["Turns"]

T = TypeVar("T")


class Turns(Generic[T]):
    """First in, first out for each owner, and the owners take turns (Nagle 1987, RFC 970).

    It is not safe for several threads by itself.
    """

    def __init__(self) -> None:
        self._waiting: OrderedDict[str, deque[T]] = OrderedDict()  # whose turn it is comes first

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def __iter__(self) -> Iterator[T]:
        return chain.from_iterable(self._waiting.values())

    def put(self, item: T, owner: str) -> None:
        """Put an item behind the others of its owner."""
        self._waiting.setdefault(owner, deque()).append(item)

    def take(self) -> T:
        """The next item of the owner whose turn it is.

        Raises:
            IndexError: there is none.
        """
        if not self._waiting:
            raise IndexError("nothing waits")
        owner, items = self._waiting.popitem(last=False)
        item = items.popleft()
        if items:
            self._waiting[owner] = items  # at the end of the line
        return item
