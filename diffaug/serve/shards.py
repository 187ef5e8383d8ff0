"""A shard in a request's body, augmented while it comes: bounded in what it holds at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import IO, TypeVar, cast

from diffaug.errors import DefectError
from diffaug.job.copies import copies_of
from diffaug.job.rows import run_row
from diffaug.output.run import SourceShard
from diffaug.serve.inflow import Inflow
from diffaug.serve.making import Item, Making
from diffaug.serve.outgoing import Outgoing
from diffaug.serve.problems import ProblemError
from diffaug.serve.recipes import Registered
from diffaug.serve.spool import Spool
from diffaug.serve.state import State
from diffaug.shards import Sample, read_samples
from diffaug.shards.keys import Keys

__all__ = ["Shard"]

T = TypeVar("T")

_AHEAD = 2
"""How many copies of a shard are held at a time, for each lane."""

_PIXEL = 4
"""Bytes of a decoded pixel, at most."""

_KEYS = 2**17
"""How many keys of a shard are remembered, so that one which comes again is noticed."""

_GZIP = b"\x1f\x8b"

_BODY = SourceShard(url="", stem="")
"""Where copies come from, as far as their rows are concerned: a body has no name."""


class Shard:
    """One shard, from the body of a request to the tar that answers it.

    Args:
        state: of the server.
        recipe: what to do.
        owner: whose request it is.
        body: the shard.

    Attributes:
        recipe: what to do.
        held: how many copies are planned, and not yet taken from their order.
    """

    def __init__(self, state: State, recipe: Registered, owner: str, body: Inflow) -> None:
        self._state, self.recipe, self._body = state, recipe, body
        self._making = Making(state, recipe, owner)
        self._shared = run_row(recipe.run)
        self._room = asyncio.Semaphore(_AHEAD * state.service.worker.load().lanes)
        self._queue: asyncio.Queue[Item | None] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, "diffaug-shard")
        self._samples = self._read()
        self._first: tuple[int, Sample] | None = None
        self.held = 0

    async def begin(self) -> None:
        """Read the first sample.

        Raises:
            ProblemError: the body is compressed, or came too slowly.
            DefectError: it is not a tar.
            ClientDisconnect: the client went away.
        """
        self._first = await self._apart(lambda: next(self._samples, None))
        if self._body.start.startswith(_GZIP):
            raise ProblemError(415, "content_encoding", "the body is compressed: send the tar")
        if self._first is None or self._first[1].key is not None:
            return
        if self._body.stopped is not None:
            raise self._body.stopped
        defect = self._first[1].defect
        if defect is not None and defect.code == "unreadable_tar":
            raise defect

    async def run(self, spool: Spool) -> None:
        """Write the tar that answers the shard.

        Raises:
            ClientDisconnect: the client went away.
            OSError: what the client does not take does not fit on the disk.
        """
        outgoing = Outgoing(self.recipe.editor.recipe)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._plan(group))
            async for copies in self._groups():
                for item, verdict in zip(copies, await self._making.settle(copies), strict=True):
                    outgoing.add(item.copy, item.file, verdict, item.number)
                    await spool.write(outgoing.take())
        outgoing.end()
        await spool.write(outgoing.take())
        spool.end()

    def close(self) -> None:
        """End its thread, and let go of what it holds."""
        self._hold(-self.held)
        self._body.close()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self) -> Iterator[tuple[int, Sample]]:
        """The reading thread: the samples that a job would take, numbered."""
        reading, most = self.recipe.editor.reading, self._state.limits.body
        taken, number = Keys(_KEYS), 0
        stream = cast(IO[bytes], self._body)
        for sample in read_samples(stream, reading.reads, most, most, _KEYS):
            code = sample.defect and sample.defect.code
            again = code == "duplicate_key" and str(sample.key) in taken
            if sample.key is None:
                yield number, self._why_stopped(sample)
            elif again or code == "truncated_tar" or reading.is_sample(sample.names):
                taken.add(sample.key)
                yield number, sample
                number += 1

    def _why_stopped(self, end: Sample) -> Sample:
        """The defect of the shard with the reason why it was not read to its end."""
        if self._body.stopped is not None and end.defect is not None:
            problem = self._body.stopped
            end.defect = DefectError(problem.code, f"{problem.detail}: {end.defect.reason}")
        return end

    async def _plan(self, group: asyncio.TaskGroup) -> None:
        """Read samples, as long as there is room for what becomes of them."""
        found, self._first = self._first, None
        while found is not None:
            handed = asyncio.Event()
            group.create_task(self._augment(*found, handed, group))
            found = None  # the task alone holds what was read
            await handed.wait()
            found = await self._apart(lambda: next(self._samples, None))
        await self._queue.put(None)

    async def _augment(
        self, number: int, sample: Sample, handed: asyncio.Event, group: asyncio.TaskGroup
    ) -> None:
        """Begin the work on each copy of a sample, once there is memory for it, which it then has
        until they have left the order."""
        last: Item | None = None
        editor = self.recipe.editor
        memory = self._state.shard_memory[editor.medium.name]
        async with memory.of(await self._apart(partial(self._bytes, sample))) as held:
            copies = copies_of(sample, _BODY, self._shared, editor, editor.recipe.copies)
            while True:
                await self._room.acquire()
                planned = await self._apart(lambda: next(copies, None))
                if planned is None:
                    self._room.release()
                    break
                self._hold(1)
                copy, edit = planned
                pixels = 0 if copy.source is None else editor.medium.pixels(copy.source.image)
                held.keep(_members(sample) + _PIXEL * (pixels + (edit.values if edit else 0)))
                last = await self._making.begin(copy, edit, number, group)
                await self._queue.put(last)
            handed.set()
            if last is not None:
                await last.taken.wait()

    def _hold(self, copies: int) -> None:
        self.held += copies
        self._state.shard_copies += copies

    def _bytes(self, sample: Sample) -> int:
        """What a sample takes in memory: its members and its picture, as far as it is decoded."""
        editor = self.recipe.editor
        image = editor.reading.image_member(sample)
        most = editor.recipe.max_pixels
        pixels = 0 if image is None else editor.medium.declared(image.data, most)
        return _members(sample) + _PIXEL * pixels

    async def _groups(self) -> AsyncIterator[list[Item]]:
        """The copies in order, each once it is made; those of a sample together if they compete."""
        group: list[Item] = []
        while (item := await self._queue.get()) is not None:
            if item.work is not None:
                await asyncio.wait({item.work})
            item.taken.set()
            self._room.release()
            self._hold(-1)
            if group and not (self._making.compares and item.number == group[0].number):
                yield group
                group = []
            group.append(item)
            if not self._making.compares:
                yield group
                group = []
        if group:
            yield group

    async def _apart(self, call: Callable[[], T]) -> T:
        """The result of a call in the shard's thread."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call)


def _members(sample: Sample) -> int:
    return sum(len(one.data) for one in sample.members.values())
