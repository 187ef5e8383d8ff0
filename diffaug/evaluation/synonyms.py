"""Synonyms from WordNet (Princeton University), whose files are read as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache
from pathlib import Path

from diffaug.errors import ConfigError

__all__ = ["Synonyms", "synonyms_in"]

Synonyms = Mapping[str, tuple[str, ...]]
"""The synonyms of a word, written small."""

_PARTS = ("noun", "verb", "adj", "adv")

_COMMON = """
a about above after again against all am an and any are as at be because been before being below
between both but by can could did do does doing down during each few for from further had has have
having he her here hers him his how i if in into is it its just me more most my no nor not now of
off on once only or other our out over own same she should so some such than that the their them
then there these they this those through to too under until up very was we were what when where
which while who whom why will with would you your
"""
"""Words that hold a sentence together, which keep their places: WordNet has some of them, as
something else (`a` is a vitamin there, and `he` a gas)."""


@lru_cache(maxsize=2)
def synonyms_in(folder: str) -> Synonyms:
    """The synonyms of every word that has some: those that share one of its meanings.

    Args:
        folder: with WordNet's files data.noun, data.verb, data.adj and data.adv.

    Raises:
        ConfigError: they are not there, or not in WordNet's format.
    """
    found, common = dict[str, dict[str, None]](), set(_COMMON.split())
    try:
        for part in _PARTS:
            for words in _meanings(Path(folder) / f"data.{part}"):
                for word in words:
                    if word not in common:
                        found.setdefault(word, {}).update(dict.fromkeys(words))
    except OSError as error:
        raise ConfigError(
            f"arms: eda has its synonyms from WordNet, and {error.filename} cannot be read: "
            "install it (Debian's package wordnet-base), give its folder as synonyms, or leave eda "
            "out"
        ) from None
    except (IndexError, ValueError):
        raise ConfigError(f"synonyms: {folder} has files that are not WordNet's") from None
    others = {word: tuple(one for one in words if one != word) for word, words in found.items()}
    return {word: words for word, words in others.items() if words}


def _meanings(path: Path) -> Iterator[list[str]]:
    """The words of each meaning in a file: offset, file, kind, count (in hex), then words, each
    with a number; lines that begin with a space are the licence."""
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if line.startswith(" "):
                continue
            fields = line.split(" ")
            words = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
            # of an adjective, (p) behind it says where it stands
            yield [word.partition("(")[0].replace("_", " ").lower() for word in words]
