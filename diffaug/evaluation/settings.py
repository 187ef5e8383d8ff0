"""What an evaluation compares: the Evaluation settings, from which everything else follows."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from diffaug.evaluation.images.corruptions import CORRUPTIONS, SEVERITIES
from diffaug.recipe import Recipe
from diffaug.recipe.fields import Fields, Names

__all__ = ["DEFAULT_RECIPE", "FAMILIES", "Evaluation"]

DEFAULT_RECIPE = Recipe(copies=10, steps=10)
"""What an evaluation takes where it is given no recipe."""

FAMILIES = {
    "real": "the labelled images as they are",
    "flips-crops": "flips and crops: what every other arm has too",
    "oversampled": "the other half of the batch again, in the place of augmented images",
    "trivial-augment": "one random operation of random strength an image (Müller & Hutter 2021)",
    "mixup": "pairs of images and labels, mixed (Zhang et al. 2018)",
    "blur": "a blur that comes as near as a blur can, copy for copy, to the PSNR of the arm that "
    "validation images chose, for clean and for corrupted ones",
    "noise": "Gaussian noise of that PSNR",
    "reconstruct": "noised part-way, then denoised by the recipe",
    "filtered": "of reconstruct, what the recipe's filters keep; without any, what a classifier "
    "trained on the same labelled images takes for its class",
    "one-step": "noised part-way, then denoised by one call",
}
"""What the arms are; the last three are there once for each strength."""


def _numbers(value: Any) -> Any:
    """`20,50,100`, or one number, or a list."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return (value,) if isinstance(value, (int, float)) else value


_Strength = Annotated[float, Field(gt=0, le=1)]
_Count = Annotated[int, Field(ge=1)]


class Evaluation(Fields):
    """What is compared with what. Immutable; wrong values raise with a sentence."""

    what: ClassVar[str] = "evaluation"

    labels: Annotated[tuple[_Count, ...], BeforeValidator(_numbers)] = Field(
        (20, 50, 100), min_length=1, description="labelled images a class: one budget, or several"
    )
    seeds: int = Field(
        5, ge=2, le=1000, description="how often all is done, each time with images drawn anew"
    )
    validation: int = Field(
        50,
        ge=1,
        description="images a class, of the source or of --validation-source, on which strength "
        "and filters are chosen",
    )
    arms: Names = Field(
        tuple(FAMILIES), min_length=1, description="which arms there are; flips-crops always is"
    )
    strengths: Annotated[tuple[_Strength, ...], BeforeValidator(_numbers)] = Field(
        (0.3, 0.5, 0.7), min_length=1, description="of reconstruct and filtered"
    )
    one_step_strengths: Annotated[tuple[_Strength, ...], BeforeValidator(_numbers)] = Field(
        (0.2, 0.4, 0.6), min_length=1, description="of one-step"
    )
    classifier: str = Field(
        "cnn",
        min_length=1,
        description="cnn, a small network trained from nothing; or a transformers "
        "image-classification model to begin with: a folder, or org/name[@revision]",
    )
    train_steps: int = Field(600, ge=1, description="steps of every training, in every arm")
    train_batch: int = Field(
        64, ge=2, multiple_of=2, description="images a step; where there are augmented ones, half"
    )
    learning_rate: float | None = Field(
        None,
        gt=0,
        description="of AdamW, at its highest [default: 0.004 for cnn, 0.0001 for a transformers "
        "model]",
    )
    corruptions: Names = Field(
        tuple(CORRUPTIONS), min_length=1, description="what the test images are corrupted by"
    )
    severities: Annotated[tuple[int, ...], BeforeValidator(_numbers)] = Field(
        (1, 3, 5), min_length=1, description="how much, from 1 to 5"
    )
    size: int | None = Field(
        None, ge=8, description="width and height to resize all images to; needed where they differ"
    )
    model_saw: Literal["unknown", "labelled", "images", "classes"] | None = Field(
        None,
        description="what the diffusion model was trained on: labelled (none but the labelled "
        "images), images (others too), classes (others with their classes), or unknown [default: "
        "what its card says]",
    )

    @property
    def rate(self) -> float:
        """The learning rate."""
        return self.learning_rate or (0.004 if self.classifier == "cnn" else 0.0001)

    @model_validator(mode="after")
    def _known(self) -> Self:
        for field, known in (("arms", FAMILIES), ("corruptions", CORRUPTIONS)):
            for name in getattr(self, field):
                if name not in known:
                    raise ValueError(f"{field}: no such one, {name!r}: use {', '.join(known)}")
        for severity in self.severities:
            if severity not in SEVERITIES:
                raise ValueError(f"severities are whole numbers from 1 to 5, got {severity}")
        for field in ("labels", "strengths", "one_step_strengths", "severities"):
            if sorted(set(getattr(self, field))) != list(getattr(self, field)):
                raise ValueError(f"{field}: name each once, the smallest first")
        return self
