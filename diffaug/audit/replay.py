"""Rebuilding images from their manifest part alone, and comparing them with it.

A row and its part's metadata suffice, together with the source shard and the model. If the part
was made on this class of device with these versions, bytes and pixels must be identical. On other
hardware or versions, identical results cannot be guaranteed, and the best possible verdict is
`near`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np
from PIL import Image

from diffaug import storage
from diffaug.diffusion.edit import Edit
from diffaug.editor import Draft, Editor, Finish, Source
from diffaug.errors import ConfigError, DefectError, DiffaugError
from diffaug.job.binding import Binding, PartRecord
from diffaug.job.rows import draft_row
from diffaug.manifest.part import Row
from diffaug.output.layout import copy_key
from diffaug.pictures.codec import decode, pixel_sha256
from diffaug.shards.members import Members
from diffaug.shards.reading import Label

__all__ = ["TOLERANCE", "Replayed", "Verdicts", "replay_parts", "replay_rows"]

TOLERANCE = {"float32": 1.0, "bfloat16": 4.0}
"""The largest distance at which a picture rebuilt elsewhere counts as `near` the stored one, by
dtype: root mean square over its pixels, in levels of 255.

Summing in another order changes a float32 result by at most 0.1 and a bfloat16 result by 0.4 to 3,
more at higher strengths (measured with other batch sizes, and without oneDNN's kernels). The
allowance for float32 leaves room for a lossy format. Pictures that share a source but not their
noise are 10 to 36 levels apart (strength 0.1 to 0.4). With few calls from near pure noise, bfloat16
results can differ by as much; they then count as `differs`.
"""

_PREDICTED = ("sampler", "steps", "condition", "seed")

Verdict = Literal["equal", "near", "differs"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """One row, and the result of rebuilding its image.

    Attributes:
        row: the manifest row.
        verdict: `equal`, if bytes and pixels are the manifest's and device class and versions are
            those of the row; `near`, if it was made elsewhere and is within TOLERANCE; otherwise
            `differs`.
        reason: for `near` and `differs`, a sentence on what differs; otherwise empty.
        elsewhere: how the row's device class and versions differ from this machine's; empty if
            they do not.
        image: the rebuilt picture; None if it could not be rebuilt.
        data: the bytes of its file; None if it could not be rebuilt.
        name: the name of that file in its tar, or the one it would have if it had been kept.
    """

    row: Row
    verdict: Verdict
    reason: str = ""
    elsewhere: str = ""
    image: Image.Image | None = None
    data: bytes | None = None
    name: str = ""

    def __str__(self) -> str:
        row = self.row
        name = f"{row['source_shard']} {row['source_key']} copy {row['copy']}"
        return f"{name}: {self.reason or self.verdict}"


@dataclass
class Verdicts:
    """Counts of replayed rows; `elsewhere` counts the near ones by how their making differs."""

    equal: int = 0
    near: int = 0
    differs: int = 0
    elsewhere: Counter[str] = field(default_factory=Counter)

    def add(self, replayed: Replayed) -> None:
        """Count one row."""
        setattr(self, replayed.verdict, getattr(self, replayed.verdict) + 1)
        if replayed.verdict == "near":
            self.elsewhere[replayed.elsewhere] += 1

    def __str__(self) -> str:
        total = self.equal + self.near + self.differs
        made = "; ".join(f"{count} made with {what}" for what, count in self.elsewhere.items())
        return (
            f"{total} replayed: {self.equal} equal, {self.near} within tolerance"
            f"{f' but not proven equal ({made})' if made else ''}, {self.differs} differ"
        )


class _MismatchError(DiffaugError):
    """The reason why a row cannot be rebuilt as recorded."""


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
            try:
                image = task.finish.picture(x_0)
            except DefectError as defect:
                yield task.differs(f"it cannot be rebuilt: {defect.reason}")
            else:
                format = editor.recipe.format_for(task.finish.source.jpeg)
                data = editor.medium.write(image, format)
                found = _judge(task, image, data, format, outputs, output)
                yield replace(found, name=_member_name(task.row, format))


def _drafted(
    tasks: Iterator[_Task], editor: Editor, sources: Members
) -> Iterator[tuple[_Task, Edit | None]]:
    for task in tasks:
        try:
            draft = _draft(task, editor, sources)
        except (_MismatchError, DefectError) as error:
            yield replace(task, error=str(error)), None
        else:
            yield replace(task, finish=draft.finish), draft.edit


def _draft(task: _Task, editor: Editor, sources: Members) -> Draft:
    row, recipe, reading = task.row, editor.recipe, editor.reading
    url, offset = str(row["source_shard"]), int(row["source_offset"])
    try:
        places = [offset]
        if reading.mask_key is not None:
            place = sources.offset(url, row["source_key"], reading.mask_key, reading.reads)
            places += [] if place is None else [place]
        found = {place: sources.read(url, place) for place in sorted(places)}
    except FileNotFoundError:
        raise _MismatchError(f"the source is gone: {url} no longer exists") from None
    except (OSError, ConfigError) as error:
        raise _MismatchError(f"the source {url} cannot be read: {error}") from None
    except DefectError as defect:
        raise _MismatchError(f"the source has changed: {url} {defect.reason}") from None
    data, *masks = (found[place] for place in places)
    if hashlib.sha256(data).hexdigest() != row["source_sha256"]:
        raise _MismatchError(
            f"the source has changed: the bytes at {offset} of {url} are not those of source_sha256"
        )
    read = editor.medium.read(data, recipe.max_pixels, recipe.background)
    source = Source(
        image=read.shown,
        stored=read.stored,
        transparency=read.transparency_in(recipe.format),
        jpeg=read.jpeg,
        label=Label(row["label"], row["label_text"]),
        key=row["source_key"],
        # whether it is still the same mask shows in sample_id
        mask=editor.medium.read_mask(masks[0], recipe.max_pixels) if masks else None,
    )
    (draft,) = editor.plan(source, [row["copy"]])
    if isinstance(draft, DefectError):
        raise draft
    made = {name: getattr(recipe, name) for name in _PREDICTED} | draft_row(draft)
    wrong = [name for name, value in made.items() if not _same(row[name], value)]
    if wrong:
        made_with = f" (it was made with {task.elsewhere})" if task.elsewhere else ""
        if "sample_id" in wrong and source.image is not source.stored:
            made_with += "; diffaug 0.1.0 did not apply its colour profile or transparency"
        raise _MismatchError(
            f"the row and its recipe disagree on {', '.join(wrong)} for this source{made_with}"
        )
    return draft


def _same(recorded: Any, made: Any) -> bool:
    if isinstance(made, float) and isinstance(recorded, float):
        near = abs(recorded - made) <= 1e-9 * max(1.0, abs(made))  # last bits depend on the device
        return recorded == made or near  # the difference of two infinities is not a number
    return bool(recorded == made)


def _member_name(row: Row, format: str) -> str:
    kept = row["output_member"]
    return f"{copy_key(row['source_key'], row['copy'])}.{format}" if kept is None else str(kept)


def _judge(
    task: _Task, image: Image.Image, data: bytes, format: str, outputs: Members, output: str | None
) -> Replayed:
    row, elsewhere = task.row, task.elsewhere
    same_bytes = hashlib.sha256(data).hexdigest() == row["output_sha256"]
    same_pixels = pixel_sha256(image) == row["output_pixel_sha256"]
    verdict: Verdict = "differs"
    if same_bytes and same_pixels:
        verdict = "near" if elsewhere else "equal"
        reason = f"made with {elsewhere}; bytes and pixels are the same" if elsewhere else ""
    elif same_bytes and format != "jpg":
        reason = "bytes are the same, but output_pixel_sha256 does not match their pixels"
    elif not elsewhere:
        what = "pixels are the same, bytes differ" if same_pixels else "pixels differ"
        reason = f"{what}, though device and versions are the same"
    else:
        try:
            apart = 0.0 if same_pixels else _apart(row, data, outputs, output)
        except _MismatchError as error:
            reason = f"made with {elsewhere}; the result differs, and {error}"
        else:
            tolerance = TOLERANCE[row["dtype"]]
            verdict = "near" if apart <= tolerance else "differs"
            reason = (
                f"made with {elsewhere}; bytes {'are the same' if same_bytes else 'differ'}, "
                f"pixels are {apart:.2g} of 255 levels apart (root mean square), "
                f"{'within' if verdict == 'near' else 'beyond'} the tolerance of {tolerance:g}"
            )
    return Replayed(
        row=row, verdict=verdict, reason=reason, elsewhere=elsewhere, image=image, data=data
    )


def _apart(row: Row, data: bytes, outputs: Members, output: str | None) -> float:
    """The distance of the stored picture from the rebuilt one: root mean square, levels of 255."""
    if output is None:
        raise _MismatchError("there is no OUTPUT to compare it with")
    tar = row["output_shard"]
    if tar is None:
        raise _MismatchError("the image, which a filter rejected, was not kept to compare it with")
    try:
        stored = outputs.read(storage.join(output, tar), row["output_offset"])
    except (OSError, DefectError) as error:
        raise _MismatchError(f"the stored image cannot be read from {tar}: {error}") from None
    if hashlib.sha256(stored).hexdigest() != row["output_sha256"]:
        raise _MismatchError(f"the stored image in {tar} is not the row's: verify the output")
    limit = row["output_width"] * row["output_height"]
    pair = [decode(file, limit).shown.convert("RGB") for file in (stored, data)]
    if pair[0].size != pair[1].size:
        raise _MismatchError(f"its size is {pair[1].size}, not {pair[0].size}")
    there, here = (np.asarray(picture, dtype=np.float64) for picture in pair)
    return float(np.sqrt(np.mean((there - here) ** 2)))
