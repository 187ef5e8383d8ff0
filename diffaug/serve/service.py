"""The service without HTTP: what a request asks for, and what it is answered."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.frames import frames_of
from diffaug.diffusion.samplers import Trajectory
from diffaug.editor import Draft, Finish, Source
from diffaug.errors import DefectError
from diffaug.execution import Execution
from diffaug.job.rows import draft_row, output_row, run_row, size_row
from diffaug.manifest.part import Row
from diffaug.online.engine import cache_key
from diffaug.serve.admission import Admission
from diffaug.serve.frames import run_frames
from diffaug.serve.recipes import Recipes, Registered
from diffaug.serve.room import Held, Room
from diffaug.serve.store import Store, Stored
from diffaug.serve.warm import nothing
from diffaug.serve.worker import Worker
from diffaug.shards.reading import Label

__all__ = ["Asked", "Planned", "Service", "Watch"]

T = TypeVar("T")


_OWN = ("source_key", "source_sha256", "label_text")
"""Columns of the request, not of the result: the cache keeps none of them."""

_log = logging.getLogger(__name__)

_CALLS = 2
"""Calls that a lane makes to warm up."""

_THREADS = 2
"""Threads that decode, plan, finish and encode, beside the worker's network calls."""

_PIXELS = 400_000_000
"""Pixels of all pictures that are decoded and not done: a file of a kilobyte may have millions. As
many are those of all clips."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """One copy of one picture or clip.

    Attributes:
        data: the bytes of its file.
        recipe: what to do.
        copy: which copy.
        label: its class.
        key: its webdataset key.
        owner: whose request it is.
        format: how to answer, whatever the recipe stores; None: as it stores.
    """

    data: bytes
    recipe: Registered
    copy: int = 0
    label: Label = field(default_factory=Label)
    key: str | None = None
    owner: str = ""
    format: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Planned:
    """A copy that can be made.

    Attributes:
        recipe: what to do.
        edit: what goes into the lanes.
        finish: how what comes out becomes a picture.
        format: of the result's file, such as png.
        etag: the name of its result (see `Service.etag`).
        row: the columns of its manifest row known so far.
        owner: whose request it is.
        held: what source and edit take in memory, in pixels of four bytes.
    """

    recipe: Registered
    edit: Edit
    finish: Finish
    format: str
    etag: str
    row: Row
    owner: str
    held: int = 0


@dataclass(slots=True, eq=False)
class _Making:
    """A copy that is being made, and how many requests wait for it."""

    task: asyncio.Task[Stored]
    waiting: int = 0


class Watch:
    """Is told what happens, and does nothing about it."""

    def hit(self, recipe: str) -> None:
        """A copy was found in the store."""

    def ran(self, recipe: str, waited: float, took: float) -> None:
        """An edit was made, so many seconds after it came and after it had a lane."""


class Service:
    """Makes copies, each of them once however often it is asked for at the same time.

    Args:
        recipes: all of one model.
        execution: as they were registered with.
        store: where results are kept; None to keep none.

    Attributes:
        watch: is told what happens.
        admission: lets in the frames of clips; an application sets it.
    """

    def __init__(self, recipes: Recipes, execution: Execution, store: Store | None = None) -> None:
        self.recipes, self._execution, self.store = recipes, execution, store
        model = recipes.registered[0].editor.model
        size = execution.batch_size
        self.worker = Worker(model.lanes(size), model.stages(size))
        self._threads = ThreadPoolExecutor(_THREADS, "diffaug-serve")
        self._rooms = {medium: Room(_PIXELS) for medium in ("image", "clip")}
        self.admission: Admission | None = None
        self.watch = Watch()
        self._has_warned = False
        self._under_way: dict[str, _Making] = {}

    def warm_up(self) -> None:
        """Fill the lanes for a few calls, so that the first request finds threads and a pace."""
        editor = self.recipes.registered[0].editor
        lanes = self.worker.load().lanes
        drafts = editor.plan(nothing(editor), range(lanes))
        edits = [frame for one in drafts if isinstance(one, Draft) for frame in frames_of(one.edit)]
        futures = [self.worker.submit(_end(edit)) for edit in edits]
        for future in futures:
            future.result()

    @asynccontextmanager
    async def room(self, asked: Asked) -> AsyncIterator[Held]:
        """Wait until there is memory for a picture, which is held while the context lasts."""
        editor = asked.recipe.editor
        declared = partial(editor.medium.declared, asked.data, editor.recipe.max_pixels)
        async with self._rooms[editor.medium.name].of(await self.apart(declared)) as held:
            yield held

    async def plan(self, asked: Asked) -> Planned:
        """Decode the picture, for which there is `room`, and plan its copy.

        Raises:
            DefectError: the picture or its class is unusable.
        """
        return await self.apart(partial(self._planned, asked))

    async def found(self, planned: Planned) -> Stored | None:
        """The copy from the store; None if it is not there."""
        found = await self.stored(planned.etag)
        if found is not None:
            self.watch.hit(planned.recipe.name)
        return found

    async def made(self, planned: Planned) -> Stored:
        """The copy from another request's work under way, or made.

        The work is cancelled once nobody waits for it any longer; what has a lane by then ends
        there, for nothing.

        Raises:
            DefectError: the model gave values that are not finite.
            OutOfMemoryError: a network call does not fit into memory.
        """
        making = self._under_way.get(planned.etag)
        if making is None:
            making = _Making(asyncio.create_task(self._made(planned)))
            self._under_way[planned.etag] = making
        making.waiting += 1
        try:
            return await asyncio.shield(making.task)
        finally:
            making.waiting -= 1
            if not making.waiting:
                making.task.cancel()
                if self._under_way.get(planned.etag) is making:
                    del self._under_way[planned.etag]

    async def run(self, edit: Edit, recipe: Registered, owner: str) -> NDArray[np.float32]:
        """What the lanes make of an edit, float32 (*), nominally in [-1, 1].

        Raises:
            OutOfMemoryError: a network call does not fit into memory.
        """
        if edit.frames is not None:
            assert self.admission is not None
            ran = partial(self.watch.ran, recipe.name)
            return await run_frames(edit, self.worker, self.admission, owner, ran)
        pending = self.worker.submit(edit, owner)
        try:
            result = await asyncio.wrap_future(pending)
        finally:
            pending.is_wanted = False
        self.watch.ran(recipe.name, pending.waited, pending.took)
        return result

    def frames_to_make(self, planned: Planned) -> float:
        """Network rows of a clip's frames; 0 of a picture, and of a clip that is being made."""
        is_new = planned.edit.frames is not None and planned.etag not in self._under_way
        return planned.edit.rows if is_new else 0

    @property
    def under_way(self) -> list[_Making]:
        """What is being made now."""
        return list(self._under_way.values())

    async def stored(self, etag: str) -> Stored | None:
        """The result of this name in the store; None if it is not there."""
        return None if self.store is None else await self.apart(partial(self.store.read, etag))

    def close(self, seconds: float | None = None) -> bool:
        """End once what is under way is done; whether it has ended after so many seconds."""
        ended = self.worker.close(seconds)
        self._threads.shutdown(wait=ended, cancel_futures=not ended)
        return ended

    async def apart(self, call: Callable[[], T]) -> T:
        """The result of a call, which runs in a thread of the service."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    def etag(self, recipe: Registered, source: Source, copy: int, format: str) -> str:
        """The name of a copy's result: its `cache_key` and, unless it is a PNG, its format.

        What else a result has of its source counts, too.
        """
        editor = recipe.editor
        key = cache_key(editor.recipe, editor.recipe_digest, source, copy, self._execution)
        if more := editor.medium.kept(source.image):
            key = hashlib.sha256(f"{key} {more}".encode()).hexdigest()[:32]
        return key if format == "png" else f"{key}-{format}"

    async def _made(self, planned: Planned) -> Stored:
        x_0 = await self.run(planned.edit, planned.recipe, planned.owner)
        return await self.apart(partial(self._finished, planned, x_0))

    def _planned(self, asked: Asked) -> Planned:
        editor, run = asked.recipe.editor, asked.recipe.run
        recipe = editor.recipe
        if recipe.mask_key is not None:
            raise DefectError("no_mask", "mask_key: a picture alone has no mask: send a tar")
        source = editor.read_file(asked.data, asked.label, asked.key)
        (draft,) = editor.plan(source, [asked.copy])
        if isinstance(draft, DefectError):
            raise draft
        row = run_row(run) | {
            "source_key": asked.key,
            "source_sha256": hashlib.sha256(asked.data).hexdigest(),
            "label": asked.label.number,
            "label_text": asked.label.text,
            **size_row(source, editor.medium),
            **draft_row(draft),
        }
        format = asked.format or recipe.format_for(source.jpeg)
        return Planned(
            recipe=asked.recipe,
            edit=draft.edit,
            finish=draft.finish,
            format=format,
            etag=self.etag(asked.recipe, source, asked.copy, format),
            row=row,
            owner=asked.owner,
            held=draft.edit.values + editor.medium.pixels(source.image) + len(asked.data) // 4,
        )

    def _finished(self, planned: Planned, x_0: NDArray[np.float32]) -> Stored:
        medium = planned.recipe.editor.medium
        image = planned.finish.picture(x_0)
        data = medium.write(image, planned.format)
        row = planned.row | output_row(image, data, None, medium) | {"status": "ok"}
        made = Stored(planned.etag, planned.format, row, data)
        self._keep(made, planned.recipe)
        return made

    def _keep(self, made: Stored, recipe: Registered) -> None:
        """Store a result, without what only whoever asked for it may read."""
        if self.store is None:
            return
        own = _OWN if recipe.editor.recipe.condition == "label" else (*_OWN, "label")
        try:
            self.store.write(replace(made, row=made.row | dict.fromkeys(own)))
        except OSError as error:
            if not self._has_warned:
                _log.warning("--cache: results cannot be kept: %s", error)
            self._has_warned = True


def _end(edit: Edit) -> Edit:
    """The last calls of an edit alone."""
    way, last = edit.trajectory, slice(-_CALLS, None)
    way = Trajectory(way.timesteps[last], way.weights[last], way.ends[last])
    scales = None if edit.scales is None else edit.scales[last]
    return replace(edit, trajectory=way, noise=edit.noise[: 1 + way.draws], scales=scales)
