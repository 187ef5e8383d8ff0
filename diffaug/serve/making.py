"""Making the copies of a shard: from the store or in the lanes, and settled as a job does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from diffaug.diffusion.edit import Edit
from diffaug.errors import DefectError, OutOfMemoryError
from diffaug.job.copy import Copy
from diffaug.job.copytar import File
from diffaug.job.rows import failed_row
from diffaug.job.settling import score, verdicts
from diffaug.judges import Panel, load_panel
from diffaug.manifest.part import Row
from diffaug.serve.problems import ending, problem_of
from diffaug.serve.recipes import Registered
from diffaug.serve.service import Planned
from diffaug.serve.state import State
from diffaug.serve.worker import ClosedError

__all__ = ["Item", "Making"]

_PLACE = ("source_shard", "source_member", "source_offset")
"""Columns about a copy's shard, which are not kept with its picture."""


@dataclass(slots=True, eq=False)
class Item:
    """A copy on its way.

    Attributes:
        copy: with its row.
        number: of its sample in the shard, from 0.
        work: what makes it; None if there is nothing to make.
        file: its picture, once it is made.
        began: when it was planned, by the monotonic clock.
        taken: set when it leaves the order of the shard.
    """

    copy: Copy
    number: int
    work: asyncio.Task[None] | None = None
    file: File | None = None
    began: float = field(default_factory=time.monotonic)
    taken: asyncio.Event = field(default_factory=asyncio.Event)


class Making:
    """Makes the copies of one shard.

    Where the recipe's filters can turn a copy away, each is made and judged here; else it is shared
    with requests for the same copy, and with the store.

    Args:
        state: of the server.
        recipe: what to do.
        owner: whose request it is.
    """

    def __init__(self, state: State, recipe: Registered, owner: str) -> None:
        self._state, self._service = state, state.service
        self._recipe, self._owner = recipe, owner
        asked = recipe.editor.recipe
        self._filters = asked.filtering()
        self._judges = asked.turns_away
        self._panel: Panel | None = None

    @property
    def compares(self) -> bool:
        """Whether the copies of a sample are settled together."""
        return self._filters.compare_copies

    async def begin(
        self, copy: Copy, edit: Edit | None, number: int, group: asyncio.TaskGroup
    ) -> Item:
        """Begin to make a copy, once it is admitted. What was made before needs no admission.

        Args:
            copy: as planned.
            edit: what goes into the lanes; None if there is nothing to make.
            number: of its sample.
            group: runs the work.
        """
        self._state.metrics.asked(self._recipe.name)
        item = Item(copy, number)
        if edit is None:
            return item
        if self._state.draining:
            _fail(item, DefectError(ending().code, ending().detail))
            return item
        if self._judges:
            work = self._judged(item, edit)
        else:
            planned = await self._service.apart(partial(self._planned, copy, edit))
            if (found := await self._service.found(planned)) is not None:
                item.file = File(found.format, found.data)
                return item
            work = self._shared(item, planned)
        admission, alone = self._state.admission, edit.frames is None  # frames enter one by one
        if alone:
            try:
                await admission.enter_of_shard(edit.rows, self._owner)
            except asyncio.CancelledError:
                work.close()
                raise
        item.work = group.create_task(_told(item, work))
        if alone:
            item.work.add_done_callback(lambda _: admission.leave_of_shard(edit.rows))
        return item

    async def settle(self, items: Sequence[Item]) -> list[Row]:
        """The columns by which filters turn each copy away; none for one that is kept or failed.

        Args:
            items: made or failed; the copies of a sample together where they compete.
        """
        found: list[Row] = [{} for _ in items]
        if self._judges:
            found = await self._service.apart(partial(self._verdicts, items))
        for item, verdict in zip(items, found, strict=True):
            row, metrics = item.copy.row | verdict, self._state.metrics
            if row.get("reason_code") is None:
                metrics.served(self._recipe.name, time.monotonic() - item.began)
            else:
                metrics.refused(row["reason_code"], self._recipe.name)
        return found

    def _verdicts(self, items: Sequence[Item]) -> list[Row]:
        recipe, execution = self._recipe.editor.recipe, self._recipe.run.execution
        self._panel = self._panel or load_panel(recipe.judges, execution)
        copies = [item.copy for item in items]
        score(self._panel, copies)
        return verdicts(self._filters, copies)

    def _planned(self, copy: Copy, edit: Edit) -> Planned:
        assert copy.source is not None
        assert copy.finish is not None
        format = self._recipe.editor.recipe.format_for(copy.source.jpeg)
        return Planned(
            recipe=self._recipe,
            edit=edit,
            finish=copy.finish,
            format=format,
            etag=self._service.etag(self._recipe, copy.source, copy.row["copy"], format),
            row={name: value for name, value in copy.row.items() if name not in _PLACE},
            owner=self._owner,
        )

    async def _shared(self, item: Item, planned: Planned) -> None:
        made = await self._service.made(planned)
        item.file = File(made.format, made.data)

    async def _judged(self, item: Item, edit: Edit) -> None:
        x_0 = await self._service.run(edit, self._recipe, self._owner)
        await self._service.apart(partial(self._finish, item, x_0))

    def _finish(self, item: Item, x_0: Any) -> None:
        copy, editor = item.copy, self._recipe.editor
        copy.make(x_0)
        if copy.image is not None and copy.source is not None:
            format = editor.recipe.format_for(copy.source.jpeg)
            item.file = File(format, editor.medium.write(copy.image, format))


async def _told(item: Item, work: Coroutine[Any, Any, None]) -> None:
    """Do the work; what goes wrong with it is told in the copy's row."""
    try:
        await work
    except DefectError as defect:
        _fail(item, defect)
    except (OutOfMemoryError, ClosedError) as error:
        _fail(item, DefectError(problem_of(error).code, str(error)))


def _fail(item: Item, defect: DefectError) -> None:
    item.copy.row |= failed_row(defect, item.copy.row["copy"])
