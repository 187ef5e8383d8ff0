"""The arms of an evaluation: what a classifier sees beside the labelled images themselves."""

from __future__ import annotations

from dataclasses import dataclass

from diffaug.evaluation.settings import Evaluation

__all__ = ["BASELINE", "CHOSEN_FOR", "DIFFUSION", "MATCHED", "Arm", "arms_of", "matched_arms"]

BASELINE = "flips-crops"
"""What every arm is compared with."""

DIFFUSION = ("reconstruct", "filtered", "one-step")
"""The families that are on trial; all others are controls."""

MATCHED = ("blur", "noise")
"""The controls that are as far from their images, copy for copy, as an arm that was chosen."""

CHOSEN_FOR = ("clean", "corrupted")
"""What arms are chosen for, on validation images."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train.

    Attributes:
        family: one of FAMILIES.
        strength: of what the diffusion model did; None where it did nothing.
        rival_for: of a matched control, what the arm that it is matched to was chosen for.
    """

    family: str
    strength: float | None = None
    rival_for: str | None = None

    @property
    def name(self) -> str:
        """Its name in tables and plots."""
        if self.rival_for is not None:
            return f"{self.family} for {self.rival_for}"
        return self.family if self.strength is None else f"{self.family} {self.strength:g}"

    @property
    def is_diffusion(self) -> bool:
        """Whether it is on trial, rather than a control."""
        return self.family in DIFFUSION


def arms_of(settings: Evaluation) -> list[Arm]:
    """The arms that are there before anything was chosen, controls first."""
    families = dict.fromkeys((BASELINE, *settings.arms))
    arms = [Arm(family) for family in families if family not in (*DIFFUSION, *MATCHED)]
    for family in DIFFUSION:
        if family in families:
            one_step = family == "one-step"
            strengths = settings.one_step_strengths if one_step else settings.strengths
            arms += [Arm(family, strength) for strength in strengths]
    return arms


def matched_arms(settings: Evaluation) -> list[Arm]:
    """The controls that are matched to the arms that were chosen; none where nothing is."""
    if not any(arm.is_diffusion for arm in arms_of(settings)):
        return []
    return [
        Arm(family, rival_for=reason)
        for family in MATCHED
        if family in settings.arms
        for reason in CHOSEN_FOR
    ]
