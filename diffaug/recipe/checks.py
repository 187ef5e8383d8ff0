"""Checks of recipe fields that take more than a type."""

from __future__ import annotations

from typing import Any

from diffaug.recipe.fields import as_list
from diffaug.recipe.filters import judge_of

__all__ = ["check_interval", "check_judges", "interval_of", "names_of"]


def interval_of(value: Any) -> tuple[float, float]:
    """The two numbers of `lo:hi`; where it is no such text, two of which the first is larger."""
    low, _, high = str(value).partition(":")
    try:
        return float(low), float(high)
    except ValueError:
        return 1.0, 0.0


def check_interval(value: Any) -> Any:
    """`lo:hi` of two times in [0, 1]."""
    lo, hi = interval_of(value)
    if not 0 <= lo <= hi <= 1:
        raise ValueError(
            f"guidance_interval must be lo:hi with 0 <= lo <= hi <= 1, such as 0.2:0.8, "
            f"got {value!r}"
        )
    return f"{lo}:{hi}"


def check_judges(value: Any) -> Any:
    """Judges, each of another kind, as `name` or `name=reference`."""
    judges = as_list(value)
    if not isinstance(judges, (list, tuple)):
        return judges
    named = [judge_of(str(judge)) for judge in judges]
    names = [name for name, _ in named]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"judges: {name} is given twice: a job has one judge of each kind")
    return tuple(name if reference is None else f"{name}={reference}" for name, reference in named)


def names_of(judges: tuple[str, ...]) -> tuple[str, ...]:
    """The names of judges, without their references."""
    return tuple(judge_of(judge)[0] for judge in judges)
