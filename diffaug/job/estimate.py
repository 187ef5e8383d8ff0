"""An estimate of a job's size, from a few of its images and a few seconds of its network."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import cycle, islice
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray

from diffaug import storage
from diffaug.diffusion.batched import at_once
from diffaug.editor import Draft, Editor
from diffaug.errors import DefectError
from diffaug.job.balance import average_copies, copies_in
from diffaug.job.binding import Binding, panel_of
from diffaug.job.towards import Targets, targets_in
from diffaug.judges import Candidate
from diffaug.output.run import Run, SourceShard
from diffaug.output.select import evenly
from diffaug.shards import Sample
from diffaug.shards.census import Census

__all__ = ["Estimate", "estimate", "hours", "megabytes"]

_SHARDS, _SAMPLES = 3, 200
"""How many shards are read, and how many samples of each at most."""

_CLIPS = 4
"""The same of clips, which are held in memory whole."""

_SECONDS = 2.0
"""How long the network is timed, at least."""

_ENCODED = 32
"""How many results are made, scored and encoded at most."""

_BLOCK = 512
_LINEAGE = 4 * _BLOCK
"""The size of an image's short lineage in a tar, header included."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What is still to do, approximately.

    Attributes:
        shards: their number, which is exact.
        images: planned rows, including those that will fail.
        calls: network calls, counted by image.
        seconds: on one machine like this one, or on workers that are as fast together.
        source_bytes: size of those shards.
        output_bytes: size of the tars, if no image is rejected or all rejects are kept.
    """

    shards: int
    images: int
    calls: int
    seconds: float
    source_bytes: int
    output_bytes: int

    def __str__(self) -> str:
        return (
            f"about {self.images:,} images, {self.calls:,} network calls of one image, "
            f"{hours(self.seconds)}, {megabytes(self.output_bytes)} of shards from "
            f"{megabytes(self.source_bytes)}"
        )

    def shortage(self, output: str) -> str | None:
        """A sentence if the disk of a local OUTPUT is too small; None on other stores, too."""
        free = storage.free_bytes(output)
        if free is None or free >= self.output_bytes:
            return None
        return (
            f"the shards take about {megabytes(self.output_bytes)}, and the disk of "
            f"{storage.public_url(output)} has {megabytes(free)} free: make room, or choose an "
            "OUTPUT elsewhere"
        )


def estimate(run: Run, missing: Sequence[SourceShard]) -> Estimate:
    """Read a few of the missing shards, and time the network on their images.

    The number of images is extrapolated from those shards, by size where the store reports sizes.
    Decoding, making, scoring and encoding pictures are timed too, since they take cores from the
    network. Waiting for a store is not counted.

    Raises:
        OSError: storage failed.
    """
    editor = Binding.of_run(run).editor()
    copies_of = copies_in(run)
    samples = read = wanted = 0
    ahead = 0.0  # seconds of decoding, fitting and drawing noise
    drafts: list[Draft] = []  # to time the network on
    enough = 2 * run.execution.batch_size * at_once(editor.device)
    if run.recipe.medium == "clip":
        enough = _CLIPS
    planned = calls = 0
    carried = 0.0  # bytes of the members that go with the drafts
    census, targets = Census(editor.reading), targets_in(run)
    for shard in (missing[place] for place in evenly(len(missing), _SHARDS)):
        with storage.open_whole(shard.url) as source:
            looked_at = _CLIPS if run.recipe.medium == "clip" else _SAMPLES
            for sample in islice(census.of(shard.url).samples(source.stream), looked_at):
                if sample.key is None:
                    continue
                copies = copies_of(editor.reading.label(sample))
                samples, wanted, began = samples + 1, wanted + copies, time.monotonic()
                found = _drafts(sample, editor, copies, targets)
                ahead += time.monotonic() - began
                if found:
                    planned += len(found)
                    calls += sum(draft.edit.rows for draft in found)
                    drafts += found[: enough - len(drafts)]
                    carried += len(found) * _carried(sample, editor, copies)
            read += source.bytes_read
    source_bytes = _bytes(missing, read)
    each = wanted / samples if samples else 0.0
    if len(missing) == len(run.sources) and run.class_counts is not None:
        each = average_copies(run.recipe, run.class_counts)  # where shards are sorted by class
    images = round(samples / read * source_bytes * each) if samples else 0
    nothing = Estimate(
        shards=len(missing),
        images=images,
        calls=0,
        seconds=0.0,
        source_bytes=round(source_bytes),
        output_bytes=0,
    )
    if not drafts:
        return nothing
    good = planned / wanted
    needed = images * good * calls / planned
    rates, device = _calibrate(editor, drafts, run), editor.device
    made = images * good
    seconds = _together(needed / rates.calls, made * ahead / planned, made * rates.behind, device)
    return replace(
        nothing,
        calls=round(needed),
        seconds=seconds + made * rates.judging,
        output_bytes=round(made * (rates.encoded + _LINEAGE + carried / planned)),
    )


def _bytes(shards: Sequence[SourceShard], read: int) -> float:
    """The size of these shards; unless the store reports it, as if those read were read whole."""
    sizes = [stat.size for stat in storage.stats(shard.url for shard in shards).values()]
    known = [size for size in sizes if size is not None]
    return len(shards) * (fmean(known) if known else read / min(_SHARDS, len(shards)))


def _drafts(sample: Sample, editor: Editor, copies: int, targets: Targets | None) -> list[Draft]:
    """The copies of a sample that can be made, of so many."""
    try:
        source = editor.read(sample)
        towards = None if targets is None else targets(source, range(copies))
        planned = editor.plan(source, range(copies), towards)
        return [draft for draft in planned if isinstance(draft, Draft)]
    except DefectError:
        return []


def _carried(sample: Sample, editor: Editor, copies: int) -> float:
    """What the members carried with one image take in a tar; in the paired layout, its share."""
    members = editor.reading.carried(sample).values()
    carried = sum(_in_tar(len(member.data)) for member in members)
    if editor.recipe.layout == "each":
        return carried
    picture = _in_tar(len(editor.reading.image(sample).data))
    return (carried + picture) / copies


def hours(seconds: float) -> str:
    """How long a job takes, in words."""
    return f"{timedelta(seconds=round(seconds))} on this machine (h:mm:ss)"


def megabytes(count: float) -> str:
    """A number of bytes in MB or GB."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"


