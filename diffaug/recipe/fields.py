"""Recipes' base class: immutable, validated fields, read from YAML or from flags."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from diffaug.errors import ConfigError, explain

__all__ = ["DEFAULT_IMAGE_KEYS", "Commas", "Fields", "Names", "ShardFields", "as_list"]

DEFAULT_IMAGE_KEYS = ("png", "jpg", "jpeg", "webp", "bmp", "gif", "tif", "tiff", "ppm", "pgm")


def as_list(value: Any) -> Any:
    """Wrap a single text in a tuple."""
    return (value,) if isinstance(value, str) else value


def _split_names(value: Any) -> Any:
    """Split ``"txt,json"``, and strip the dots of names."""
    if isinstance(value, str):
        value = value.replace(";", ",").split(",")
    if isinstance(value, (list, tuple)):
        return tuple(str(name).strip().lower().lstrip(".") for name in value if str(name).strip())
    return value


_NULLS = ("null", "~", "")
"""Values in YAML that leave a field at its default."""


class Commas(BeforeValidator):
    """Marks a field whose values arrive as one comma-separated text, and splits it."""


Names = Annotated[tuple[str, ...], Commas(_split_names)]


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
            fields = yaml.load(Path(path).read_text(encoding="utf-8"), yaml.BaseLoader)
        except OSError as error:
            raise ConfigError(f"cannot read the {cls.what} {path}: {error.strerror}") from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ConfigError(f"the {cls.what} {path} is not YAML: {error}") from None
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
    label_key: str = Field("cls", min_length=1, description="the member that holds the class")
    max_pixels: int = Field(
        50_000_000,
        ge=1,
        le=178_956_970,  # the limit at which Pillow itself refuses
        description="an image that declares more pixels is not decoded",
    )
