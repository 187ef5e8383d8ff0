"""The last lines of a command that succeeded: what to do next, and what is not known."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any

from diffaug import storage
from diffaug.cli.app import err

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diffaug.models.card import Card
    from diffaug.recipe import Recipe

__all__ = ["advise", "beside", "command", "flags", "name_of", "not_known"]

_WILD = re.compile(r"[{*?\[]")
_NUMBER = re.compile(r"[-_.]*[0-9]*$")
"""The number of a shard, at the end of its name."""


def advise(*lines: str) -> None:
    """Print lines for people to standard error; a JSON log has none of them."""
    if not err.json:
        for line in lines:
            err.print(line)


def command(name: str, *words: str) -> str:
    """The command `diffaug NAME …`, as a shell takes it, without passwords."""
    return shlex.join(["diffaug", name, *map(storage.public_url, words)])


def flags(fields: Mapping[str, Any]) -> list[str]:
    """The flags for these fields of a recipe: a flag for each of several values, none for None."""
    words = []
    for name, value in fields.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            words += [] if one is None else [f"--{name.replace('_', '-')}", str(one)]
    return words


def beside(sources: Sequence[str], ending: str) -> str:
    """An output's name, from that of the first source: `photos-augmented`, outside that folder."""
    name = f"{name_of(sources)}-{ending}"
    if storage.is_folder(sources[0]) and storage.lies_in(name, sources[0]):
        return f"{storage.tidy(sources[0])}-{ending}"
    return name


def name_of(sources: Sequence[str]) -> str:
    """What to call the first source: `photos` for photos/ and for x/photos-{000000..000003}.tar."""
    from diffaug.pack import safe_name

    start = _WILD.split(sources[0].rstrip("/"))[0]
    name = safe_name(start) if start and not start.endswith("/") else "pictures"
    return _NUMBER.sub("", name.removesuffix(".tar")) or name if name.endswith(".tar") else name


def not_known(
    recipe: Recipe, card: Card | None, sources: Sequence[str], *, classes_as_numbered: bool
) -> str:
    """Whether pictures of a model help a classifier, as far as anybody has measured it.

    Args:
        recipe: as the user gave it; the command that measures it has its model and condition.
        card: of its model.
        sources: as the user gave them.
        classes_as_numbered: whether the user gave that flag.
    """
    name, condition = recipe.model, {"condition": recipe.condition}
    words = [*sources, beside(sources, "evaluated"), "--test", "TEST", *flags({"model": name})]
    words += flags(condition) if recipe.condition == "label" else []
    words += ["--classes-as-numbered"] if classes_as_numbered else []
    measure = command("evaluate", *words)
    if card is not None and card.evaluated:
        return (
            f"whether such pictures help a classifier: {card.evaluated} for {name} so far; to "
            f"measure it on yours: {measure}"
        )
    return (
        f"whether such pictures help a classifier is not known for {name}; to measure it: {measure}"
    )
