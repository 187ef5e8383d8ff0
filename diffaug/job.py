"""`augment_shards`: shards in, committed shards out, the lanes full from one into the next."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug import storage
from diffaug.codec import decode, decode_mask
from diffaug.commit import ShardSink
from diffaug.edit import Editor, Finish
from diffaug.errors import ConfigError, DefectError, UncommittedError
from diffaug.judges import scores
from diffaug.lanes import Edit
from diffaug.manifest import Row
from diffaug.plan import Run, SourceShard, read_run
from diffaug.reports import ShardReport, survey
from diffaug.rows import draft_row, failed_rows, run_row, sample_fields, source_row
from diffaug.shards import Member, Sample, read_samples
from diffaug.storage import Fingerprint
from diffaug.threads import ahead, behind

__all__ = ["Tally", "augment_shards"]

_log = logging.getLogger(__name__)

_STEPS_BEHIND = 4
"""How many network calls' finished images may wait to be written."""


_NAMED = 20
"""How many shards that could not be read are named in the end; each is, in the log."""


@dataclass
class Tally:
    """Counts that move while a job runs, for whoever draws its progress."""

    images: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class _Planned:
    """One row on its way: an image in the lanes, or (without a finish) a failure passing by."""

    shard: SourceShard
    row: Row
    finish: Finish | None = None
    source: Image.Image | None = None
    members: dict[str, Member] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _ShardEnd:
    """After a shard's last row: what the shard is, or why it was not read to its end."""

    shard: SourceShard
    outcome: Fingerprint | OSError


_Item = _Planned | _ShardEnd


def augment_shards(
    shards: Iterable[SourceShard],
    output: str,
    *,
    run: Run | None = None,
    tally: Tally | None = None,
) -> Generator[ShardReport, None, None]:
    """Augment shards, yielding a report of each once it is committed.

    Shards whose manifest part is there already are passed over. A shard that storage would not
    let be read whole is left uncommitted, the others go on, and the end raises.

    Args:
        shards: which of the job's source shards, in any order.
        output: the job's OUTPUT, with its run.json.
        run: the content of that run.json, if it was read already.
        tally: counts to keep up to date.

    Raises:
        ConfigError: there is no run.json, or the model is not the plan's.
        UncommittedError: some shards are left to be done again.
    """
    run = run or read_run(output)
    if run is None:
        raise ConfigError(f"{storage.public_url(output)} holds no run.json: plan the job first")
    missing = survey(shards, output).missing
    if not missing:
        return
    editor = run.editor()
    if editor.recipe_digest != run.recipe_digest:
        raise ConfigError(f"the weights of {run.recipe.model} here are not those of the plan")
    tally = tally or Tally()
    run_ahead = 4 * run.execution.batch_size
    left: list[tuple[SourceShard, OSError]] = []
    with storage.scratch(output) as folder:
        writer = _Writer(run, output, folder, tally, left)
        finished = editor.lanes().run_steps(ahead(_read(missing, editor, run), run_ahead))
        yield from behind(writer, finished, _STEPS_BEHIND)
    if left:
        names = "; ".join(f"{shard.url}: {error}" for shard, error in left[:_NAMED])
        names += f"; and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        raise UncommittedError(
            f"{len(left)} of {len(missing)} shards could not be read and are left to be done "
            f"again by the same command: {names}"
        ) from left[0][1]


def _read(
    shards: Iterable[SourceShard], editor: Editor, run: Run
) -> Iterator[tuple[_Item, Edit | None]]:
    """The reading thread: every planned row of every shard, then the shard's end."""
    recipe = run.recipe
    shared = run_row(run)
    for shard in shards:
        masked = recipe.mask_key is None
        try:
            with storage.open_source(shard.url) as source:
                for sample in read_samples(source.stream, recipe.wants):
                    masked = masked or recipe.mask_key in sample.members
                    yield from _plan_sample(sample, shard, shared, editor)
                outcome: Fingerprint | OSError = source.fingerprint()
        except OSError as error:
            outcome = error
        if not masked:
            _log.warning(
                "no sample of %s has the member %s: nothing of it is kept by a mask",
                shard.url,
                recipe.mask_key,
            )
        yield _ShardEnd(shard, outcome), None


