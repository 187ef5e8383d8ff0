"""The DistillRecipe: everything that defines a distillation, except the machine."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from diffaug.recipe.checks import interval_of
from diffaug.train.recipe import PictureRecipe

__all__ = ["DistillRecipe"]


def _check_span(value: Any) -> Any:
    """`lo:hi` of two strengths."""
    lo, hi = interval_of(value)
    if not 0 < lo < hi <= 1:
        raise ValueError(
            f"strength is lo:hi with 0 < lo < hi <= 1, such as 0.05:0.6, got {value!r}"
        )
    return f"{lo:g}:{hi:g}"


class DistillRecipe(PictureRecipe):
    """How a model is taught to do in few calls what another does in many."""

    what: ClassVar[str] = "distillation recipe"
    settled: ClassVar[tuple[str, ...]] = ("teacher_digest", "size", "channels", "classes")

    teacher: str = Field(min_length=1, description="the model to distil, as --model takes it")
    teacher_digest: str | None = Field(None, description="of its weights, once it is known")
    objective: Literal["consistency", "progressive"] = Field(
        "consistency",
        description="how the end of the teacher's way is learned: consistency, by one step of the "
        "teacher, and from there by the student's own estimate; progressive, by all of the "
        "teacher's steps",
    )
    guidance: float = Field(
        1.0,
        ge=0,
        le=100,
        description="the teacher's guidance scale, which the student takes over for the price of "
        "one row a call; 1 teaches none",
    )
    strength: Annotated[str, BeforeValidator(_check_span)] = Field(
        "0.05:0.6", description="the strengths that the student is for: lo:hi"
    )
    teacher_steps: int = Field(
        20, ge=2, le=1000, description="calls of a whole trajectory of the teacher"
    )
    class_dropout: float = Field(
        0.1,
        ge=0,
        le=1,
        description="probability of dropping the label, so that the student works without it, too",
    )
    steps: int = Field(3000, ge=1, description="optimizer steps")
    learning_rate: float = Field(2e-4, gt=0, description="peak learning rate of AdamW")
    warmup_steps: int = Field(
        100,
        ge=0,
        description="steps to the peak learning rate, at most half of all; then it decays to 0",
    )

    def span(self, total: int) -> tuple[int, int]:
        """The first and the last time that is taught, of a schedule with so many times."""
        low, high = (round(strength * (total - 1)) for strength in interval_of(self.strength))
        return max(1, low), max(2, high)
