"""The fields of a recipe that are about its medium."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from diffaug.recipe.checks import check_fps, check_noise_time, check_window
from diffaug.recipe.fields import ShardFields

__all__ = ["ClipFields", "is_none"]


def is_none(value: object) -> bool:
    """Whether a field was not given, and is not written down."""
    return value is None


class ClipFields(ShardFields):
    """What samples are, images, clips or texts, and what is done to clips alone.

    A field that is none is not written down: recipes of images look as if there were no clips.
    """

    medium: Literal["image", "clip", "text"] | None = Field(
        None,
        exclude_if=is_none,
        description="image, clip or text; by default text if the model is a language model, and "
        "clip in a job whose first sample has a video (mp4, webm, mkv) and no image. An animated "
        "gif, apng or webp, and arrays in npy or npz, are clips only if this says so",
    )
    noise_time: Annotated[str | None, BeforeValidator(check_noise_time)] = Field(
        None,
        exclude_if=is_none,
        description="what the frames of a clip share of their noise: shared (all of it, the "
        "default), independent, or mixed:RHO, of which any two frames correlate by RHO",
    )
    frames: int | None = Field(
        None,
        ge=1,
        exclude_if=is_none,
        description="how many frames of a clip are taken at most, from the first on",
    )
    fps: Annotated[str | None, BeforeValidator(check_fps)] = Field(
        None,
        exclude_if=is_none,
        description="frames a second that are taken of a clip; by default those that it has (25 of "
        "arrays)",
    )
    window: Annotated[str | None, BeforeValidator(check_window)] = Field(
        None,
        exclude_if=is_none,
        description="the part of a clip that is taken, in seconds: begin:end",
    )

    @property
    def sample_keys(self) -> tuple[str, ...]:
        """The members that hold the sample, by preference."""
        return self.clip_keys if self.medium == "clip" else self.image_key

    def check_medium(self, medium: str) -> None:
        """Check the fields that were given as those of a recipe with this medium.

        Raises:
            ConfigError: one asks for what the medium has not.
        """
        given = {name: getattr(self, name) for name in self.model_fields_set}
        self.of(given | {"medium": medium})
