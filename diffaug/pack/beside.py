"""Folders of pictures as SOURCE: each is packed once, into shards beside the OUTPUT.

The shards of OUTPUT lie in `OUTPUT-source`, where they stay: manifest rows name them, so that a
replay needs neither the folder nor its names. All folders of one OUTPUT share one numbering of
classes.
"""

from __future__ import annotations

import contextlib
import posixpath
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.extensions import READ
from diffaug.models.classes import described, refuse_others
from diffaug.output.evaluation import PLAN_JSON
from diffaug.output.layout import RUN_JSON, SHARDS, Output
from diffaug.pack.folder import FolderSource
from diffaug.pack.packing import Packed, Packing, Watch
from diffaug.pack.record import read_records
from diffaug.pack.source import printable
from diffaug.recipe import Recipe

__all__ = [
    "keys_by_path",
    "names_folder",
    "open_folder",
    "pack_folders",
    "permitted",
    "refuse_pictures",
    "source_place",
]

_TARS = (".tar", ".tar.gz", ".tgz")

_BEGUN = (RUN_JSON, PLAN_JSON, "training")
"""What a job, an evaluation or a training leaves in its output."""


def pack_folders(
    given: Sequence[Sequence[str]],
    output: str,
    watch: Watch = lambda outcomes, *_: outcomes,
    *,
    max_pixels: int = Recipe.model_fields["max_pixels"].default,
    named: Mapping[str, Mapping[int, str]] | None = None,
) -> tuple[list[list[str]], list[Packed]]:
    """Pack the folders among sources beside an output, and name their shards instead of them.

    A folder is packed once. Of one that has grown, the new pictures are packed into further shards;
    one that has lost pictures, or in which one has changed, is refused. A picture that was left out
    because it declares too many pixels is new once `max_pixels` has risen.

    Args:
        given: lists of sources, such as those to train on and those to test on; patterns of shards
            stay as they are.
        output: what the shards lie beside, an OUTPUT or CHECKPOINT: `source_place` of it.
        watch: passes on the outcomes, for progress.
        max_pixels: pictures that declare more are left out.
        named: names of classes by number, and what numbers them so that is used together with the
            folders. Shards among the sources are such, if `diffaug pack` left a description.

    Returns:
        The lists, without folders; and what was packed, a folder once.

    Raises:
        ConfigError: a folder holds no picture, or something else than pictures; it is not what was
            packed; it has other classes than were packed, or none of those of the shards that are
            used with it; the place cannot be written, or its name
            has braces; or OUTPUT is itself a folder of pictures.
        OSError: storage failed.
    """
    patterns = dict.fromkeys(pattern for some in given for pattern in some)
    refuse_pictures(patterns)
    folders = {one: storage.identity(one) for one in patterns if names_folder(one)}
    if not folders:
        return [list(some) for some in given], []
    for folder in folders:
        _refuse_inside(folder, output)
    with permitted():
        place = source_place(output)
        _refuse_braces(place)
        _refuse_filled(output, folders)
        sources = {same: open_folder(folder) for folder, same in folders.items()}
        _note_loose(sources.values())
        packing = Packing(place, read_records(place), watch, max_pixels)
        if classes := packing.number(sources.values()):
            where = ", ".join(map(storage.public_url, folders))
            others = {**_described(set(patterns) - set(folders)), **(named or {})}
            for there, names in others.items():
                refuse_others(classes, where, names, there)
        packed = {same: packing.take(source) for same, source in sources.items()}
    shards: dict[str, tuple[str, ...]] = {one: (one,) for one in patterns}
    shards |= {folder: packed[same].shards for folder, same in folders.items()}
    return [[url for one in some for url in shards[one]] for some in given], [*packed.values()]


def names_folder(pattern: str) -> bool:
    """Whether a source is a folder; the name of a tar is not looked up, which costs a request."""
    return not pattern.endswith(_TARS) and storage.is_folder(pattern)


def source_place(output: str) -> str:
    """Where the folders among the sources of an output are packed: `OUTPUT-source`.

    Raises:
        ConfigError: OUTPUT is a whole bucket, beside which there is nothing.
    """
    storage.refuse_root(output)
    place = output.rstrip("/")
    if storage.is_local(output):
        if place.rpartition("/")[2] in ("", ".", "..", "~"):
            place = storage.tidy(output)
    elif "/" not in place.partition("://")[2] and not place.startswith("memory:"):
        raise ConfigError(
            f"{storage.public_url(output)} is a whole bucket: name a folder in it, since the "
            "pictures of SOURCE are packed beside OUTPUT"
        )
    return f"{place}-source"


