"""`diffaug verify` and `diffaug replay`: does the output match its manifest?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from diffaug.cli.app import DIFFERS, OK, app, err, out
from diffaug.cli.progress import Counts, counted
from diffaug.cli.steps import advise, command
from diffaug.errors import ConfigError

if TYPE_CHECKING:
    from diffaug.audit.verdicts import Replayed
    from diffaug.audit.verify import Difference

__all__ = ["replay", "verify"]


@app.command
def verify(
    output: str,
    *,
    replay: int = 0,
    clean: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Hash every output file again and compare with the manifest; exit 1 on any difference.

    Parameters
    ----------
    output
        folder or URL of an output
    replay
        make this many images again, spread evenly over the output, from only their manifest parts,
        the source and the model; compare pixels and bytes
    clean
        first remove unreferenced tars and parts, and the unfinished files of killed jobs; never use
        it while a job is writing to the output
    """
    from diffaug.audit.clean import clean as remove_strays
    from diffaug.audit.verify import rest, verify_shards
    from diffaug.output.run import the_run

    if replay < 0:
        raise ConfigError(f"--replay must be a number of images, 0 or more, got {replay}")
    for removed in remove_strays(output) if clean else ():
        out.print(f"removed {removed}")
    run, differences, replayable = the_run(output), 0, []
    checks = verify_shards(output, run.sources)
    for checked in counted(checks, len(run.sources), "checking shards", err):
        differences += _shown(checked.differences)
        if checked.has_rows:
            replayable.append(checked.stem)
    differences += _shown(rest(output, run))
    if replay:
        differences += _replay_some(output, replay, replayable)
    out.print(f"{len(run.sources)} shards checked, {differences} differences")
    if differences:
        return DIFFERS
    further = ("export", output) if replay else ("verify", output, "--replay", "5")
    advise(f"next: {command(*further)}")
    return OK


def _shown(differences: list[Difference]) -> int:
    """Print differences, and return their number."""
    for difference in differences:
        out.print(str(difference))
    return len(differences)


def _replay_some(output: str, number: int, stems: list[str]) -> int:
    """Make images of these shards again, print those that differ, and return their number."""
    from diffaug.audit.replay import replay_parts
    from diffaug.audit.verdicts import Verdicts
    from diffaug.output.select import image_counts, picked_rows, spread

    tally = Verdicts()
    picks = spread(image_counts(output, stems), number)
    rebuilt = replay_parts(picked_rows(output, picks), output)
    total = sum(len(places) for places in picks.values())
    counts = Counts(tally, "equal", "near", "differs")
    for replayed in counted(rebuilt, total, "replaying images", err, counts):
        tally.add(replayed)
        if replayed.verdict == "differs":
            out.print(str(replayed))
    out.print(str(tally))
    return tally.differs


@app.command
def replay(
    output: str,
    sample_id: str | None = None,
    *,
    source: Path | None = None,
    file: Annotated[Path | None, Parameter(name=["--file", "-o"])] = None,
) -> int:
    """Make one image again from its manifest part alone, and compare it with the record.

    With --source, a row that has left its output is enough: `diffaug replay ROW.json --source
    PICTURE` makes an image again that a server answered with.

    Exit 0 if it is equal, or within the tolerance if it was made on another kind of machine; 1 if
    it differs; 2 if there is no such image, or the source is not the row's.

    Parameters
    ----------
    output
        folder or URL of an output; with --source, a JSON file with a manifest row and its recipe,
        as `diffaug serve` answers to Accept: application/json
    sample_id
        the id in the manifest, or at least its first 8 characters; left out with --source
    source
        the picture that the row's image was made of
    file
        where to write the image, replacing an existing file [default: its name in its tar, in the
        current folder; with --source, the picture's name with the copy's number]
    """
    from diffaug import storage

    if file is not None:
        storage.refuse_nowhere(str(file), "FILE")
    if source is not None:
        return _replay_record(output, sample_id, source, file)
    if sample_id is None:
        raise ConfigError(
            "SAMPLE_ID is missing: give the id of an image of OUTPUT, or with --source the picture "
            "that a ROW.json is of"
        )
    from diffaug.audit.replay import replay_rows
    from diffaug.output.select import find_sample

    metadata, row = find_sample(output, sample_id)
    (replayed,) = replay_rows([row], metadata, output)
    if _told(replayed, file, replayed.name.rpartition("/")[2], "manifest") == DIFFERS:
        return DIFFERS
    advise(f"next: {command('verify', output, '--replay', '5')}")
    return OK


def _replay_record(output: str, sample_id: str | None, source: Path, file: Path | None) -> int:
    """Make the image of a row in a JSON file again, from a picture."""
    from diffaug import storage
    from diffaug.audit.record import read_record
    from diffaug.output.layout import copy_key
    from diffaug.storage import local_path

    if sample_id is not None:
        raise ConfigError(f"--source goes with a ROW.json alone: leave out {sample_id}")
    storage.refuse_nowhere(output, "ROW.json")
    record = read_record(local_path(output))
    try:
        picture = local_path(source).read_bytes()
    except OSError as error:
        raise ConfigError(f"--source: cannot read {source}: {error.strerror}") from None
    replayed = record.replay(picture)
    if not record.is_of(picture) and replayed.data is not None:
        out.print(f"{source} is another file than the row's source, with the same pixels")
    # the row may be anybody's, so it names no file here
    name = f"{copy_key(source.stem, replayed.row['copy'])}.{replayed.format}"
    return _told(replayed, file, name, "row")


def _told(replayed: Replayed, file: Path | None, name: str, record: str) -> int:
    """Write a rebuilt image, to FILE or by its name, and print the verdict; the exit status."""
    from diffaug.storage import local_path

    if replayed.data is not None:
        path = local_path(file or name)
        try:
            _save(replayed.data, path)
        except OSError as error:
            raise ConfigError(
                f"cannot write {path}: {error.strerror}: name another FILE with -o"
            ) from None
        out.print(f"wrote {path}")
    if replayed.verdict == "equal":
        out.print(f"equal: its bytes and pixels match the {record}")
    else:
        out.print(f"{replayed.verdict}: {replayed}")
    return DIFFERS if replayed.verdict == "differs" else OK


def _save(data: bytes, path: Path) -> None:
    """Write a file, leaving no part of it where that fails."""
    with path.open("wb") as stream:
        try:
            stream.write(data)
            stream.flush()
        except OSError:
            if path.is_file():
                path.unlink()
            raise
