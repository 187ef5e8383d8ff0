"""Whether the classes of the sources are those of the model: names compared by their numbers.

A class conditions a model by its number alone. Clothes numbered 0 to 9 condition a model of
airplanes and cats without an error, and every image comes out wrong.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import yaml

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.models.card import Card
from diffaug.shards.reading import Label, printable

__all__ = [
    "Compared",
    "Named",
    "compare",
    "compare_names",
    "described",
    "refusal",
    "refuse_others",
    "trained_classes",
]

_log = logging.getLogger(__name__)

_ASIDE = re.compile(r"[\s_-]+")
_SHARD = re.compile(r"(.+)-\d{6,}\.tar")
_MOST_BYTES = 1 << 18
_SHOWN, _LONGEST = 10, 40
"""How many names, and how many letters of each, a message has."""


@dataclass(frozen=True, slots=True)
class Compared:
    """The classes that have a name in the sources and in the model's card.

    Attributes:
        agree: how many of them have the same name.
        differ: of the others: the number, the name in the sources, the model's name.
    """

    agree: int
    differ: tuple[tuple[int, str, str], ...]

    @property
    def are_others(self) -> bool:
        """Whether there are some, and none has the same name."""
        return bool(self.differ) and not self.agree

    def __str__(self) -> str:
        return "; ".join(
            f"{number} is {_shown(theirs)} there and {_shown(its)} in the model"
            for number, theirs, its in self.differ[:_SHOWN]
        ) + _more(len(self.differ))


class Named:
    """The names of classes by the text of their samples, where there is one text a class.

    Attributes:
        samples: how many samples with a class and a text have been counted.
    """

    def __init__(self) -> None:
        self.samples = 0
        self._texts: dict[int, str] = {}
        self._several = False

    def add(self, label: Label) -> None:
        """Count a sample."""
        if label.number is None or not label.text:
            return
        self.samples += 1
        self._several |= self._texts.setdefault(label.number, label.text) != label.text

    @property
    def names(self) -> dict[int, str]:
        """The name of each class; empty if the texts are no names, but captions.

        They are names if every class has one text and every text one class, and at least one class
        came twice, without which every caption would pass.
        """
        unique = len(set(self._texts.values())) == len(self._texts) < self.samples
        return self._texts if unique and not self._several else {}


def compare(card: Card | None, names: Mapping[int, str]) -> Compared:
    """Compare names of classes with a model's, by number; case, hyphens and blanks aside."""
    return compare_names([] if card is None else list(map(str, card.classes)), names)


def compare_names(own: Sequence[str], names: Mapping[int, str]) -> Compared:
    """Compare names of classes with `own`, by number; case, hyphens and blanks aside."""
    known = {number: name for number, name in enumerate(own) if name != str(number)}
    both = [(number, name, known[number]) for number, name in names.items() if number in known]
    differ = tuple(sorted(one for one in both if _plain(one[1]) != _plain(one[2])))
    return Compared(len(both) - len(differ), differ)


def described(url: str) -> dict[int, str]:
    """The names of the classes in the description that `diffaug pack` left next to a shard.

    They are empty where there is none, or where it names no classes.

    Raises:
        OSError: storage failed.
    """
    folder, _, base = url.rpartition("/")
    if (shard := _SHARD.fullmatch(base)) is None:
        return {}
    try:
        with storage.open_read(storage.join(folder or ".", f"{shard[1]}.yaml")) as stream:
            entry = yaml.safe_load(stream.read(_MOST_BYTES).partition(b"\nsha256:")[0])
    except (FileNotFoundError, yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError):
        return {}
    classes = entry.get("classes") if isinstance(entry, dict) else None
    if not isinstance(classes, list) or entry.get("name") != shard[1]:
        return {}
    return {number: str(name) for number, name in enumerate(classes)}


def trained_classes(
    given: int | tuple[str, ...], url: str, *, is_folder: bool
) -> int | tuple[str, ...]:
    """The classes that a new model is trained for, which its card will name.

    Args:
        given: their number or their names, as the user gave them.
        url: of the first shard.
        is_folder: whether it was packed from a folder that the user named. Its class folders then
            give the names, if the user gave their number.

    Raises:
        ConfigError: the names are in another order than those in the description of the shard, or
            none is the same.
        OSError: storage failed.
    """
    names = described(url) if given else {}
    if isinstance(given, int):
        return tuple(names.values()) if is_folder and len(names) == given else given
    compared, where = compare_names(given, names), storage.public_url(url)
    there = set(map(_plain, names.values()))
    if compared.are_others or any(_plain(its) in there for _, _, its in compared.differ):
        raise ConfigError(
            f"classes: {where} numbers them otherwise: {_listed(names)} there, and "
            f"{_listed(dict(enumerate(given)))} here. Name them in that order, or give their "
            f"number, {len(names)}"
        )
    if compared.differ:
        _log.warning("classes: some have other names in the description of %s: %s", where, compared)
    return given


def refuse_others(own: Sequence[str], where: str, names: Mapping[int, str], there: str) -> None:
    """Refuse sources of which one numbers the classes otherwise than another.

    Args:
        own: the names of the classes of the one, in order.
        where: what they are those of.
        names: of the other's, by number.
        there: what they are those of.

    Raises:
        ConfigError: no class that has a name in both has the same.
    """
    if compare_names(own, names).are_others:
        raise ConfigError(
            f"no class of {where} is that of the same number of {there}: "
            f"{_listed(dict(enumerate(own)))} in the former, {_listed(names)} in the latter. Pack "
            "the folder with diffaug pack --classes, in the order of the latter, and name the "
            "shards instead"
        )


def refusal(model: str, card: Card, names: Mapping[int, str], where: str) -> ConfigError:
    """The error for sources whose classes are not the model's.

    Args:
        model: its name.
        card: its card.
        names: of the sources' classes, by number.
        where: what the names are those of.
    """
    own = _listed(dict(enumerate(map(str, card.classes))))
    return ConfigError(
        f"condition: no class of {where} is the model's of that number: {_listed(names)} there, "
        f"and {own} in {model}. Leave condition out, number the classes as the model does, or, "
        "if only the names differ, give --classes-as-numbered (in Python and flows, "
        "classes_as_numbered=True)"
    )


def _listed(names: Mapping[int, str]) -> str:
    shown = sorted(names.items())[:_SHOWN]
    return ", ".join(f"{number} {_shown(name)}" for number, name in shown) + _more(len(names))


def _more(count: int) -> str:
    return f" and {count - _SHOWN} more" if count > _SHOWN else ""


def _shown(name: str) -> str:
    return printable(name[:_LONGEST])


def _plain(name: str) -> str:
    return _ASIDE.sub("", name.casefold())
