"""The fields of a recipe that are about texts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints

from diffaug.recipe.checks import check_words
from diffaug.recipe.clips import ClipFields, is_none
from diffaug.recipe.fields import as_name

__all__ = ["TEXT_FIELDS", "TextFields", "TextKey", "place_of"]

TEXT_FIELDS = ("text_key", "keep", "temperature", "top_p", "long_text")


def _as_place(value: object) -> object:
    """A member and, behind a colon, a field of it: the member as samples spell it."""
    if not isinstance(value, str):
        return value
    member, colon, field = value.partition(":")
    return f"{as_name(member)}{colon}{field}"


TextKey = Annotated[str, BeforeValidator(_as_place), StringConstraints(pattern=r"^[^:\s,]+(:.+)?$")]
"""How a member is named that holds a text, or has a field that does."""


def place_of(text_key: str) -> tuple[str, str | None]:
    """The member that a `TextKey` names, and its field; None: the member is the text."""
    member, _, field = text_key.partition(":")
    return member, field or None


class TextFields(ClipFields):
    """What is done to texts alone; none where it is not given (see `ClipFields`)."""

    text_key: TextKey | None = Field(
        None,
        exclude_if=is_none,
        description="the member that holds a text, txt by default; json:FIELD is a field of a JSON "
        "member",
    )
    keep: Annotated[tuple[str, ...] | None, BeforeValidator(check_words)] = Field(
        None,
        exclude_if=is_none,
        description="words of a text that are never changed, in whatever case, or /PATTERN/, a "
        "regular expression; by default those of a class that is given in words",
    )
    temperature: float | None = Field(
        None,
        ge=0,
        le=100,
        exclude_if=is_none,
        description="of the distribution from which a text's tokens are drawn: 1 by default, 0 "
        "takes the likeliest",
    )
    top_p: float | None = Field(
        None,
        gt=0,
        le=1,
        exclude_if=is_none,
        description="of a text's likeliest tokens, those that together have this probability are "
        "drawn from; all by default",
    )
    long_text: Literal["windows", "refuse"] | None = Field(
        None,
        exclude_if=is_none,
        description="a text longer than the model takes is edited in windows that overlap, which "
        "is the default, or refused",
    )

    @property
    def noun(self) -> str:
        """What messages call a sample: an image, as they call a clip too, or a text."""
        return "text" if self.medium == "text" else "image"

    @property
    def text_member(self) -> str:
        """The member that holds a text."""
        return place_of(self.text_key or "txt")[0]

    @property
    def text_field(self) -> str | None:
        """The field of that member, which is JSON; None: it is the text."""
        return place_of(self.text_key or "txt")[1]

    @property
    def sample_keys(self) -> tuple[str, ...]:
        """The members that hold the sample, by preference."""
        return (self.text_member,) if self.medium == "text" else super().sample_keys
