"""The command line. Exit codes: 0 done; 1 failures or differences; 2 usage or configuration."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console
from rich.table import Table

from diffaug.errors import ConfigError, DiffaugError
from diffaug.recipe import Recipe
from diffaug.version import __version__

__all__ = ["app", "main"]

OK, DIFFERS, USAGE, INTERRUPTED = 0, 1, 2, 130

app = App(
    name="diffaug",
    version=__version__,
    help="Audited, reproducible diffusion augmentation for sharded image datasets.",
)
_out = Console(soft_wrap=True, highlight=False)
_err = Console(soft_wrap=True, highlight=False, stderr=True)


def main() -> None:
    """Run the command line; every mistake of the user ends in one sentence."""
    sys.exit(_run(sys.argv[1:]))


def _run(tokens: list[str]) -> int:
    try:
        code = app(tokens, exit_on_error=False, result_action="return_value")
    except CycloptsError:
        return USAGE  # cyclopts has said it
    except ConfigError as error:
        return _say(error, USAGE)
    except DiffaugError as error:
        return _say(error, DIFFERS)
    except OSError as error:
        return _say(f"storage failed: {error}. What was committed stays; run it again", DIFFERS)
    except KeyboardInterrupt:
        return _say("interrupted; the same command continues where this one stopped", INTERRUPTED)
    return code if isinstance(code, int) else OK


def _say(error: object, code: int) -> int:
    _err.print(f"diffaug: {error}", markup=False)
    return code


def _flag(field: str) -> Parameter:
    """A flag for a recipe field: no default of its own, since the recipe file may give one."""
    info = Recipe.model_fields[field]
    default = info.get_default()
    shown = ",".join(default) if isinstance(default, tuple) else default
    help = f"{info.description} [default: {shown}]" if shown != "" else info.description
    return Parameter(help=help, group="Recipe (overrides --recipe)", show_default=False)


@app.command(usage="diffaug augment SOURCE... OUTPUT [OPTIONS]")
def augment(
    *paths: Annotated[str, Parameter(name="SOURCE... OUTPUT", show_default=False)],
    recipe: Path | None = None,
    model: Annotated[str | None, _flag("model")] = None,
    strength: Annotated[str | None, _flag("strength")] = None,
    steps: Annotated[str | None, _flag("steps")] = None,
    sampler: Annotated[str | None, _flag("sampler")] = None,
    eta: Annotated[str | None, _flag("eta")] = None,
    copies: Annotated[str | None, _flag("copies")] = None,
    seed: Annotated[str | None, _flag("seed")] = None,
    condition: Annotated[str | None, _flag("condition")] = None,
    fit: Annotated[str | None, _flag("fit")] = None,
    format: Annotated[str | None, _flag("format")] = None,
    image_key: Annotated[str | None, _flag("image_key")] = None,
    label_key: Annotated[str | None, _flag("label_key")] = None,
    carry: Annotated[str | None, _flag("carry")] = None,
    max_pixels: Annotated[str | None, _flag("max_pixels")] = None,
    batch_size: int | None = None,
    dtype: str | None = None,
    device: str | None = None,
    max_failed: float = 0.01,
    allow_mixed: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Augment shards into an audited output; run it again to finish what is missing.

    Parameters
    ----------
    paths
        one or more shards (files, globs, brace ranges or lists, on any fsspec URL), then the
        output folder or URL
    recipe
        YAML file of recipe fields
    batch_size
        lanes in the one fixed batch shape [default: 32]
    dtype
        float32 or bfloat16 [default: what this machine is fast at]
    device
        cpu, cuda or cuda:N [default: cuda where there is one]
    max_failed
        exit with 1 when more than this fraction of the images failed
    allow_mixed
        go on with an output begun on another kind of device or other versions
    dry_run
        say what would be done, and do nothing
    """
    given = {name: value for name, value in locals().items() if name in Recipe.model_fields}
    fields = {name: value for name, value in given.items() if value is not None}
    if len(paths) < 2:
        raise ConfigError("augment wants SOURCE... OUTPUT: at least one shard, then the output")
    if not 0 <= max_failed <= 1:
        raise ConfigError(f"--max-failed is a fraction in [0, 1], got {max_failed:g}")
    *sources, output = paths
    made = Recipe.from_yaml(recipe, **fields) if recipe else Recipe.of(fields)

    from diffaug.commit import uncommitted
    from diffaug.job import Tally, augment_shards
    from diffaug.plan import freeze, plan_run
    from diffaug.progress import follow
    from diffaug.summary import finish

    run = plan_run(
        sources,
        output,
        made,
        batch_size=batch_size,
        dtype=dtype,
        device=device,
        allow_mixed=allow_mixed,
    )
    if dry_run:
        return _show_plan(run, len(uncommitted(run.sources, output)), output)
    run = freeze(run, output)
    missing, tally, started = uncommitted(run.sources, output), Tally(), time.monotonic()
    for report in follow(
        augment_shards(missing, output, run=run, tally=tally), len(missing), tally, _err
    ):
        if not _err.is_terminal:
            _err.print(f"{report.stem}: {report.ok} ok, {report.failed} failed", markup=False)
    summary = finish(run, output)
    seconds = time.monotonic() - started
    _out.print(str(summary))
    if tally.images:
        _out.print(f"{tally.images} images now, {tally.images / seconds:.1f} a second")
    if summary.failed_fraction > max_failed:
        _err.print(
            f"diffaug: {summary.failed} of {summary.planned} failed, more than "
            f"--max-failed {max_failed:g}: see reason in {output}/manifest",
            markup=False,
        )
        return DIFFERS
    return OK


