"""Source shards, told apart from the shards that diffaug itself wrote.

A pattern such as `data/**/*.tar` also matches what earlier jobs wrote below `data`. Augmenting that
again would make copies of copies, a few more on every run.
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.output.evaluation import EvaluationOutput
from diffaug.output.layout import REJECTS, SHARDS, Output

__all__ = ["source_shards"]

_log = logging.getLogger(__name__)

_DRAWN = re.compile(r"test|seed-\d+")
"""The folders in which an evaluation keeps the pictures that it drew."""


class _Home(NamedTuple):
    """An output that a shard lies in.

    Attributes:
        url: of the output.
        own: whether it is that of the job being planned.
        made: whether diffaug made the shard's images, and did not just draw them from others.
    """

    url: str
    own: bool
    made: bool


def source_shards(
    patterns: str | list[str], output: str | None = None, *, planned: Sequence[str] = ()
) -> list[str]:
    """The files that patterns lead to, as `storage.expand` does, except what diffaug wrote.

    What lies in another output is left out of a glob, and taken where the pattern names a folder
    of that output, as `augmented/shards/*.tar` does. Either is logged.

    Args:
        patterns: files, globs, brace ranges or lists, on any fsspec URL.
        output: the OUTPUT that the job writes; what it wrote there is no source.
        planned: URLs that are the job's sources already, wherever they lie.

    Raises:
        ConfigError: as `storage.expand` does; or there is no pattern, one names what the job wrote
            in `output`, or nothing is left.
    """
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not patterns:
        raise ConfigError("no SOURCE is given: name at least one shard")
    homes = _Homes(output, planned)
    kept: list[str] = []
    named: Counter[str] = Counter()
    left: Counter[_Home] = Counter()
    for found in storage.find(patterns):
        home = homes.of(found.identity)
        if home is None or found.identity in homes.planned:
            kept.append(found.url)
        elif not _names_into(found, home):
            left[home] += 1
        elif home.own:
            raise ConfigError(
                f"{storage.public_url(found.url)} lies in {storage.public_url(home.url)}, the "
                "OUTPUT of this very job: name other shards, or choose another OUTPUT"
            )
        else:
            kept.append(found.url)
            named[home.url] += home.made
    _report(named, left)
    if not kept:
        places = " and ".join(dict.fromkeys(storage.public_url(home.url) for home in left))
        raise ConfigError(
            f"no shard is left of {', '.join(map(storage.public_url, patterns))}: all "
            f"{left.total()} were written by diffaug, in {places}; to take those of another "
            f"output, name their folder, such as OTHER/{SHARDS}/*.tar"
        )
    return kept


def _names_into(found: storage.Found, home: _Home) -> bool:
    """Whether the pattern named the file, its folder, or all of an output that is not the job's.

    A job's OUTPUT may hold its sources too, so naming it does not name what the job wrote there.
    """
    folder = found.identity.rpartition("/")[0]
    places = [folder] if home.own else [folder, home.url]
    return any(f"{found.named}/".startswith(f"{place}/") for place in places)


def _report(named: Counter[str], left: Counter[_Home]) -> None:
    for home, count in left.items():
        if not home.own:
            _log.warning(
                "left out %s in %s, an output of diffaug: to take them, name their folder",
                *(_shards(count), storage.public_url(home.url)),
            )
    for place, count in named.items():
        if count:
            _log.warning(
                "the source includes %s of augmented images, in %s, an output of diffaug",
                *(_shards(count), storage.public_url(place)),
            )


def _shards(count: int) -> str:
    return f"{count} shard{'' if count == 1 else 's'}"


class _Homes:
    """Which output a file lies in; each folder is looked up once."""

    def __init__(self, output: str | None, planned: Sequence[str]) -> None:
        self._planned = planned
        self.own = None if output is None else storage.identity(output)
        self._known: dict[str, _Home | None] = {}
        if output is not None and self.own is not None:
            for folder in (SHARDS, REJECTS):  # also where there is no run.json yet
                place = storage.identity(storage.join(output, folder))
                self._known[place] = _Home(self.own, own=True, made=True)

    @cached_property
    def planned(self) -> set[str]:
        """The identities of the job's sources, which only what lies in an output requires."""
        return set(map(storage.identity, self._planned))

    def of(self, identity: str) -> _Home | None:
        """The output that a file lies in; None if it lies in none."""
        folder = identity.rpartition("/")[0]
        if folder not in self._known:
            self._known[folder] = self._look(folder)
        return self._known[folder]

    def _look(self, folder: str) -> _Home | None:
        place, _, name = folder.rpartition("/")
        if storage.is_chain(folder) or not place or place.endswith(":/"):
            return None
        if name in (SHARDS, REJECTS) and _exists(Output(place).run_json):
            return _Home(place, self._is_own(place), made=True)
        if _DRAWN.fullmatch(name) and _exists(EvaluationOutput(place).plan_json):
            return _Home(place, self._is_own(place), made=False)
        return None

    def _is_own(self, place: str) -> bool:
        """Whether it is the job's OUTPUT, or a pool in the OUTPUT of its evaluation."""
        return self.own is not None and (
            place == self.own or place.startswith(f"{self.own.rstrip('/')}/seed-")
        )


def _exists(url: str) -> bool:
    with contextlib.suppress(OSError):  # a store that answers for shards alone
        return storage.exists(url)
    return False
