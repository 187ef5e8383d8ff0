"""A live line on the terminal while something long runs; silent where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from diffaug.commit import ShardReport
from diffaug.job import Tally

__all__ = ["counted", "follow"]


class _Images(ProgressColumn):
    """Images done, images a second, failures so far: read from the job's tally as it moves."""

    max_refresh = 0.5

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally
        self._started = time.monotonic()

    def render(self, task: Task) -> Text:
        rate = self._tally.images / max(time.monotonic() - self._started, 1e-9)
        text = f"{self._tally.images} images  {rate:.1f}/s"
        if self._tally.failed:
            text += f"  {self._tally.failed} failed"
        return Text(text)


T = TypeVar("T")


def _line(what: str, console: Console, *columns: ProgressColumn) -> Progress:
    """A line that says what, draws a bar, counts, and tells the time gone and left."""
    return Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        *columns,
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        refresh_per_second=2,
        transient=True,
        disable=not console.is_terminal,
    )


def counted(items: Iterable[T], total: int, what: str, console: Console) -> Iterator[T]:
    """Pass items on, drawing a progress line that counts them."""
    with _line(what, console) as progress:
        yield from progress.track(items, total=total)


def follow(
    reports: Iterable[ShardReport], total: int, tally: Tally, console: Console
) -> Iterator[ShardReport]:
    """Pass reports on, drawing a progress line for `total` shards while they come."""
    with _line("augmenting", console, TextColumn("shards"), _Images(tally)) as progress:
        yield from progress.track(reports, total=total)
