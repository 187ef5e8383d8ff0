"""A clip's frames in a service: let in one by one, so that pictures come between them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

import numpy as np

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.frames import frames_of
from diffaug.serve.admission import Admission
from diffaug.serve.worker import ClosedError, Pending, Result, Worker

__all__ = ["run_frames"]

_AHEAD = 2
"""Frames of a clip under way at once, for each lane."""

_UnderWay = deque[tuple[Pending, "asyncio.Future[Result]"]]


async def run_frames(
    edit: Edit,
    worker: Worker,
    admission: Admission,
    owner: str,
    ran: Callable[[float, float], None],
) -> Result:
    """What the lanes make of a clip: float32 (frames, *).

    Args:
        edit: of a clip, by a model of pictures.
        worker: runs the frames.
        admission: has a place for each of them, as for a shard's copy.
        owner: whose clip it is.
        ran: is told of each frame how many seconds it waited and took.

    Raises:
        OutOfMemoryError: a network call does not fit into memory.
        ClosedError: the worker is closed.
    """
    most, under_way, made = _AHEAD * worker.load().lanes, _UnderWay(), list[Result]()

    async def take() -> None:
        pending, result = under_way[0]
        made.append(await result)
        under_way.popleft()
        ran(pending.waited, pending.took)

    try:
        for frame in frames_of(edit):
            if len(under_way) == most:
                await take()
            await admission.enter_of_shard(frame.rows, owner)
            under_way.append(_begun(frame, worker, admission, owner))
        while under_way:
            await take()
    finally:
        for pending, result in under_way:
            pending.is_wanted = False
            if not result.cancel() and not result.cancelled():
                result.exception()  # is told once, by the first of them
    return np.stack(made)


def _begun(
    frame: Edit, worker: Worker, admission: Admission, owner: str
) -> tuple[Pending, asyncio.Future[Result]]:
    """A frame in the worker's queue, which gives its place up when it is done or given up."""
    try:
        pending = worker.submit(frame, owner)
    except ClosedError:
        admission.leave_of_shard(frame.rows)
        raise
    result = asyncio.wrap_future(pending)
    result.add_done_callback(lambda _: admission.leave_of_shard(frame.rows))
    return pending, result
