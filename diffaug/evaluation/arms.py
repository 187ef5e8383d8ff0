"""The arms of an evaluation: what a classifier trains on in addition to the labelled images."""

from __future__ import annotations

from dataclasses import dataclass

from diffaug.evaluation.settings import Evaluation

__all__ = ["BASELINE", "CHOSEN_FOR", "DIFFUSION", "MATCHED", "Arm", "arms_of", "matched_arms"]

BASELINE = "flips-crops"
"""The arm that all others are compared with."""

DIFFUSION = ("reconstruct", "filtered", "one-step")
"""The families on trial; all others are controls."""

MATCHED = ("blur", "noise")
"""The controls that match the PSNR of a chosen arm, copy for copy."""

CHOSEN_FOR = ("clean", "corrupted")
"""The kinds of image that an arm is chosen for, on validation images."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train.

    Attributes:
        family: one of FAMILIES.
        strength: how far the diffusion model noised the images; None for a control.
        rival_for: for a matched control, which kind of image its rival was chosen for.
    """

    family: str
    strength: float | None = None
    rival_for: str | None = None

    @property
    def name(self) -> str:
        """Its name in tables, plots and file names."""
        if self.rival_for is not None:
            return f"{self.family} for {self.rival_for}"
        return self.family if self.strength is None else f"{self.family} {self.strength:g}"

    @property
    def is_diffusion(self) -> bool:
        """Whether it is on trial rather than a control."""
        return self.family in DIFFUSION


def arms_of(settings: Evaluation) -> list[Arm]:
    """The arms that do not depend on a choice, controls first."""
    families = dict.fromkeys((BASELINE, *settings.arms))
    arms = [Arm(family) for family in families if family not in (*DIFFUSION, *MATCHED)]
    for family in DIFFUSION:
        if family in families:
            one_step = family == "one-step"
            strengths = settings.one_step_strengths if one_step else settings.strengths
            arms += [Arm(family, strength) for strength in strengths]
    return arms


def matched_arms(settings: Evaluation) -> list[Arm]:
    """The controls matched to chosen arms; empty if no arm is on trial."""
    if not any(arm.is_diffusion for arm in arms_of(settings)):
        return []
    return [
        Arm(family, rival_for=reason)
        for family in MATCHED
        if family in settings.arms
        for reason in CHOSEN_FOR
    ]
