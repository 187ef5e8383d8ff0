"""Portions of a plan: what each of several processes does of one job, all by itself."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from diffaug.errors import ConfigError
from diffaug.output.run import SourceShard

__all__ = ["WHOLE", "Portion"]


@dataclass(frozen=True, slots=True)
class Portion:
    """Every `of`-th shard of a plan, from the `number`-th on.

    Shards are counted in the plan's order, and sources that are added come last. So a shard stays
    in its portion, and portions differ by one shard at most.

    Attributes:
        number: which portion, from 1.
        of: how many there are.

    Raises:
        ConfigError: it is not 1 <= number <= of.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise ConfigError(f"a part must be I/N with 1 <= I <= N, such as 2/8, got {self}")

    @classmethod
    def parse(cls, text: str) -> Portion:
        """A portion, given as `I/N`.

        Raises:
            ConfigError: it is not two numbers with 1 <= I <= N.
        """
        found = re.fullmatch(r"\s*(\d{1,9})\s*/\s*(\d{1,9})\s*", text, re.ASCII)
        if found is None:
            raise ConfigError(f"a part must be I/N with 1 <= I <= N, such as 2/8, got {text!r}")
        return cls(*map(int, found.groups()))

    def shards(self, planned: Sequence[SourceShard]) -> Sequence[SourceShard]:
        """The shards of this portion."""
        return planned[self.number - 1 :: self.of]

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


WHOLE = Portion(1, 1)
"""All of a plan."""
