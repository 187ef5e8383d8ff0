"""`diffaug augment`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from diffaug import storage
from diffaug.cli.app import DIFFERS, OK, app, err, out
from diffaug.cli.flags import Flags
from diffaug.cli.folders import packed
from diffaug.cli.progress import Counts, counted
from diffaug.cli.steps import advise, command, not_known
from diffaug.errors import ConfigError, require_extra
from diffaug.recipe import Recipe

if TYPE_CHECKING:
    from diffaug.job import Job
    from diffaug.job.estimate import Estimate
    from diffaug.output.run import Run
    from diffaug.output.summary import Summary
    from diffaug.output.survey import ShardReport

__all__ = ["augment"]


class RecipeFlags(Flags, of=Recipe, leading_hyphen={"keep_best_by"}):
    """The flags of a recipe."""


_NONE_GIVEN = RecipeFlags()


@app.command(usage="diffaug augment SOURCE... OUTPUT [OPTIONS]")
def augment(
    *paths: Annotated[str, Parameter(name="SOURCE... OUTPUT", show_default=False)],
    flags: RecipeFlags = _NONE_GIVEN,
    recipe: Path | None = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    max_failed: float = 0.01,
    allow_mixed: Annotated[bool, Parameter(negative=())] = False,
    classes_as_numbered: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    pilot: int | None = None,
    part: str | None = None,
    redo: Annotated[list[str] | None, Parameter(negative=())] = None,
) -> int:
    """Augment shards into an audited output; run it again to finish what is missing.

    Parameters
    ----------
    paths
        one or more shards (files, globs, brace ranges or lists, on any fsspec URL) or folders of
        pictures or of class folders, which are packed into OUTPUT-source first; then the output
        folder or URL
    recipe
        YAML file of recipe fields
    batch_size
        lanes in the one fixed batch shape [default: 32, and 4 where there are few images]
    dtype
        float32 or bfloat16 [default: the faster one on this machine]
    device
        cpu, cuda or cuda:N [default: cuda if available]
    max_failed
        exit with 1 when more than this fraction of the images failed
    allow_mixed
        continue an output that was started on another kind of device or with other versions
    classes_as_numbered
        with --condition label: the sources number their classes as the model does, although the
        names that are known of both differ
    dry_run
        print the plan and an estimate of its time and size, from a few images; report a disk that
        is too small; write nothing, but for the shards of a folder of pictures
    pilot
        augment this many images at several strengths, spread over shards and classes; print the
        scores, the cost of the whole job and the best strength; do nothing else
    part
        I/N: do only the I-th of N parts of the job's shards, where other processes do the others;
        the exit status is about this part, and whoever commits the last shard writes shards.txt
    redo
        withdraw what was made of this shard, a source of the job or its stem in run.json, and do it
        again, because its source has changed; what was made of the others stays
    """
    from diffaug.job.portion import WHOLE, Portion

    if len(paths) < 2:
        raise ConfigError(
            "augment requires SOURCE... OUTPUT: at least one shard or folder of pictures, then the "
            "output"
        )
    if not 0 <= max_failed <= 1:
        raise ConfigError(f"--max-failed must be a fraction in [0, 1], got {max_failed:g}")
    if pilot is not None and redo:
        raise ConfigError("--redo does nothing with --pilot: leave it out")
    if device is not None and ("," in device or device == "all"):
        raise ConfigError(
            f"--device {device}: a command uses one device. For several, start it once for each, "
            "with --part I/N and CUDA_VISIBLE_DEVICES, or run the flow with runner=processes"
        )
    portion = WHOLE if part is None else Portion.parse(part)
    if part is not None and (redo or pilot is not None):
        other = "--redo" if redo else "--pilot"
        raise ConfigError(
            f"--part and {other} do not go together: give {other} in a run of its own"
        )
    if pilot is not None:
        if dry_run:
            raise ConfigError(
                "--dry-run makes no image and --pilot makes some: give one of the two"
            )
        require_extra("augment --pilot", "report", "jinja2", "pandas")
    *sources, output = paths
    fields = flags.given()
    made = Recipe.from_yaml(recipe, **fields) if recipe else Recipe.of(fields)

    from diffaug.job import Job, balance, towards
    from diffaug.job.unused import refuse_unused

    (shards,), folders = packed(output, sources, max_pixels=made.max_pixels)
    job = Job.plan(
        shards,
        output,
        made,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        allow_mixed=allow_mixed,
        classes_as_numbered=classes_as_numbered,
        redo=redo or (),
        portion=portion,
        counting=lambda urls, total: counted(urls, total, "counting classes", err),
    )
    if job.suggestion:
        err.print(str(job.suggestion), "suggested", **job.suggestion.fields)
    if (by_class := job.planned.class_counts) is not None:
        planned = job.planned.recipe
        if planned.balance == "classes":
            err.print(balance.described(planned, by_class), "balanced")
        if planned.to_class == "rarer":
            err.print(towards.described(planned, by_class), "towards")
    if pilot is not None:  # tries every strength, however many copies there are
        return _pilot(job, pilot, had_strength="strength" in fields)
    refuse_unused(made, job.planned.recipe, output, fields)
    if dry_run:
        code = _show_plan(job)
        advise("next: the same command without --dry-run")
        return code
    started, run = time.monotonic(), job.freeze()
    counts = Counts(job.tally, "images", "filtered", "failed", "passed_over")
    for report in counted(job.run(), len(job.missing), "augmenting shards", err, counts):
        if not err.is_live:
            line = f"{report.stem}: {_counts(report, run)}"
            err.print(line, "shard", shard=report.stem, **_facts(report))
    summary = whole = job.finish()
    seconds = time.monotonic() - started
    out.print(str(whole))
    if part is not None:
        summary = job.summary()
        out.print(f"part {portion}: {summary}")
    err.emit("summary", **_facts(summary), planned=summary.planned, shards=summary.shards)
    if images := job.tally.images:
        out.print(f"{images} {run.recipe.noun}s now, {images / seconds:.1f} a second")
    if summary.failed_fraction > max_failed:
        err.print(
            f"diffaug: {summary.failed} of {summary.planned} failed, more than "
            f"--max-failed {max_failed:g}: see reason in {output}/manifest"
            if summary.planned
            else "diffaug: the source has no sample: check SOURCE, image_key and label_key"
        )
        return DIFFERS
    for folder in folders:
        if folder.failed_fraction > max_failed:
            err.print(
                f"diffaug: {len(folder.left_out)} of the pictures of {folder.folder} left out, "
                f"more than --max-failed {max_failed:g}"
            )
            return DIFFERS
    if whole.complete:
        _advise(run, sources, output, classes_as_numbered=classes_as_numbered)
    return OK


def _advise(run: Run, sources: list[str], output: str, *, classes_as_numbered: bool) -> None:
    from diffaug.job.binding import Binding

    given = list(map(storage.public_url, sources))
    real = given[0] if len(given) == 1 else given
    card = Binding.of_run(run).checkpoint().card
    helps = not_known(run.recipe, card, sources, classes_as_numbered=classes_as_numbered)
    advise(
        *([helps] if run.recipe.medium != "text" else []),  # evaluate takes no texts
        f"next: {command('report', output)}",
        f"in a training: diffaug.AugmentedDataset({storage.public_url(output)!r}, real={real!r})",
    )


def _facts(counts: ShardReport | Summary) -> dict[str, int]:
    names = ("ok", "filtered", "failed", "passed_over")
    return {name: getattr(counts, name) for name in names}


def _counts(report: ShardReport, run: Run) -> str:
    filtered = f"{report.filtered} filtered, " if run.recipe.turns_away else ""
    passed = f", {report.passed_over} passed over" if report.passed_over else ""
    return f"{report.ok} made, {filtered}{report.failed} failed{passed}"


def _show_plan(job: Job) -> int:
    from diffaug.job.estimate import estimate

    run, missing = job.planned, job.missing
    shards = f"{len(missing)} of {len(job.shards)} shards to do"
    out.print(f"{shards}, into {job.output}")
    if missing:
        found = estimate(run, missing)
        out.print(str(found))
        _warn(found, job.output)
    out.print(f"recipe {run.recipe_digest[:16]}: {run.recipe.model_dump_json()}")
    out.print(f"on {run.device_class}: {run.execution.model_dump_json()}")
    return OK


def _pilot(job: Job, count: int, *, had_strength: bool) -> int:
    from diffaug.cli.pilot import tables
    from diffaug.job.estimate import estimate
    from diffaug.job.pilot import run_pilot

    if count < 1:
        raise ConfigError(f"--pilot is the number of images to try, at least 1, got {count}")
    found = run_pilot(job.planned, job.output, count)
    for table in tables(found):
        out.print(table)
    failed = found.rows[found.rows["status"] == "failed"]
    noun = job.planned.recipe.noun
    out.print(f"{len(found.rows)} {noun}s tried, {len(failed)} of them failed")
    if len(failed):
        out.print(f"the first failed because {failed['reason'].iloc[0]}")
    if found.sheet:
        out.print(f"{'texts' if noun == 'text' else 'pictures'}: {found.sheet}")
    whole = estimate(job.planned, job.planned.sources)
    out.print(f"the whole job: {whole}")
    _warn(whole, job.output)
    out.print(found.choice.sentence)
    strength = "S" if found.choice.strength is None else f"{found.choice.strength:g}"
    instead = f"--pilot {count}" + (" and of its --strength" if had_strength else "")
    advise(f"next: the same command with --strength {strength} instead of {instead}")
    return OK


def _warn(found: Estimate, output: str) -> None:
    if shortage := found.shortage(output):
        err.print(f"diffaug: {shortage}", "shortage")
