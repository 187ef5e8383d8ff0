"""Progress of long operations: a live line on a terminal, JSON for machines, otherwise silence."""

from __future__ import annotations

import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

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

from diffaug.cli.console import PlainConsole

if TYPE_CHECKING:
    from diffaug.train.loop import Step

__all__ = ["Counts", "Log", "Pace", "counted"]

_SECONDS = 5
"""Time between two progress events in a JSON log."""

T = TypeVar("T")


@dataclass
class Log:
    """Where a command prints messages and progress, separate from its results.

    Attributes:
        console: the console of standard error.
        json: write one JSON object a line instead of text, each with `time` and `event`.
        shown_as: what messages name in place of something that the user did not, by its name.
    """

    console: PlainConsole
    json: bool = False
    shown_as: dict[str, str] = field(default_factory=dict)

    @property
    def is_live(self) -> bool:
        """Whether to draw a live line: standard error is a terminal, and not read by a machine."""
        return self.console.is_terminal and not self.json

    def print(self, message: str, event: str = "message", **facts: Any) -> None:
        """Print a line of text; in JSON, emit an event with the facts too."""
        for name, shown in self.shown_as.items():
            message = message.replace(name, shown)
        if self.json:
            self.emit(event, message=message, **facts)
        else:
            self.console.print(message)

    def emit(self, event: str, **facts: Any) -> None:
        """Write an event to a JSON log; otherwise do nothing."""
        if self.json:
            now = datetime.now(UTC).isoformat(timespec="milliseconds")
            self.console.file.write(json.dumps({"time": now, "event": event} | facts) + "\n")
            self.console.file.flush()


class Watch(Protocol):
    """Figures that change while something runs: as text for people, as facts for machines."""

    def __str__(self) -> str: ...

    def facts(self) -> dict[str, float]:
        """The figures by name."""


class Counts:
    """Counts from a tally that grows while a job runs; for the first, also the rate per second.

    Args:
        tally: the object whose attributes are the counts.
        names: the attributes' names. All but the first are shown only if they are not zero.
    """

    def __init__(self, tally: object, *names: str) -> None:
        self._tally, self._names = tally, names
        self._started = time.monotonic()

    def __str__(self) -> str:
        first, *others = self._names
        facts = self.facts()
        text = f"{facts[first]:.0f} {first}  {facts[f'{first}_per_second']:.1f}/s"
        counts = [f"  {facts[name]:.0f} {name.replace('_', ' ')}" for name in others if facts[name]]
        return text + "".join(counts)

    def facts(self) -> dict[str, float]:
        """The counts, and `<first>_per_second`."""
        counts: dict[str, float] = {name: getattr(self._tally, name) for name in self._names}
        first = self._names[0]
        rate = counts[first] / max(time.monotonic() - self._started, 1e-9)
        return counts | {f"{first}_per_second": round(rate, 1)}


class Pace:
    """Loss and speed of a training, averaged over the most recent steps."""

    def __init__(self) -> None:
        self._recent: deque[tuple[float, Step]] = deque(maxlen=101)

    def add(self, step: Step) -> None:
        """Add a step that has just been made."""
        self._recent.append((time.monotonic(), step))

    def left(self, images: int) -> str:
        """How long this many images will take, in hours, minutes and seconds."""
        rate = self._rate()
        return str(timedelta(seconds=round(images / rate))) if rate else "?"

    def __str__(self) -> str:
        return f"loss {self._loss():.4f}  {self._rate():.0f} images/s" if self._recent else ""

    def facts(self) -> dict[str, float]:
        """Loss, images a second, and the samples skipped so far."""
        if not self._recent:
            return {}
        skipped = self._recent[-1][1].skipped
        rate = round(self._rate(), 1)
        return {"loss": round(self._loss(), 6), "images_per_second": rate, "skipped": skipped}

    def _loss(self) -> float:
        recent = list(self._recent)  # a snapshot: one thread reads while another adds
        return sum(step.loss for _, step in recent) / len(recent)

    def _rate(self) -> float:
        """Images a second."""
        (begin, first), (end, last) = self._recent[0], self._recent[-1]
        return (last.images - first.images) / (end - begin) if end > begin else 0.0


def counted(
    items: Iterable[T],
    total: int,
    what: str,
    log: Log,
    watch: Watch | None = None,
    done: Callable[[T], int] | None = None,
) -> Iterator[T]:
    """Yield the items, reporting progress on the way.

    Args:
        items: what to yield.
        total: how many there will be.
        what: what is done, such as "augmenting shards".
        log: where to report.
        watch: figures to show besides.
        done: how many are done as of an item, if items know; by default they are counted.
    """
    with _events(what, total, log, watch) if log.json else _line(what, total, log, watch) as show:
        for count, item in enumerate(items, start=1):
            show(count if done is None else done(item))
            yield item


class _Figures(ProgressColumn):
    """The current text of a watch."""

    max_refresh = 0.5

    def __init__(self, watch: Watch) -> None:
        super().__init__()
        self._watch = watch

    def render(self, task: Task) -> Text:
        return Text(str(self._watch))


@contextmanager
def _line(what: str, total: int, log: Log, watch: Watch | None) -> Iterator[Callable[[int], None]]:
    """A live line: what is done, a bar, counts, and the time elapsed and remaining."""
    with Progress(
        TextColumn(what, markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        *([] if watch is None else [_Figures(watch)]),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=log.console,
        refresh_per_second=2,
        transient=True,
        disable=not log.is_live,
    ) as progress:
        task = progress.add_task("", total=total)
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def _events(
    what: str, total: int, log: Log, watch: Watch | None
) -> Iterator[Callable[[int], None]]:
    """An event every few seconds, and a last one at the end."""
    started, stop = time.monotonic(), threading.Event()
    begin, now = 0, 0

    def show(done: int) -> None:
        nonlocal begin, now
        if not now:
            begin = done - 1  # a resumed training does not begin at 0
        now = done

    def emit() -> None:
        seconds, made = time.monotonic() - started, now - begin
        left = round(seconds * (total - now) / made, 1) if made else None
        facts = {} if watch is None else watch.facts()
        time_taken = {"seconds": round(seconds, 1), "seconds_left": left}
        log.emit("progress", what=what, done=now, total=total, **time_taken, **facts)

    def keep_emitting() -> None:
        while not stop.wait(_SECONDS):
            emit()

    thread = threading.Thread(target=keep_emitting, name="progress", daemon=True)
    thread.start()
    try:
        yield show
    finally:
        stop.set()
        thread.join()
        emit()
