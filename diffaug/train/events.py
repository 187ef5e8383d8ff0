"""TensorBoard events of a training."""

from __future__ import annotations

import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.summary_pb2 import Summary

__all__ = ["Events"]


class Events:
    """An event file, flushed at every step: a queue would lose its last events to a kill.

    Args:
        folder: folder of the file, next to those of earlier starts.
        step: number of steps made; TensorBoard discards later steps of an earlier start.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._writer = EventsWriter(str(folder / "events"))
        self._write(Event(step=step + 1, session_log=SessionLog(status=SessionLog.START)))

    def add(self, step: int, **scalars: float) -> None:
        """Write values by name, as of `step` steps."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._write(Event(step=step, summary=Summary(value=values)))

    def close(self) -> None:
        """Close the file."""
        self._writer.close()

    def _write(self, event: Event) -> None:
        event.wall_time = time.time()
        self._writer.write_event(event)
        self._writer.flush()
