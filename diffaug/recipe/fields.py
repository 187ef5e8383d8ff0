"""Recipes' base class: immutable, validated fields, read from YAML or from flags."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from diffaug import extensions
from diffaug.errors import ConfigError, explain
from diffaug.storage import local_path

__all__ = [
    "DEFAULT_IMAGE_KEYS",
    "LABEL_KEY",
    "Commas",
    "Fields",
    "LabelKey",
    "Names",
    "ShardFields",
    "as_list",
    "as_name",
    "as_names",
]

DEFAULT_IMAGE_KEYS = extensions.READ


def as_list(value: Any) -> Any:
    """Wrap a single text in a tuple."""
    return (value,) if isinstance(value, str) else value


def as_name(value: Any) -> Any:
    """A member's name as samples spell it: in lower case, without a leading dot or blanks."""
    return value.strip().lstrip(".").strip().lower() if isinstance(value, str) else value


def as_names(value: Any) -> Any:
    """Split ``"txt,json"`` into names as samples spell them; empty ones are left out."""
    if isinstance(value, str):
        value = value.replace(";", ",").split(",")
    if isinstance(value, (list, tuple)):
        return tuple(filter(None, (as_name(str(name)) for name in value)))
    return value


def _check_background(value: Any) -> Any:
    """A colour as #rrggbb, however it is spelled."""
    from PIL import ImageColor

    if value is None:
        return None
    colour: tuple[int, ...] = ()
    with contextlib.suppress(ValueError):
        colour = ImageColor.getrgb(str(value).strip())
    if len(colour) != 3 or not all(0 <= level <= 255 for level in colour):
        raise ValueError(
            f"background must be an opaque colour such as white, black or #8080ff, got {value!r}"
        )
    return "#{:02x}{:02x}{:02x}".format(*colour)


_HIDDEN = re.compile(r"^background:[ \t]+#[0-9a-fA-F]{3,8}[ \t]*$", re.MULTILINE)
"""A line of YAML whose value is a comment, though it was meant as a colour."""

_NULLS = ("null", "~", "")
"""Values in YAML that leave a field at its default."""


class Commas(BeforeValidator):
    """Marks a field whose values arrive as one comma-separated text, and splits it."""


Names = Annotated[tuple[str, ...], Commas(as_names)]


class Fields(BaseModel):
    """Immutable fields; a wrong value raises, with a message.

    Attributes:
        what: what errors call the fields, such as "recipe".
        suggested: the fields whose defaults a model's card may suggest.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    what: ClassVar[str]
    suggested: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def from_yaml(cls, path: str | Path, **overrides: Any) -> Self:
        """Read fields from a file; `overrides` win, and `null` or no value means the default.

        Raises:
            ConfigError: the file cannot be read, is not a mapping, or a field is wrong.
        """
        try:
            # read every value as text, as its flag would give it: no octals, and 1:30 is not 90
            text = local_path(path).read_text(encoding="utf-8")
            fields = yaml.load(text, yaml.BaseLoader)
        except OSError as error:
            raise ConfigError(f"cannot read the {cls.what} {path}: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"the {cls.what} {path} is not YAML: {error}") from None
        if _HIDDEN.search(text):
            raise ConfigError(
                f"the {cls.what} {path}: background has no value, since # begins a comment in "
                "YAML: quote the colour"
            )
        fields = {} if fields is None else fields
        if not isinstance(fields, dict):
            raise ConfigError(f"the {cls.what} {path} must be a mapping of fields, such as seed: 0")
        fields = {name: value for name, value in fields.items() if value not in _NULLS}
        return cls.of(fields | overrides, where=f"{cls.what} {path}")

    @classmethod
    def taken(cls, given: Any) -> Self:
        """What a caller gave as such fields: they themselves, or a mapping of some of them.

        Raises:
            ConfigError: it is neither, or a field is wrong.
        """
        if isinstance(given, cls):
            return given
        if isinstance(given, Mapping):
            return cls.of(dict(given))
        name, kind = cls.__name__, type(given).__name__
        raise ConfigError(
            f"the {cls.what} must be a {name} or a dict of its fields, got {kind}: for the fields "
            f"in a file, give {name}.from_yaml(path)"
        )

    @classmethod
    def of(cls, fields: dict[str, Any], where: str = "") -> Self:
        """Build it from plain fields.

        Raises:
            ConfigError: a field is wrong; the message begins with `where`.
        """
        try:
            return cls.model_validate(fields)
        except ValidationError as error:
            raise ConfigError(f"{where or cls.what}: {explain(error)}") from None

    def as_yaml(self) -> str:
        """Every field as YAML, so that the text keeps its meaning if defaults change."""
        fields = self.model_dump(mode="json")
        return yaml.safe_dump(fields, sort_keys=False, allow_unicode=True)


LabelKey = Annotated[str, BeforeValidator(as_name)]
LABEL_KEY: str = Field("cls", min_length=1, description="the member that holds the class")


class ShardFields(Fields):
    """How the samples of a shard are read."""

    fit: Literal["auto", "pad", "resize", "fit", "exact"] = Field(
        "auto",
        description="how an image gets the model's size: pad (with black), resize, fit (crop the "
        "middle, keeping the aspect ratio), exact (it must have that size), or auto (pad if "
        "smaller by at most a quarter, else resize)",
    )
    image_key: Names = Field(
        DEFAULT_IMAGE_KEYS, min_length=1, description="members that hold the image, by preference"
    )
    label_key: LabelKey = LABEL_KEY
    max_pixels: int = Field(
        50_000_000,
        ge=1,
        le=178_956_970,  # the limit at which Pillow itself refuses
        description="an image that declares more pixels is not decoded",
    )
    background: Annotated[str | None, BeforeValidator(_check_background)] = Field(
        None,
        description="the colour behind transparent pixels: a name, or #rrggbb; by default white, "
        "or black where the file stores greys",
    )

    @property
    def clip_keys(self) -> tuple[str, ...]:
        """The members that hold a clip, by preference: by default all that can."""
        return extensions.ANIMATED if self.image_key == DEFAULT_IMAGE_KEYS else self.image_key

    @field_validator("image_key")
    @classmethod
    def _of_today(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        """The default of 0.1.0, which its outputs have frozen, means today's default."""
        return DEFAULT_IMAGE_KEYS if keys == extensions.FIRST else keys