def _in_tar(size: int) -> int:
    return _BLOCK + -(-size // _BLOCK) * _BLOCK


@dataclass(frozen=True, kw_only=True)
class _Rates:
    """What was measured of a few images.

    Attributes:
        calls: image-calls a second with all lanes full, and nothing else to do.
        behind: how long making, scoring and encoding a picture takes, in seconds.
        judging: how long the recipe's judges take for one, in seconds.
        encoded: what an image takes in a tar, in bytes.
    """

    calls: float
    behind: float
    judging: float
    encoded: float


def _calibrate(editor: Editor, drafts: list[Draft], run: Run) -> _Rates:
    steps = editor.steps().run_steps((draft, draft.edit) for draft in cycle(drafts))
    next(steps)
    results: list[tuple[Draft, NDArray[np.float32]]] = []
    calls, started = 0, time.monotonic()
    for finished in steps:
        for draft, x_0 in finished:
            calls += draft.edit.rows
            if x_0 is not None and len(results) < len(drafts):
                results.append((draft, x_0))
        if (seconds := time.monotonic() - started) >= _SECONDS:
            break
    sizes, asked, began = [], [], time.monotonic()
    for draft, x_0 in (results[place] for place in evenly(len(results), _ENCODED)):
        try:
            picture = draft.finish.picture(x_0)
            format = editor.recipe.format_for(draft.finish.source.jpeg)
            sizes.append(_in_tar(len(editor.medium.write(picture, format))))
        except DefectError:
            continue
        source, shown = draft.finish.seen(), draft.finish.shown(picture)
        editor.medium.compare([(source, shown)])
        asked.append(Candidate(source=source, output=shown, label=0, label_text="a text"))
    behind = (time.monotonic() - began) / max(1, len(asked))
    return _Rates(
        calls=calls / seconds,
        behind=behind,
        judging=_judging(run, asked),
        encoded=fmean(sizes) if sizes else 0.0,
    )


def _together(network: float, ahead: float, behind: float, device: torch.device) -> float:
    """How long a job takes of which these three run side by side, in seconds.

    On a CPU the network keeps every core busy that the two helper threads leave it. On a GPU it
    costs nothing that they compute meanwhile. Neither of them is ever on more than one core.
    """
    cores = at_once(device)
    shared = network + (ahead + behind) / cores if device.type == "cpu" else network
    return max(shared, ahead, behind)


def _judging(run: Run, asked: list[Candidate]) -> float:
    """How long the recipe's judges take for a result, when given many at a time."""
    if not run.recipe.judges or not asked:
        return 0.0
    panel = panel_of(run)
    several = list(islice(cycle(asked), max(panel.rows, len(asked))))
    panel(several)
    started = time.monotonic()
    panel(several)
    return (time.monotonic() - started) / len(several)
