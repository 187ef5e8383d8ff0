"""From a sample to its planned copies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from diffaug.diffusion.edit import Edit
from diffaug.editor import Draft, Editor, Source
from diffaug.errors import DefectError
from diffaug.job.copy import Copy
from diffaug.job.rows import size_row, source_row
from diffaug.job.towards import Targets
from diffaug.manifest.part import Row
from diffaug.output.run import SourceShard
from diffaug.shards import Sample

__all__ = ["copies_of"]


def copies_of(
    sample: Sample,
    shard: SourceShard,
    shared: Row,
    editor: Editor,
    number: int,
    targets: Targets | None = None,
) -> Iterator[tuple[Copy, Edit | None]]:
    """The planned copies of a sample; for a defect of the shard itself, one without a number.

    Args:
        sample: what was read.
        shard: where.
        shared: the columns that all rows of the run share.
        editor: plans the copies, each when it is asked for.
        number: of copies.
        targets: what class each is edited towards; None: its source's own.
    """
    row = shared | source_row(sample, shard.url, editor.reading)
    copies = range(number)
    try:
        source = editor.read(sample)
    except DefectError as defect:
        for copy in [None] if sample.key is None else copies:
            yield Copy.failed(shard, row, defect, copy), None
        return
    row |= size_row(source, editor.medium)
    source = replace(source, defect=source.defect or _name_taken(source, sample, editor))
    towards = None if targets is None else targets(source, copies)
    for copy, draft in zip(copies, editor.plan(source, copies, towards), strict=True):
        edit = draft.edit if isinstance(draft, Draft) else None
        yield Copy.planned(shard, row, source, copy, draft), edit


def _name_taken(source: Source, sample: Sample, editor: Editor) -> DefectError | None:
    """The defect of a sample with a member to carry that would be named like its results.

    Only `format=auto` leaves it to the sample; of any other, `refuse_unused` knows beforehand.
    """
    recipe = editor.recipe
    extension = recipe.format_for(source.jpeg)
    carried = editor.reading.carried(sample)
    if (recipe.layout, recipe.format) != ("each", "auto") or extension not in carried:
        return None
    kind = "a JPEG" if source.jpeg else "no JPEG"
    return DefectError(
        "name_taken",
        f"carry: the image is {kind}, so that format=auto gives its results the name {extension}, "
        "and a sample has a name once: choose another format, or name the member to carry "
        f"otherwise (a.mask.{extension})",
    )
