"""Removing from an output the files that no manifest part names, and nothing else."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from diffaug import storage
from diffaug.audit.verify import Difference, strays
from diffaug.errors import ConfigError, UncommittedError
from diffaug.manifest.part import check_part
from diffaug.output.layout import Output, part_path, stem_of_tar
from diffaug.output.run import the_run
from diffaug.output.survey import read_report

__all__ = ["clean"]


def clean(output: str) -> Iterator[Difference]:
    """Remove stray tars and parts, and the unfinished files of killed jobs; yield each one removed.

    These are never removed:

    - a tar that any readable part names
    - a tar whose own part exists but cannot be read
    - a part that is the whole commit of a shard which the plan does not have
    - in an object store, where a running job cannot be seen, the tar of a planned shard that is
      not committed yet

    Raises:
        ConfigError: it is not the output of a job, or a job is writing to it now.
    """
    run = the_run(output)
    leftovers = storage.leftovers(output)
    held = [path.name for path, alive in leftovers.items() if alive]
    if held:
        raise ConfigError(
            f"a job is writing to {storage.public_url(output)} now ({held[0]} is in use): clean it "
            "after the job has ended"
        )
    for path in leftovers:
        _remove(path)
        yield Difference(path.name, "a killed job left it unfinished")
    planned = {shard.stem for shard in run.sources}
    for stray in strays(output, run):
        if not _keep(output, stray.where, planned):
            storage.remove(Output(output).at(stray.where))
            yield stray


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _keep(output: str, name: str, planned: set[str]) -> bool:
    if name.endswith(".parquet"):
        return _is_commit(output, name)
    stem = stem_of_tar(name)
    if stem is None:
        return False
    storage.forget_listings(output)
    part = Output(output).part(stem)
    try:
        return name in read_report(part).tars  # committed since the parts were listed
    except FileNotFoundError:
        return not storage.is_local(output) and stem in planned
    except (UncommittedError, OSError):
        return True


def _is_commit(output: str, name: str) -> bool:
    """Whether a part is whole, and has the name that belongs to it."""
    try:
        metadata, _ = check_part(storage.read_bytes(Output(output).at(name)))
    except (pa.ArrowException, ValueError, KeyError, TypeError, OSError):
        return False
    return part_path(metadata["report"]["stem"]) == name
