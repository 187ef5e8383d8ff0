"""An epoch number that all worker processes of a loader share."""

from __future__ import annotations

import operator
from typing import Any

import torch

__all__ = ["Epoch"]


class Epoch:
    """A number in shared memory: one process sets it, and all of them read it.

    The workers of a `DataLoader`, forked or spawned, share it for as long as they live. A plain
    pickle or a deep copy is a number of its own, which starts at the value copied.
    """

    def __init__(self) -> None:
        self._number = torch.full((), -1, dtype=torch.int64)
        self._share()

    def set(self, epoch: int) -> None:
        """Change the number.

        Raises:
            ValueError: it is negative.
            TypeError: it is not an integer.
        """
        if (number := operator.index(epoch)) < 0:
            raise ValueError(f"epochs are counted from 0, got {number}")
        self._number.fill_(number)

    def get(self) -> int:
        """The current number, 0 before one is set."""
        return max(0, int(self._number))

    def set_if_none_is(self, epoch: int) -> None:
        """Change the number unless one was set."""
        if int(self._number) < 0:
            self.set(epoch)

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__ |= state
        self._share()

    def _share(self) -> None:
        """Move the number to shared memory, unless it is already there."""
        self._number.share_memory_()  # type: ignore[no-untyped-call]