def _show_plan(run: Any, missing: int, output: str) -> int:
    _out.print(f"{missing} of {len(run.sources)} shards to do, into {output}", markup=False)
    _out.print(f"recipe {run.recipe_digest[:16]}: {run.recipe.model_dump_json()}", markup=False)
    _out.print(f"on {run.device_class}: {run.execution.model_dump_json()}", markup=False)
    return OK


@app.command
def verify(
    output: str,
    *,
    replay: int = 0,
    clean: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Hash every output again and compare with the manifest; exit 1 on any difference.

    Parameters
    ----------
    output
        folder or URL of an output
    replay
        make this many images again, spread evenly over the output, from their manifest parts
        alone (with source and model), and compare pixels and bytes
    clean
        first remove the tars and parts that nothing names and what killed jobs left unfinished;
        not while a job is writing to the output
    """
    from diffaug.clean import clean as remove_strays
    from diffaug.plan import the_run
    from diffaug.progress import counted
    from diffaug.verify import verify as check

    if replay < 0:
        raise ConfigError(f"--replay is a number of images, 0 or more, got {replay}")
    for removed in remove_strays(output) if clean else ():
        _out.print(f"removed {removed}", markup=False)
    differences, stems, broken = 0, [], set()
    shards = len(the_run(output).sources)
    for name, found in counted(check(output), shards + 1, "checking", _err):
        if name != "shards/":
            stems.append(name)
        differences += len(found)
        for difference in found:
            _out.print(str(difference), markup=False)
            if difference.where == f"manifest/{name}.parquet":
                broken.add(name)
    if replay:
        differences += _replay_some(output, replay, [stem for stem in stems if stem not in broken])
    _out.print(f"{len(stems)} shards checked, {differences} differences")
    return DIFFERS if differences else OK


def _replay_some(output: str, number: int, stems: list[str]) -> int:
    """Make images of these shards again, and say which differ; how many do."""
    from diffaug.pick import ok_counts, picked_rows, spread
    from diffaug.progress import counted
    from diffaug.replay import Tally, replay_parts

    tally = Tally()
    picks = spread(ok_counts(output, stems), number)
    rebuilt = replay_parts(picked_rows(output, picks), output)
    total = sum(len(places) for places in picks.values())
    for replayed in counted(rebuilt, total, "replaying", _err):
        tally.add(replayed)
        if replayed.verdict == "differs":
            _out.print(str(replayed), markup=False)
    _out.print(str(tally), markup=False)
    return tally.differs


@app.command
def replay(
    output: str,
    sample_id: str,
    *,
    file: Annotated[Path | None, Parameter(name=["--file", "-o"])] = None,
) -> int:
    """Make one image again from its manifest part alone, and compare it with what is recorded.

    Exit 0 when it is equal, or within the tolerance where it was made elsewhere; 1 when it
    differs; 2 when there is no such image.

    Parameters
    ----------
    output
        folder or URL of an output
    sample_id
        as the manifest has it: whole, or at least the first 8 characters
    file
        where to write the image, replacing what is there [default: its name in its tar, in the
        current folder]
    """
    from diffaug.pick import find_sample
    from diffaug.replay import replay_rows

    metadata, row = find_sample(output, sample_id)
    (replayed,) = replay_rows([row], metadata, output)
    if replayed.data is not None:
        path = file or Path(row["output_member"].rpartition("/")[2])
        try:
            path.write_bytes(replayed.data)
        except OSError as error:
            raise ConfigError(
                f"cannot write {path}: {error.strerror}: give another FILE with -o"
            ) from None
        _out.print(f"wrote {path}", markup=False)
    if replayed.verdict == "equal":
        _out.print("equal: its bytes and pixels are the manifest's")
    else:
        _out.print(f"{replayed.verdict}: {replayed}", markup=False)
    return DIFFERS if replayed.verdict == "differs" else OK


@app.command
def models() -> int:
    """List the models that come with diffaug; any local diffusers folder or hub name works too."""
    from diffaug.models import find_checkpoint, shipped_cards

    table = Table("model", "size", "licence", "classes", "suggested", "digest", box=None)
    for card in shipped_cards():
        suggested = " ".join(f"{name}={value}" for name, value in card.suggested.items())
        digest = find_checkpoint(card.name).digest[:12]
        table.add_row(card.name, card.size, card.licence, str(len(card.classes)), suggested, digest)
    _out.print(table)
    return OK
