"""A live line on the terminal while something long runs; silent where there is no terminal."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

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

if TYPE_CHECKING:
    from diffaug.job import Tally
    from diffaug.reports import ShardReport
    from diffaug.train.loop import Step

__all__ = ["Pace", "counted", "follow", "stepping"]


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


class Pace:
    """Loss and speed of a training, averaged over its last steps."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, int, float]] = deque(maxlen=101)

    def add(self, step: Step) -> None:
        """Take in a step just made."""
        self._recent.append((time.monotonic(), step.images, step.loss))

    def left(self, images: int) -> str:
        """How long so many images will take, in hours, minutes and seconds."""
        rate = self._rate()
        return str(timedelta(seconds=round(images / rate))) if rate else "?"

    def __str__(self) -> str:
        if not self._recent:
            return ""
        loss = sum(loss for *_, loss in self._recent) / len(self._recent)
        return f"loss {loss:.4f}  {self._rate():.0f} images/s"

    def _rate(self) -> float:
        """Images a second."""
        (begin, before, _), (end, after, _) = self._recent[0], self._recent[-1]
        return (after - before) / (end - begin) if end > begin else 0.0


class _Said(ProgressColumn):
    """What an object says of itself now."""

    max_refresh = 0.5

    def __init__(self, thing: object) -> None:
        super().__init__()
        self._thing = thing

    def render(self, task: Task) -> Text:
        return Text(str(self._thing))


def stepping(steps: Iterable[Step], total: int, pace: Pace, console: Console) -> Iterator[Step]:
    """Pass a training's steps on, drawing a progress line with its pace and the time left."""
    with _line("training", console, TextColumn("steps"), _Said(pace)) as progress:
        task = progress.add_task("", total=total)
        for step in steps:
            progress.update(task, completed=step.step)
            yield step
