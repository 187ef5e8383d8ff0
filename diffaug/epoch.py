"""The epoch, as every process sees it that was given it."""

from __future__ import annotations

import operator
from typing import Any

import torch

__all__ = ["Epoch"]


class Epoch:
    """A number in shared memory: set in one process, it is read in all.

    That holds for the workers of a `DataLoader`, forked or spawned, for as long as they live; a
    plain pickle or a deep copy is another number, which begins where this one stood.
    """

    def __init__(self) -> None:
        self._number = torch.zeros((), dtype=torch.int64)
        self._share()

    def set(self, epoch: int) -> None:
        """Change it.

        Raises:
            ValueError: it is negative.
            TypeError: it is no integer.
        """
        if (number := operator.index(epoch)) < 0:
            raise ValueError(f"epochs are counted from 0, got {number}")
        self._number.fill_(number)

    def get(self) -> int:
        """What it is now."""
        return int(self._number)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._share()

    def _share(self) -> None:
        """Move it to shared memory, unless that is where it came from."""
        self._number.share_memory_()  # type: ignore[no-untyped-call]
