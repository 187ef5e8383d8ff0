"""The arms of an evaluation: what a classifier trains on in addition to the labelled images."""

from __future__ import annotations

from dataclasses import dataclass

from diffaug.evaluation.kinds import DIFFUSION
from diffaug.evaluation.settings import Evaluation, named

__all__ = ["Arm", "arms_of", "matched_arms", "uses_model"]


@dataclass(frozen=True, slots=True)
class Arm:
    """One way to train.

    Attributes:
        family: one of those of its kind, several joined by `+`, or the name of images made
            elsewhere.
        strength: how far the diffusion model noised the images; None if it made none.
        rival_for: for a matched control, which kind of image its rival was chosen for.
        images: URL of the images, if they were made elsewhere.
        own: whether these have classes of their own, and are of no labelled image.
        is_control: whether these are a control.
    """

    family: str
    strength: float | None = None
    rival_for: str | None = None
    images: str | None = None
    own: bool = False
    is_control: bool = False

    @property
    def name(self) -> str:
        """Its name in tables, plots and file names."""
        if self.rival_for is not None:
            return f"{self.family} for {self.rival_for}"
        return self.family if self.strength is None else f"{self.family} {self.strength:g}"

    @property
    def parts(self) -> tuple[str, ...]:
        """What it joins: a copy is drawn, then changed, then mixed."""
        return tuple(self.family.split("+"))

    @property
    def made(self) -> Arm | None:
        """The arm of the images that the diffusion model makes for it; None if it makes none."""
        for part in self.parts:
            if part in DIFFUSION:
                return Arm(part, self.strength)
        return None

    @property
    def pool(self) -> Arm | None:
        """The arm whose job makes its images: reconstruct's, of those that are filtered."""
        if (made := self.made) is not None and made.family == "filtered":
            return Arm("reconstruct", made.strength)
        return made

    @property
    def is_on_trial(self) -> bool:
        """Whether it is on trial rather than a control."""
        return (self.images is not None and not self.is_control) or self.made is not None


def arms_of(settings: Evaluation) -> list[Arm]:
    """The arms that do not depend on a choice: the baseline, then controls, then the rest."""
    matched = (*settings.kind.matched, settings.kind.in_turn)
    every = dict.fromkeys((settings.kind.baseline, *settings.arms))
    families = [name for name in every if name not in matched]
    controls = [arm for arm in map(Arm, families) if arm.made is None]
    for name, url in named(settings.control).items():
        controls.append(Arm(name, images=url, own=True, is_control=True))
    arms = [*controls, *(Arm(name, images=url) for name, url in settings.made_elsewhere.items())]
    arms += [Arm(name, images=url, own=True) for name, url in named(settings.further).items()]
    for kind in DIFFUSION:
        strengths = settings.one_step_strengths if kind == "one-step" else settings.strengths
        for family in families:
            if kind in family.split("+"):
                arms += [Arm(family, strength) for strength in strengths]
    return arms


def uses_model(settings: Evaluation) -> bool:
    """Whether the diffusion model makes samples for any arm."""
    return any(arm.made is not None for arm in arms_of(settings))


def matched_arms(settings: Evaluation) -> list[Arm]:
    """The controls matched to chosen arms; empty if no arm is on trial."""
    if not any(arm.is_on_trial for arm in arms_of(settings)):
        return []
    kind = settings.kind
    families = [name for name in kind.matched if name in settings.arms]
    if kind.in_turn and (len(families) == len(kind.matched) or kind.in_turn in settings.arms):
        families.append(kind.in_turn)
    return [Arm(family, rival_for=reason) for family in families for reason in kind.chosen_for]
