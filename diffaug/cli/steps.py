"""The last lines of a command that succeeded: what to do next, and what is not known."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

from diffaug.cli.app import err
from diffaug.storage import public_url

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from diffaug.models.card import Card

__all__ = ["advise", "beside", "command", "flags", "not_known"]


def advise(*lines: str) -> None:
    """Print lines for people to standard error; a JSON log has none of them."""
    if not err.json:
        for line in lines:
            err.print(line)


def command(name: str, *words: str) -> str:
    """The command `diffaug NAME …`, as a shell takes it, without passwords."""
    return shlex.join(["diffaug", name, *map(public_url, words)])


def flags(fields: Mapping[str, Any]) -> list[str]:
    """The flags of a command for these fields of a recipe, by name; several values, several flags."""
    words = []
    for name, value in fields.items():
        for one in value if isinstance(value, (list, tuple)) else [value]:
            words += [f"--{name.replace('_', '-')}", str(one)]
    return words


def beside(sources: Sequence[str], ending: str) -> str:
    """A name for an output, from that of the first source: `photos-augmented`."""
    from diffaug.pack import safe_name

    name = safe_name(sources[0]).removesuffix(".tar").partition("-{")[0]
    return f"{name}-{ending}"


def not_known(name: str, card: Card | None, sources: Sequence[str]) -> str:
    """Whether pictures of this model help a classifier, as far as anybody has measured it."""
    measure = command("evaluate", *sources, beside(sources, "evaluated"), "--test", "TEST")
    if card is not None and card.evaluated:
        return (
            f"whether such pictures help a classifier: {card.evaluated} for {name} so far; to "
            f"measure it on yours: {measure}"
        )
    return (
        f"whether such pictures help a classifier is not known for {name}; to measure it: {measure}"
    )
