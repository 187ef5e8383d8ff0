"""How far images are noised, as a recipe states it: a number, a list, or a range."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator

__all__ = ["Strength", "highest", "lowest", "strength_of"]


def _check(value: Any) -> Any:
    if isinstance(value, str):
        text = value.strip().strip("[]")
        if ":" in text:
            low, _, high = text.partition(":")
            lo, hi = _check_one(low), _check_one(high)
            if lo > hi:
                raise ValueError(f"strength range {value!r} is reversed: write {hi}:{lo}")
            return f"{lo}:{hi}"
        value = text.split(",") if "," in text else text
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("strength is an empty list: give at least one number in (0, 1]")
        return tuple(_check_one(part) for part in value)
    return _check_one(value)


def _check_one(value: Any) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        strength = float(value)
    except (TypeError, ValueError, OverflowError):
        raise ValueError(
            f"strength must be a number in (0, 1], a list of them, or lo:hi, got {value!r}"
        ) from None
    if not 0 < strength <= 1:
        raise ValueError(
            f"strength must be in (0, 1], got {strength:g}: 0 would change nothing and 1 starts "
            "from pure noise; 0.2 to 0.6 keeps most images recognisable"
        )
    return strength


Strength = Annotated[float | tuple[float, ...] | str, BeforeValidator(_check)]
"""One number in (0, 1]; a list, cycled over copies; or ``"lo:hi"``, drawn per copy."""


def strength_of(strength: Strength, copy: int, u: float) -> float:
    """The strength of one copy, in (0, 1]; `u` in [0, 1) is its position in a range."""
    if isinstance(strength, tuple):
        return strength[copy % len(strength)]
    if isinstance(strength, str):
        low, high = (float(part) for part in strength.split(":"))
        return low + (high - low) * u
    return strength


def highest(strength: Strength) -> float:
    """The highest strength that a copy can have."""
    if isinstance(strength, str):
        return float(strength.partition(":")[2])
    return max(strength) if isinstance(strength, tuple) else strength


def lowest(strength: Strength) -> float:
    """The lowest strength that a copy can have."""
    if isinstance(strength, str):
        return float(strength.partition(":")[0])
    return min(strength) if isinstance(strength, tuple) else strength
