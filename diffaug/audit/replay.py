"""Rebuilding images from their manifest part alone, and comparing them with it.

A row and its part's metadata suffice, together with the source shard and the model. If the part
was made on this class of device with these versions, bytes and pixels must be identical. On other
hardware or versions, identical results cannot be guaranteed, and the best possible verdict is
`near`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import Any

from diffaug import storage
from diffaug.audit.rebuild import plan_again, rebuilt
from diffaug.audit.verdicts import MismatchError, Replayed
from diffaug.diffusion.edit import Edit
from diffaug.editor import Draft, Editor, Finish
from diffaug.errors import ConfigError, DefectError
from diffaug.job.binding import Binding, PartRecord
from diffaug.manifest.part import Row
from diffaug.shards.members import Members

__all__ = ["replay_parts", "replay_rows"]


@dataclass(frozen=True, slots=True)
class _Task:
    """A row on its way through the lanes, or past them with the reason it cannot be rebuilt."""

    row: Row
    binding: Binding | None
    elsewhere: str = ""
    error: str = ""
    finish: Finish | None = None

    def differs(self, reason: str) -> Replayed:
        return Replayed(row=self.row, verdict="differs", reason=reason, elsewhere=self.elsewhere)


def replay_rows(
    rows: Iterable[Row], metadata: Mapping[str, Any], output: str | None = None
) -> Iterator[Replayed]:
    """Rebuild the images of rows of one manifest part, in order.

    Args:
        rows: rows that have an image; if they come in the part's order, its source is read once
            from start to end.
        metadata: the part's `diffaug.*` metadata (see `manifest.part.read_metadata`).
        output: OUTPUT, in whose tars a picture made elsewhere finds the stored one to compare
            with; without it, such a picture differs unless it is identical.

    Yields:
        one result for each row. A row that cannot be rebuilt differs, and the reason is given.
    """
    return replay_parts([(metadata, rows)], output)


def replay_parts(
    parts: Iterable[tuple[Mapping[str, Any], Iterable[Row]]], output: str | None = None
) -> Iterator[Replayed]:
    """Rebuild images of several parts, keeping the lanes full from one part to the next.

    Args:
        parts: (metadata, rows) of each part; read as lanes become free.
        output: see `replay_rows`.
    """
    tasks = (task for metadata, rows in parts for task in _tasks(metadata, rows))
    for binding, group in groupby(tasks, key=lambda task: task.binding):
        yield from _replay(group, binding, output)


def _tasks(metadata: Mapping[str, Any], rows: Iterable[Row]) -> Iterator[_Task]:
    try:
        part = PartRecord(metadata)
    except ConfigError as error:
        reason = str(error)
        yield from (_Task(row, None, error=reason) for row in rows)
        return
    for row in rows:
        if row["output_sha256"] is None:
            yield _Task(row, None, error=f"the row is {row['status']} and has no image")
            continue
        try:
            binding = Binding.of_row(part, row)
        except ConfigError as error:
            yield _Task(row, None, error=str(error))
        else:
            yield _Task(row, binding, part.elsewhere(row, binding.execution))


def _replay(
    tasks: Iterator[_Task], binding: Binding | None, output: str | None
) -> Iterator[Replayed]:
    """Rebuild the rows of one binding; without it, or without its model, every row differs."""
    editor, error = None, ""
    try:
        editor = binding.editor() if binding else None
    except ConfigError as mistake:
        error = str(mistake)
    if editor is None:
        yield from (task.differs(task.error or error) for task in tasks)
        return
    with Members() as sources, Members() as outputs:
        for task, x_0 in editor.steps().run(_drafted(tasks, editor, sources)):
            if task.finish is None or x_0 is None:
                yield task.differs(task.error)
                continue
            stored = partial(_stored, task.row, outputs, output)
            yield rebuilt(task.row, editor, task.finish, x_0, task.elsewhere, stored)


def _drafted(
    tasks: Iterator[_Task], editor: Editor, sources: Members
) -> Iterator[tuple[_Task, Edit | None]]:
    for task in tasks:
        try:
            draft = _draft(task, editor, sources)
        except (MismatchError, DefectError) as error:
            yield replace(task, error=str(error)), None
        else:
            yield replace(task, finish=draft.finish), draft.edit


def _draft(task: _Task, editor: Editor, sources: Members) -> Draft:
    row, reading = task.row, editor.reading
    url, offset = str(row["source_shard"]), int(row["source_offset"])
    try:
        places = [offset]
        if reading.mask_key is not None:
            place = sources.offset(url, row["source_key"], reading.mask_key, reading.reads)
            places += [] if place is None else [place]
        found = {place: sources.read(url, place) for place in sorted(places)}
    except FileNotFoundError:
        raise MismatchError(f"the source is gone: {url} no longer exists") from None
    except (OSError, ConfigError) as error:
        raise MismatchError(f"the source {url} cannot be read: {error}") from None
    except DefectError as defect:
        raise MismatchError(f"the source has changed: {url} {defect.reason}") from None
    data, *masks = (found[place] for place in places)
    if hashlib.sha256(data).hexdigest() != row["source_sha256"]:
        raise MismatchError(
            f"the source has changed: the bytes at {offset} of {url} are not those of source_sha256"
        )
    return plan_again(row, editor, data, masks[0] if masks else None, task.elsewhere)


def _stored(row: Row, outputs: Members, output: str | None) -> bytes:
    """The file in OUTPUT's tar to measure a distance from."""
    if output is None:
        raise MismatchError("there is no OUTPUT to compare it with")
    tar = row["output_shard"]
    if tar is None:
        raise MismatchError("the image, which a filter rejected, was not kept to compare it with")
    try:
        stored = outputs.read(storage.join(output, tar), row["output_offset"])
    except (OSError, DefectError) as error:
        raise MismatchError(f"the stored image cannot be read from {tar}: {error}") from None
    if hashlib.sha256(stored).hexdigest() != row["output_sha256"]:
        raise MismatchError(f"the stored image in {tar} is not the row's: verify the output")
    return stored
