"""The arms of an evaluation: what a classifier sees beside the labelled images themselves."""

from __future__ import annotations

from dataclasses import dataclass

from diffaug.evaluation.settings import Evaluation

__all__ = ["BASELINE", "DIFFUSION", "Arm", "arms_of", "middle"]

BASELINE = "flips-crops"
"""What every arm is compared with."""

DIFFUSION = ("reconstruct", "filtered", "one-step")
"""The families that are on trial; all others are controls."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train.

    Attributes:
        family: one of FAMILIES.
        strength: of what the diffusion model did; None where it did nothing.
    """

    family: str
    strength: float | None = None

    @property
    def name(self) -> str:
        """Its name in tables and plots: the family, and the strength where there is one."""
        return self.family if self.strength is None else f"{self.family} {self.strength:g}"

    @property
    def is_diffusion(self) -> bool:
        """Whether it is on trial, rather than a control."""
        return self.family in DIFFUSION


def arms_of(settings: Evaluation) -> list[Arm]:
    """The arms of an evaluation, controls first."""
    arms = []
    for family in dict.fromkeys((BASELINE, *settings.arms)):
        if family not in DIFFUSION:
            arms.append(Arm(family))
    for family in DIFFUSION:
        if family in settings.arms:
            one_step = family == "one-step"
            strengths = settings.one_step_strengths if one_step else settings.strengths
            arms += [Arm(family, strength) for strength in strengths]
    return arms


def middle(strengths: tuple[float, ...]) -> float:
    """The strength that the matched controls are matched to."""
    return strengths[len(strengths) // 2]
