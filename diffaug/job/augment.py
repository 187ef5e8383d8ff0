"""`augment_shards`: shards in, committed shards out; lanes stay full across shard boundaries."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing

from diffaug import storage
from diffaug.diffusion.edit import Edit
from diffaug.editor import Editor
from diffaug.errors import ConfigError, OutOfMemoryError, UncommittedError
from diffaug.job.balance import copies_in
from diffaug.job.binding import Binding, panel_of
from diffaug.job.copies import copies_of
from diffaug.job.copy import Item, ShardEnd
from diffaug.job.rows import run_row
from diffaug.job.towards import targets_in
from diffaug.job.writer import Tally, Uncommitted, Writer
from diffaug.output.run import Run, SourceShard, read_run
from diffaug.output.survey import ShardReport, survey
from diffaug.shards.census import Census
from diffaug.storage import Fingerprint
from diffaug.threads import ahead, behind

__all__ = ["augment_shards"]

_COPIES_AHEAD = 4
"""How many copies are read ahead of the lanes, for each row of a batch."""

_STEPS_BEHIND = 4
"""How many network calls' finished images may wait to be written."""

_NAMED = 20
"""How many shards that could not be read the error names; the log names each."""


def augment_shards(
    shards: Iterable[SourceShard],
    output: str,
    *,
    run: Run | None = None,
    tally: Tally | None = None,
) -> Generator[ShardReport, None, None]:
    """Augment shards, yielding a report of each once it is committed.

    Shards whose manifest part is already there are skipped. Where storage fails while a shard is
    read, that shard stays uncommitted, the others continue, and the error comes at the end.

    Args:
        shards: which of the job's source shards, in any order.
        output: the job's OUTPUT, with its run.json.
        run: the content of that run.json, if it was read already.
        tally: counts to keep up to date.

    Raises:
        ConfigError: there is no run.json, or the model or a judge is not the plan's.
        UncommittedError: some shards could not be read, or a network ran out of memory; run the
            job again for the rest.
        OSError: storage failed while a shard was committed.
    """
    run = run or read_run(output)
    if run is None:
        raise ConfigError(f"{storage.public_url(output)} has no run.json: plan the job first")
    missing = survey(shards, output).missing
    if not missing:
        return
    editor = Binding.of_run(run).editor()
    panel = panel_of(run)
    left: list[Uncommitted] = []
    lanes = run.execution.batch_size if run.recipe.medium != "clip" else 1
    count = _COPIES_AHEAD * lanes  # a clip takes many lanes, and much memory
    copies = ahead(_planned(missing, editor, run), count)
    with storage.scratch(output) as folder, closing(copies):
        writer = Writer(run, output, editor.medium, panel, folder, tally or Tally())
        try:
            for outcome in behind(writer, editor.steps().run_steps(copies), _STEPS_BEHIND):
                if isinstance(outcome, Uncommitted):
                    left.append(outcome)
                else:
                    yield outcome
        except OutOfMemoryError as error:
            advice = "; another batch_size requires a new OUTPUT" if error.fits else ""
            raise UncommittedError(f"{error}; what was committed stays{advice}") from error
    if left:
        names = "; ".join(f"{one.shard.url}: {one.error}" for one in left[:_NAMED])
        names += f"; and {len(left) - _NAMED} more" if len(left) > _NAMED else ""
        raise UncommittedError(
            f"{len(left)} of {len(missing)} shards could not be read and remain for the next run "
            f"of the same command: {names}"
        ) from left[0].error


def _planned(
    shards: Iterable[SourceShard], editor: Editor, run: Run
) -> Iterator[tuple[Item, Edit | None]]:
    """The reading thread: every planned copy of every shard, then the shard's end."""
    census, shared = Census(editor.reading), run_row(run)
    copies, targets = copies_in(run), targets_in(run)
    for shard in shards:
        found = census.of(shard.url)
        try:
            with storage.open_whole(shard.url) as source:
                for sample in found.samples(source.stream):
                    number = copies(editor.reading.label(sample))
                    yield from copies_of(sample, shard, shared, editor, number, targets)
                outcome: Fingerprint | OSError = source.fingerprint()
        except OSError as error:
            outcome = error
        yield ShardEnd(shard, outcome, found.passed_over), None