def keys_by_path(output: str, shards: Iterable[str]) -> dict[str, str | None]:
    """The keys of pictures of folders, by their paths below a folder without the extension.

    Args:
        output: what the folders were packed beside.
        shards: of which the folders' are some.

    Returns:
        None instead of a key where several pictures have the same path but for the extension.

    Raises:
        ConfigError: a record cannot be read.
    """
    place, theirs = source_place(output), set(map(storage.identity, shards))
    found: dict[str, str | None] = {}
    for record in read_records(place).values():
        if theirs.isdisjoint(storage.identity(storage.join(place, one)) for one in record.shards):
            continue
        for path, picture in record.pictures.items():
            if picture.key is not None:
                name = posixpath.splitext(path)[0]
                found[name] = None if name in found else picture.key
    return found


def open_folder(url: str) -> FolderSource:
    """The pictures of a folder that is named as SOURCE.

    Raises:
        ConfigError: it holds no picture.
    """
    public = storage.public_url(url).rstrip("/") or "/"
    if storage.exists(Output(url).run_json):
        raise ConfigError(
            f"{public} is an output of diffaug, and not a folder of pictures: name its shards, "
            f"{public}/{SHARDS}/*.tar"
        )
    storage.forget_listings(url)
    source = FolderSource(url, None)
    if len(source):
        return source
    if storage.listing(url, ".tar"):
        raise ConfigError(f"{public} is a folder: name its shards, {public}/*.tar")
    if source.tables:
        packs = shlex.join(["diffaug", "pack", public, "SHARDS"])
        raise ConfigError(f"{public} is a folder of tables: pack it first, with {packs}")
    notes = "".join(f"; {note}" for note in source.notes)
    raise ConfigError(f"{public} is a folder that holds no picture{notes}")


def refuse_pictures(patterns: Iterable[str]) -> None:
    """Refuse pictures as SOURCE, as a shell makes them of photos/*.jpg.

    Raises:
        ConfigError: one is a picture by its name; the message gives its folder.
    """
    for pattern in patterns:
        name = pattern.rpartition("/")[2]
        if "." in name and name.rpartition(".")[2].lower() in READ:
            public = storage.public_url(pattern)
            raise ConfigError(
                f"{public} is a picture, and not a shard: name the folder that it lies in, "
                f"{public.rpartition('/')[0] or '.'}"
            )


def _refuse_inside(folder: str, output: str) -> None:
    for place in (output, source_place(output)):
        if storage.lies_in(place, folder):
            raise ConfigError(
                f"{storage.public_url(place)} would lie in {storage.public_url(folder)}, among the "
                "pictures: choose an OUTPUT outside that folder"
            )


def _described(patterns: Iterable[str]) -> dict[str, dict[int, str]]:
    """The names of the classes of shards, as the description next to the first one has them."""
    found = {}
    for pattern in sorted(patterns):
        with contextlib.suppress(ConfigError):  # whoever reads the shards reports it
            found[storage.public_url(pattern)] = described(storage.expand([pattern])[0])
    return found


def _refuse_braces(place: str) -> None:
    """Refuse a place whose shards could not be named, since braces in a name make several."""
    if "{" in place or "}" in place:
        raise ConfigError(
            f"{storage.public_url(place)}, where the pictures of SOURCE are packed, has braces, "
            "which in a name of shards stand for several names: choose an OUTPUT without braces"
        )


def _refuse_filled(output: str, folders: Iterable[str]) -> None:
    """Refuse an OUTPUT of pictures, as a shell makes the last folder of photos/*."""
    names = storage.listing(output, "")
    found = [name for name in names if "." in name and name.rpartition(".")[2].lower() in READ]
    if not found or {*_BEGUN} & set(names):
        return
    parents = {_parent(folder) for folder in (*folders, output)}
    parent = parents.pop()
    whole = "" if parents else f"; for all folders of {parent}, name {parent} instead of them"
    raise ConfigError(
        f"{storage.public_url(output)} would be written to as OUTPUT, and holds pictures, such as "
        f"{printable(found[0])}: name a new OUTPUT after the sources{whole}"
    )


def _note_loose(sources: Iterable[FolderSource]) -> None:
    """Add a note where folders of one parent have no classes, as a shell makes them of photos/*."""
    loose: dict[str, list[FolderSource]] = {}
    for source in sources:
        if source.classes is None:
            loose.setdefault(_parent(source.url), []).append(source)
    for parent, some in loose.items():
        if len(some) > 1:
            some[-1].notes.append(
                f"{len(some)} folders of {parent} have no classes: if they are classes, name "
                f"{parent} instead, with a new OUTPUT"
            )


def _parent(folder: str) -> str:
    """The folder that a folder lies in, as people name it."""
    return storage.public_url(folder).rstrip("/").rpartition("/")[0] or "."


@contextlib.contextmanager
def permitted() -> Iterator[None]:
    """A file that may not be read is a mistake of the user's, and no failure of the storage."""
    try:
        yield
    except PermissionError as error:
        raise ConfigError(
            f"{printable(str(error.filename))} cannot be read or written ({error.strerror}): "
            "change its permissions, or move it out of the folder"
        ) from error
