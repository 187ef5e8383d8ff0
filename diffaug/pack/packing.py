"""Packing a folder of pictures: all of it the first time, and later what is new in it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count

from diffaug import storage
from diffaug.errors import ConfigError, DiffaugError
from diffaug.output.select import evenly
from diffaug.pack.entry import OtherShardsError, Totals
from diffaug.pack.folder import FolderSource
from diffaug.pack.open import safe_name
from diffaug.pack.record import ADDED, Picture, Record, Stamp, listing, pictures_of, publish
from diffaug.pack.source import class_order, order, printable
from diffaug.pack.write import Outcome, pack

__all__ = ["Packed", "Packing", "Watch"]

Watch = Callable[[Iterator[Outcome], int, Totals], Iterable[Outcome]]
"""Passes on the outcomes of a packing, given their number and the counts; may report progress."""

_ORDER = 0
"""The seed of the order: a shard mixes the classes, so that a training can read it as a stream."""

_SHOWN = 3
"""How many reasons a sentence gives."""

_CLASSES = 20
"""How many classes a sentence names."""

_COMPARED = 64
"""How many pictures of a moved folder are read at most, of those with their old size and time."""


@dataclass(frozen=True, kw_only=True)
class Packed:
    """A folder of pictures and the shards that hold them; `str` of it is one line for people.

    Attributes:
        folder: as the user named it.
        shards: the URLs of the tars.
        images: pictures in them.
        new: those that this call packed.
        classes: the names of the classes, in order; None without class folders.
        left_out: why each picture that could not be packed was left out, by its path.
        notes: sentences about what else the folder holds.
        noun: what one of them is called.
    """

    folder: str
    shards: tuple[str, ...]
    images: int
    new: int
    classes: tuple[str, ...] | None
    left_out: dict[str, str]
    notes: tuple[str, ...]
    noun: str

    @property
    def failed_fraction(self) -> float:
        """Pictures left out divided by pictures found."""
        return len(self.left_out) / (self.images + len(self.left_out))

    def __str__(self) -> str:
        place = storage.public_url(self.shards[0].rpartition("/")[0])
        if not self.new:
            are = "is" if self.images == 1 else "are"
            done = f"its {_counted(self.images, self.noun)} {are} packed already, in {place}"
        elif self.new == self.images:
            done = f"{_counted(self.images, self.noun)} packed into {place}"
        else:
            new = _counted(self.new, self.noun)
            done = f"{new} added to {self.images - self.new} packed in {place}"
        files = f"{len(self.shards)} shard{'' if len(self.shards) == 1 else 's'}"
        text = f"{self.folder}: {done} ({files}); {_classes(self.classes)}"
        if self.left_out:
            why = [
                f"{printable(path)}: {reason}"
                for path, reason in list(self.left_out.items())[:_SHOWN]
            ]
            more = ", …" if len(self.left_out) > _SHOWN else ""
            text += f"; {len(self.left_out)} left out ({', '.join(why)}{more})"
        return "; ".join([text, *self.notes])


class Packing:
    """Packs folders into one place, with the records of those that it holds.

    Args:
        place: the folder or URL of the shards.
        records: what it holds, by the prefix of the shards' names.
        watch: see `Watch`.
        max_pixels: pictures that declare more are left out.
    """

    def __init__(
        self, place: str, records: dict[str, Record], watch: Watch, max_pixels: int
    ) -> None:
        self._place = place
        self._records = records
        self._watch = watch
        self._max_pixels = max_pixels
        self._classes: tuple[str, ...] = ()

    def number(self, sources: Iterable[FolderSource]) -> tuple[str, ...]:
        """Number the classes of all folders alike, and as in the shards that are there.

        A new class folder without a picture, such as a file manager leaves, is then no class.

        Returns:
            The names of the classes, in order; none without class folders.

        Raises:
            ConfigError: a folder has a class that those shards do not.
        """
        known = next((one.classes for one in self._records.values() if one.classes), None)
        sources = list(sources)
        if known is None:
            names = {name for source in sources for name in source.classes or ()}
            self._classes = tuple(class_order(names))
            return self._classes
        self._classes = known
        for source in sources:
            for name in source.filled:
                if name not in known:
                    raise ConfigError(
                        f"{storage.public_url(source.url)} has the class {printable(name)}, which "
                        f"is new: the shards in {storage.public_url(self._place)} number "
                        f"{', '.join(known[:_CLASSES])}; choose a new OUTPUT"
                    )
        return known

    def take(self, source: FolderSource) -> Packed:
        """Pack what is not packed yet of a folder.

        Raises:
            ConfigError: pictures that were packed are gone or have changed, none can be read, or
                another folder holds the same.
        """
        if source.classes not in (None, self._classes):
            source = FolderSource(source.url, self._classes)
        stamps = listing(source)
        name = self._name(source, stamps)
        mine = {prefix: one for prefix, one in self._records.items() if one.name == name}
        known = self._known(name)
        self._refuse_lost(source, known, stamps)
        new = [path for path in source.paths if not _is_same(known.get(path), stamps[path])]
        if new:
            prefix = self._unused(f"{name}{ADDED}") if mine else name
            record = self._pack(source.only(set(new)), name, prefix, stamps)
            mine[prefix] = self._records[prefix] = record
            known |= record.pictures
        shards = [tar for record in mine.values() for tar in record.shards]
        return Packed(
            folder=storage.public_url(source.url),
            shards=tuple(storage.join(self._place, tar) for tar in shards),
            images=sum(one.key is not None for one in known.values()),
            new=sum(known[path].key is not None for path in new),
            classes=source.classes,
            left_out={path: known[path].left_out for path in stamps if known[path].left_out},
            notes=tuple(source.notes),
            noun=source.noun,
        )

    def _known(self, name: str) -> dict[str, Picture]:
        return pictures_of(self._records, name, self._max_pixels)

    def _name(self, source: FolderSource, stamps: dict[str, Stamp]) -> str:
        """The prefix of a folder's shards: the one it has, or its own name unless that is taken.

        A folder with the pictures of one that is gone is that one, moved or renamed. So is one of
        the same name: what it holds is compared later.

        Raises:
            ConfigError: another folder that is still there holds the same pictures.
        """
        same, base = storage.public_url(storage.identity(source.url)), safe_name(source.url)
        names = {record.name: record.folder for record in self._records.values()}
        for name, folder in names.items():
            if folder == same:
                return name
        for name, folder in names.items():
            if not self._holds(source, stamps, name):
                continue
            if not storage.is_folder(folder):
                return name
            where, place = map(storage.public_url, (source.url, self._place))
            raise ConfigError(
                f"{where} holds the pictures of {folder}, which are packed already, in {place}: "
                "name one of the two folders, or choose a new OUTPUT"
            )
        if base in names and not storage.is_folder(names[base]):
            return base
        return base if base not in self._records else self._unused(base)

    def _unused(self, base: str) -> str:
        names = (f"{base}-{number}" for number in count(2))
        return next(name for name in names if name not in self._records)

    def _holds(self, source: FolderSource, stamps: dict[str, Stamp], name: str) -> bool:
        """Whether a folder holds all pictures that were packed under a name, at the same paths."""
        packed = {path: one for path, one in self._known(name).items() if one.key is not None}
        if not packed or any(
            path not in stamps or stamps[path].size != one.size for path, one in packed.items()
        ):
            return False
        alike = [path for path, one in packed.items() if one.is_like(stamps[path])]
        skipped = set(alike) - {alike[place] for place in evenly(len(alike), _COMPARED)}
        return all(
            one.sha256 == storage.sha256(storage.join(source.url, path))
            for path, one in packed.items()
            if path not in skipped
        )

    def _refuse_lost(
        self, source: FolderSource, known: dict[str, Picture], stamps: dict[str, Stamp]
    ) -> None:
        """Refuse a folder without the pictures that were packed, and take note of new times."""
        gone, changed = [], []
        for path, one in known.items():
            if one.key is None:
                continue
            if path not in stamps:
                gone.append(path)
            elif not one.is_like(stamps[path]):
                if one.sha256 == storage.sha256(storage.join(source.url, path)):
                    known[path] = one.model_copy(update=stamps[path]._asdict())
                else:
                    changed.append(path)
        place, where = map(storage.public_url, (self._place, source.url))
        for paths, what in ((gone, "lost"), (changed, "changed")):
            if paths:
                some = _counted(len(paths), source.noun)
                raise ConfigError(
                    f"{where} has {what} {some} since it was packed into {place}, "
                    f"such as {printable(paths[0])}: choose a new OUTPUT, for which all is packed "
                    f"again; or go on with what was packed, {place}/*.tar"
                )

    def _pack(
        self, source: FolderSource, name: str, prefix: str, stamps: dict[str, Stamp]
    ) -> Record:
        """Pack all pictures of a source under a prefix, and publish their record."""
        tally, outcomes = Totals(), list[Outcome]()
        begun = _begun(self._place, prefix)
        packing = pack(
            source,
            self._place,
            prefix,
            tally=tally,
            shuffle=_ORDER,
            max_pixels=self._max_pixels,
        )
        try:
            for outcome in self._watch(packing, len(source), tally):
                outcomes.append(outcome)
        except OtherShardsError as error:
            where, place = map(storage.public_url, (source.url, self._place))
            if not begun:
                raise ConfigError(
                    f"another run packs other pictures of {where} into {place}: run this again "
                    "when it has ended"
                ) from error
            raise ConfigError(
                f"a run that was interrupted began to pack other pictures of {where}: if none is "
                f"packing it now, delete what that run left, {place}/{prefix}-??????.tar and "
                f"{place}/{prefix}.yaml, but nothing else of {place}, and run this again"
            ) from error
        except DiffaugError:
            if tally.packed or not outcomes:
                raise
            if prefix == name:
                raise ConfigError(
                    f"no picture of {storage.public_url(source.url)} can be read: the first one, "
                    f"{outcomes[0].name}: {outcomes[0].reason}"
                ) from None
        paths, keys = source.paths, (f"{number:08d}" for number in count())
        record = Record(
            folder=storage.public_url(storage.identity(source.url)),
            name=name,
            classes=source.classes,
            shards=tuple(tally.shards),
            pictures={
                paths[place]: Picture(
                    **stamps[paths[place]]._asdict(),
                    sha256=outcome.sha256,
                    key=next(keys) if outcome.reason is None else None,
                    left_out=outcome.reason or "",
                    max_pixels=self._max_pixels if outcome.code == "too_many_pixels" else None,
                )
                for place, outcome in zip(order(len(source), _ORDER), outcomes, strict=True)
            },
        )
        publish(record, self._place, prefix)
        return record


def _begun(place: str, prefix: str) -> bool:
    shard = re.compile(rf"{re.escape(prefix)}-\d{{6,}}\.tar")
    return any(map(shard.fullmatch, storage.listing(place, ".tar")))


def _is_same(known: Picture | None, stamp: Stamp) -> bool:
    return known is not None and known.is_like(stamp)


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _classes(names: tuple[str, ...] | None) -> str:
    if names is None:
        return "no classes"
    shown = ", ".join(f"{number} {name}" for number, name in enumerate(names[:_CLASSES]))
    more = f", … ({len(names)} classes)" if len(names) > _CLASSES else ""
    return f"classes {shown}{more}"
