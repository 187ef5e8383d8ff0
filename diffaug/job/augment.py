"""`augment_shards`: shards in, committed shards out, the lanes full from one into the next."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterable, Iterator

from diffaug import storage
from diffaug.diffusion.lanes import Edit
from diffaug.editor import Editor
from diffaug.errors import ConfigError, DefectError, UncommittedError
from diffaug.job.binding import Binding, panel_of
from diffaug.job.items import Item, Origin, Planned, ShardEnd
from diffaug.job.rows import draft_row, failed_rows, run_row, sample_fields, source_row
from diffaug.job.writer import Tally, Writer
from diffaug.manifest.part import Row
from diffaug.output.run import Run, SourceShard, read_run
from diffaug.output.survey import ShardReport, survey
from diffaug.pictures.codec import decode, decode_mask
from diffaug.shards import Sample, read_samples
from diffaug.storage import Fingerprint
from diffaug.threads import ahead, behind

__all__ = ["Tally", "augment_shards"]

_log = logging.getLogger(__name__)

_STEPS_BEHIND = 4
"""How many network calls' finished images may wait to be written."""


_NAMED = 20
"""How many shards that could not be read are named in the end; each is, in the log."""


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
        ConfigError: there is no run.json, or the model or a judge is not the plan's.
        UncommittedError: some shards are left to be done again.
    """
    run = run or read_run(output)
    if run is None:
        raise ConfigError(f"{storage.public_url(output)} holds no run.json: plan the job first")
    missing = survey(shards, output).missing
    if not missing:
        return
    editor = Binding.of_run(run).editor()
    panel = panel_of(run)
    tally = tally or Tally()
    run_ahead = 4 * run.execution.batch_size
    left: list[tuple[SourceShard, OSError]] = []
    with storage.scratch(output) as folder:
        writer = Writer(run, output, panel, folder, tally, left)
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
) -> Iterator[tuple[Item, Edit | None]]:
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
        yield ShardEnd(shard, outcome), None


def _plan_sample(
    sample: Sample, shard: SourceShard, shared: Row, editor: Editor
) -> Iterator[tuple[Planned, Edit | None]]:
    recipe = editor.recipe
    row = shared | source_row(sample, shard.url, recipe)
    copies = range(recipe.copies)
    try:
        picture = sample.image(recipe.image_keys)
        image = decode(picture.data, recipe.max_pixels)
        row |= {"source_width": image.width, "source_height": image.height}
        member = sample.members.get(recipe.mask_key or "")
        mask = None if member is None else decode_mask(member.data, recipe.max_pixels)
        fields = sample_fields(row)
        refused = editor.refused(fields, copies)
        wanted = [copy for copy in copies if copy not in refused]
        drafts = iter(editor.drafts(image, fields, wanted, mask))
    except DefectError as defect:
        for failed in failed_rows(row, defect, [None] if sample.key is None else copies):
            yield Planned(shard, failed), None
        return
    origin = Origin(
        image=image,
        extension=next(name for name in recipe.image_keys if name in sample.members),
        picture=picture,
        carried={
            extension: sample.members[extension]
            for extension in dict.fromkeys((recipe.label_key, *recipe.carry))
            if extension in sample.members
        },
    )
    for copy in copies:
        if copy in refused:
            (failed,) = failed_rows(row, refused[copy], [copy])
            yield Planned(shard, failed, None, origin), None
        else:
            draft = next(drafts)
            yield Planned(shard, row | draft_row(draft), draft.finish, origin), draft.edit