def _plan_sample(
    sample: Sample, shard: SourceShard, shared: Row, editor: Editor
) -> Iterator[tuple[_Planned, Edit | None]]:
    recipe = editor.recipe
    row = shared | source_row(sample, shard.url, recipe)
    copies = range(recipe.copies)
    try:
        image = decode(sample.image(recipe.image_keys).data, recipe.max_pixels)
        row |= {"source_width": image.width, "source_height": image.height}
        member = sample.members.get(recipe.mask_key or "")
        mask = None if member is None else decode_mask(member.data, recipe.max_pixels)
        fields = sample_fields(row)
        refused = editor.refused(fields, copies)
        wanted = [copy for copy in copies if copy not in refused]
        drafts = iter(editor.drafts(image, fields, wanted, mask))
    except DefectError as defect:
        for failed in failed_rows(row, defect, [None] if sample.key is None else copies):
            yield _Planned(shard, failed), None
        return
    kept = {
        extension: sample.members[extension]
        for extension in dict.fromkeys((recipe.label_key, *recipe.carry))
        if extension in sample.members and extension not in (recipe.format, "diffaug.json")
    }
    for copy in copies:
        if copy in refused:
            (failed,) = failed_rows(row, refused[copy], [copy])
            yield _Planned(shard, failed), None
        else:
            draft = next(drafts)
            made = row | draft_row(draft)
            yield _Planned(shard, made, draft.finish, image, kept), draft.edit


class _Writer:
    """The writing thread: puts each result into its shard, and commits a shard at its end."""

    def __init__(
        self,
        run: Run,
        output: str,
        folder: Path,
        tally: Tally,
        left: list[tuple[SourceShard, OSError]],
    ) -> None:
        self._run = run
        self._output = output
        self._folder = folder
        self._tally = tally
        self._left = left

    def __call__(
        self, finished: Iterator[list[tuple[_Item, NDArray[np.float32] | None]]]
    ) -> Iterator[ShardReport]:
        sink: ShardSink | None = None
        try:
            for item, made in chain.from_iterable(map(_judged, finished)):
                sink = sink or ShardSink(item.shard, self._run, self._output, self._folder)
                if isinstance(item, _Planned):
                    self._add(sink, item, *made)
                    continue
                if isinstance(item.outcome, Fingerprint):
                    yield sink.commit(item.outcome)
                else:
                    sink.discard()
                    # without its frames, which hold what had been read
                    self._left.append((item.shard, item.outcome.with_traceback(None)))
                    _log.warning("%s was not read to its end: %s", item.shard.url, item.outcome)
                sink = None
        finally:
            if sink is not None:
                sink.discard()

    def _add(self, sink: ShardSink, item: _Planned, row: Row, image: Image.Image | None) -> None:
        self._tally.images += 1
        if image is None:
            self._tally.failed += 1
            sink.add_failed(row)
        else:
            sink.add_image(row, image, item.members)


def _judged(
    step: list[tuple[_Item, NDArray[np.float32] | None]],
) -> Iterator[tuple[_Item, tuple[Row, Image.Image | None]]]:
    """What became of each item: its row so far, and its picture unless it failed."""
    outcomes = [_outcome(item, x_0) for item, x_0 in step]
    worth = iter(scores([pair for _, pair in outcomes if pair is not None]))
    for (item, _), (row, pair) in zip(step, outcomes, strict=True):
        yield item, (row, None) if pair is None else (row | next(worth), pair[1])


def _outcome(
    item: _Item, x_0: NDArray[np.float32] | None
) -> tuple[Row, tuple[Image.Image, Image.Image] | None]:
    """An item's row, and source and result where there is a result; the end of a shard has none."""
    if isinstance(item, _ShardEnd):
        return {}, None
    if item.finish is None or item.source is None or x_0 is None:
        return item.row, None
    try:
        seen = item.finish.frame.seen(item.source)
        return item.row, (seen, item.finish.picture(x_0, item.source))
    except DefectError as defect:
        (row,) = failed_rows(item.row, defect, [item.row["copy"]])
        return row, None
