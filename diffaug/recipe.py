"""What to do to each image: the Recipe, frozen, validated, with a digest."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, model_validator

from diffaug.fields import Names, ShardFields

__all__ = ["Recipe", "Sampler", "Strength"]

Sampler = Literal["ddim", "ddpm", "dpmsolver++", "one-step"]

Strength = float | tuple[float, ...] | str
"""One number in (0, 1]; a list, cycled over copies; or ``"lo:hi"``, drawn for each copy."""


def _check_strength(value: Any) -> Strength:
    if isinstance(value, str):
        text = value.strip().strip("[]")
        if ":" in text:
            low, _, high = text.partition(":")
            lo, hi = _one_strength(low), _one_strength(high)
            if lo > hi:
                raise ValueError(f"strength range {value!r} runs backwards: write {hi}:{lo}")
            return f"{lo}:{hi}"
        value = text.split(",") if "," in text else text
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("strength is an empty list: give at least one number in (0, 1]")
        return tuple(_one_strength(part) for part in value)
    return _one_strength(value)


def _one_strength(value: Any) -> float:
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


class Recipe(ShardFields):
    """What diffaug does to each image. Immutable; wrong values raise with a sentence.

    Example:
        >>> Recipe(strength=0.4, copies=2).strength_of(copy=1, u=0.5)
        0.4
    """

    what: ClassVar[str] = "recipe"

    model: str = Field(
        "fashion-mnist-32",
        min_length=1,
        description="a shipped name, a local diffusers folder, or org/name[@revision] on the hub",
    )
    strength: Annotated[Strength, BeforeValidator(_check_strength)] = Field(
        0.4,
        description="how far along the noising process, in (0, 1]: a number, "
        "a list cycled over copies (0.2,0.4), or a range drawn per copy (0.2:0.6)",
    )
    steps: int = Field(
        20, ge=1, le=1000, description="calls a whole trajectory would have; strength scales them"
    )
    sampler: Sampler = Field("dpmsolver++", description="ddim, ddpm, dpmsolver++ or one-step")
    eta: float = Field(
        0.0, ge=0, le=1, description="of ddim: fresh noise a step, from 0 (none) to 1 (as ddpm)"
    )
    copies: int = Field(1, ge=1, le=10_000, description="augmented images per source image")
    seed: int = Field(0, ge=0, lt=2**63, description="the seed of all randomness")
    condition: Literal["none", "label"] = Field(
        "none", description="none, or label: the sample's class conditions the model"
    )
    format: Literal["png", "jpg", "webp"] = Field("png", description="png, jpg or webp")
    carry: Names = Field((), description="members copied to the output as they are (txt,json)")

    @model_validator(mode="after")
    def _check_eta(self) -> Recipe:
        if self.eta and self.sampler != "ddim":
            raise ValueError(f"eta belongs to the sampler ddim: leave it out for {self.sampler}")
        return self

    def strength_of(self, copy: int, u: float) -> float:
        """The strength of one copy, in (0, 1].

        Args:
            copy: which copy, from 0; a list of strengths is cycled over it.
            u: the sample's own uniform draw in [0, 1), which places it in a range.
        """
        if isinstance(self.strength, tuple):
            return self.strength[copy % len(self.strength)]
        if isinstance(self.strength, str):
            low, high = (float(part) for part in self.strength.split(":"))
            return low + (high - low) * u
        return self.strength

    @property
    def draws_strength(self) -> bool:
        """Whether each copy's strength is drawn from a range."""
        return isinstance(self.strength, str)

    def digest(self, model_digest: str, noise_version: str) -> str:
        """A sha256 in hex over everything that changes an image.

        `copies` is left out, so that raising it keeps the earlier images; so is what only says
        how shards are read. The model enters by the digest of its weights, not by its name.
        """
        fields = self.model_dump(
            mode="json",
            include={"strength", "steps", "sampler", "eta", "seed", "condition", "fit", "format"},
        )
        fields |= {"model_digest": model_digest, "noise": noise_version}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
