"""The service without HTTP: what a request asks for, and what it is answered."""

from __future__ import annotations

import asyncio
import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from PIL import Image

from diffaug.editor import Draft, Source
from diffaug.errors import DefectError
from diffaug.execution import Execution
from diffaug.job.rows import draft_row, output_row, run_row, size_row
from diffaug.manifest.part import Row
from diffaug.online.engine import cache_key
from diffaug.serve.recipes import Recipes, Registered
from diffaug.serve.store import Store, Stored
from diffaug.serve.worker import Worker
from diffaug.shards.reading import Label

__all__ = ["Asked", "Planned", "Service"]

_THREADS = 2
"""Threads that decode, plan, finish and encode, beside the worker's network calls."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """One copy of one picture.

    Attributes:
        data: the bytes of the picture's file.
        recipe: what to do.
        copy: which copy.
        label: its class.
        key: its webdataset key.
        owner: whose request it is.
        format: how to answer, whatever the recipe stores: png, jpg or webp; None: as it stores.
    """

    data: bytes
    recipe: Registered
    copy: int = 0
    label: Label = field(default_factory=Label)
    key: str | None = None
    owner: str = ""
    format: str | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """A request that can be carried out.

    Attributes:
        asked: the request.
        draft: the copy.
        etag: the name of its result: its `cache_key` and, unless it is a PNG, its format.
        row: the columns of its manifest row known so far.
    """

    asked: Asked
    draft: Draft
    etag: str
    row: Row

    @property
    def format(self) -> str:
        """Of the result's file: png, jpg or webp."""
        return _format(self.asked, self.draft.finish.source)


class Service:
    """Makes copies, each of them once however often it is asked for at the same time.

    Args:
        recipes: all of one model.
        execution: as they were registered with.
        store: where results are kept; None to keep none.

    Attributes:
        hits: how many copies were found in the store.
    """

    def __init__(self, recipes: Recipes, execution: Execution, store: Store | None = None) -> None:
        self.recipes, self._execution, self.store = recipes, execution, store
        model = recipes.registered[0].editor.model
        size = execution.batch_size
        self.worker = Worker(model.lanes(size), model.stages(size))
        self._threads = ThreadPoolExecutor(_THREADS, "diffaug-serve")
        self.hits = 0
        self._under_way: dict[str, asyncio.Task[Stored]] = {}

    def warm_up(self) -> None:
        """Fill the lanes once, so that the first request finds threads and a pace."""
        editor = self.recipes.registered[0].editor
        channels, height, width = editor.model.shape
        picture = Image.new("L" if channels == 1 else "RGB", (width, height), "gray")
        source = Source(image=picture, stored=picture, label=Label(0, "nothing"), key="nothing")
        lanes = self.worker.load().lanes
        drafts = editor.plan(source, range(lanes))
        futures = [self.worker.submit(one.edit) for one in drafts if isinstance(one, Draft)]
        for future in futures:
            future.result()

    async def plan(self, asked: Asked) -> Planned:
        """Decode the picture and plan its copy.

        Raises:
            DefectError: the picture or its class is unusable.
        """
        planned: Planned = await self._apart(partial(self._planned, asked))
        return planned

    async def answer(self, planned: Planned) -> Stored:
        """The copy: from the store, from another request's work under way, or made.

        Raises:
            DefectError: the model gave values that are not finite.
            OutOfMemoryError: a network call does not fit into memory.
        """
        found = await self.stored(planned.etag)
        if found is not None:
            self.hits += 1
            return found
        task = self._under_way.get(planned.etag)
        if task is None:
            task = asyncio.create_task(self._made(planned))
            self._under_way[planned.etag] = task
            task.add_done_callback(lambda _: self._under_way.pop(planned.etag, None))
        return await asyncio.shield(task)

    async def stored(self, etag: str) -> Stored | None:
        """The result of this name in the store; None if it is not there."""
        return None if self.store is None else await self._apart(partial(self.store.read, etag))

    def close(self, seconds: float | None = None) -> bool:
        """End once what is under way is done; whether it has ended after so many seconds."""
        ended = self.worker.close(seconds)
        self._threads.shutdown(wait=ended, cancel_futures=not ended)
        return ended

    async def _apart(self, call: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _made(self, planned: Planned) -> Stored:
        future = self.worker.submit(planned.draft.edit, planned.asked.owner)
        x_0 = await asyncio.wrap_future(future)
        made: Stored = await self._apart(partial(self._finished, planned, x_0))
        return made

    def _planned(self, asked: Asked) -> Planned:
        editor, run = asked.recipe.editor, asked.recipe.run
        recipe = editor.recipe
        if recipe.mask_key is not None:
            raise DefectError("no_mask", "mask_key: a picture alone has no mask: send a tar")
        found = editor.medium.read(asked.data, recipe.max_pixels, recipe.background)
        source = Source(
            image=found.shown,
            stored=found.stored,
            transparency=found.transparency_in(recipe.format),
            label=asked.label,
            key=asked.key,
            jpeg=found.jpeg,
        )
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
        etag = cache_key(recipe, editor.recipe_digest, source, asked.copy, self._execution)
        if (format := _format(asked, source)) != "png":
            etag = f"{etag}-{format}"
        return Planned(asked, draft, etag, row)

    def _finished(self, planned: Planned, x_0: Any) -> Stored:
        editor = planned.asked.recipe.editor
        image: Image.Image = planned.draft.finish.picture(x_0)
        data = editor.medium.write(image, planned.format)
        row = planned.row | output_row(image, data, None, editor.medium) | {"status": "ok"}
        made = Stored(planned.etag, planned.format, row, data)
        if self.store is not None:
            self.store.write(made)
        return made


def _format(asked: Asked, source: Source) -> str:
    return asked.format or asked.recipe.editor.recipe.format_for(source.jpeg)
