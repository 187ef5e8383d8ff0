"""A command's flags for the fields of a recipe, generated from the fields."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, get_origin

from cyclopts import Parameter

from diffaug.recipe.fields import Commas, Fields

__all__ = ["Flags"]


class Flags:
    """One flag per field of a recipe: a text, or a list of texts; None unless given.

    A subclass is the type of one parameter of a command; cyclopts generates the flags from it. The
    texts are validated when a recipe is built from them, like those in a file.

    Example:
        >>> from diffaug.recipe import Recipe
        >>> class RecipeFlags(Flags, of=Recipe):
        ...     "The flags of a recipe."
        >>> RecipeFlags(strength="0.3").given()
        {'strength': '0.3'}

    Class arguments:
        of: the recipe.
        only: the names of the fields that become flags; by default all.
        defaults: a recipe whose values the help shows as defaults; without one, the help shows the
            fields' own.
        group: the heading above the flags in the help.
        leading_hyphen: the names of the fields whose text may begin with a hyphen.
    """

    def __init_subclass__(
        cls,
        *,
        of: type[Fields],
        only: Collection[str] = (),
        defaults: Fields | None = None,
        group: str = "Recipe (overrides --recipe)",
        leading_hyphen: Collection[str] = (),
    ) -> None:
        own = [name for name in of.model_fields if name in of.__annotations__]
        types: dict[str, Any] = {}
        for name in only or dict.fromkeys([*own, *of.model_fields]):
            info = of.model_fields[name]
            commas = any(isinstance(mark, Commas) for mark in info.metadata)
            several = get_origin(info.annotation) is tuple and not commas
            types[name] = Annotated[
                list[str] | None if several else str | None,
                _flag(of, name, group, defaults),
                Parameter(allow_leading_hyphen=name in leading_hyphen),
            ]
            setattr(cls, name, None)
        cls.__annotations__ = types
        Parameter(name="*")(dataclass(frozen=True, kw_only=True)(cls))

    if TYPE_CHECKING:  # the dataclass has one parameter per field

        def __init__(self, **texts: str | list[str] | None) -> None: ...

    def given(self) -> dict[str, Any]:
        """The fields that were given, by name."""
        return {name: value for name, value in vars(self).items() if value is not None}


def _flag(fields: type[Fields], name: str, group: str, defaults: Fields | None) -> Parameter:
    """The flag of a field, without a default: the file may set the field.

    Its help shows the field's default, or its value in `defaults`.
    """
    info = fields.model_fields[name]
    default = info.get_default() if defaults is None else getattr(defaults, name)
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    if isinstance(shown, dict):
        shown = shown["preset"]
    if defaults is None and name in fields.suggested:
        shown = f"the model card's suggestion, else {shown}"
    bare = shown == "" or shown is None
    help = info.description if bare else f"{info.description} [default: {shown}]"
    return Parameter(help=help, group=group, show_default=False, negative=())
