"""Checks of recipe fields that take more than a type."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from typing import Any

from diffaug.diffusion.frames import correlation_of
from diffaug.recipe.fields import as_list
from diffaug.recipe.filters import judge_of

__all__ = [
    "check_fps",
    "check_interval",
    "check_judges",
    "check_noise_time",
    "check_window",
    "check_words",
    "interval_of",
    "is_pattern",
    "names_of",
]


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


def check_noise_time(value: Any) -> Any:
    """`shared`, `independent` or `mixed:RHO`."""
    if value is not None:
        correlation_of(str(value))
    return value


def check_window(value: Any) -> Any:
    """`begin:end` in seconds."""
    if value is None:
        return None
    begin, end = interval_of(value)
    if not 0 <= begin < end < math.inf:
        raise ValueError(
            f"window must be begin:end in seconds with 0 <= begin < end, such as 2.5:4, got "
            f"{value!r}"
        )
    return str(value).strip()


def check_fps(value: Any) -> Any:
    """A number of frames a second, such as 25 or 30000/1001."""
    if value is None:
        return None
    try:
        rate = Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate <= 1000:
        raise ValueError(
            f"fps must be a number above 0, at most 1000, or a fraction such as 30000/1001, got "
            f"{value!r}"
        )
    return str(value).strip()


def is_pattern(word: str) -> bool:
    """Whether it stands between slashes."""
    return len(word) > 2 and word[0] == word[-1] == "/"


def check_words(value: Any) -> Any:
    """Words, or regular expressions between slashes."""
    if value is None:
        return None
    if isinstance(value, str) and not is_pattern(value):
        value = value.split(",")
    words = tuple(str(word).strip() for word in as_list(value))
    for word in words:
        if is_pattern(word):
            try:
                re.compile(word[1:-1])
            except re.error as error:
                raise ValueError(f"keep: {word} is no regular expression: {error}") from None
        elif not word:
            raise ValueError("keep: there is an empty word: leave it out")
    return words


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
