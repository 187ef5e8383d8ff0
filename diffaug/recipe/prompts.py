"""Prompts for text-to-image models: templates over a sample's fields."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Annotated, Any

from pydantic import BeforeValidator

from diffaug.errors import DefectError
from diffaug.recipe.fields import as_list

__all__ = ["Templates", "named_by", "prompt_of"]

_FIELDS = ("label", "label_text", "key")
"""The fields of a sample that a template can name."""


def _check(value: Any) -> Any:
    templates = as_list(value)
    for template in templates if isinstance(templates, (list, tuple)) else ():
        _check_one(str(template))
    return templates


def _check_one(template: str) -> None:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"prompt {template!r}: {error}; write a literal brace twice") from None
    for _, name, spec, conversion in parts:
        if name is not None and (name not in _FIELDS or spec or conversion):
            known = ", ".join(f"{{{one}}}" for one in _FIELDS)
            raise ValueError(
                f"prompt {template!r} names {{{name}}}: it can name {known} of a sample, without a "
                "format; write a literal brace twice"
            )


Templates = Annotated[tuple[str, ...], BeforeValidator(_check)]


def named_by(templates: Templates) -> set[str]:
    """The fields of a sample that templates name, of label, label_text and key."""
    parsed = (part for template in templates for part in Formatter().parse(template))
    return {name for _, name, _, _ in parsed if name is not None}


def prompt_of(templates: Templates, copy: int, fields: Mapping[str, Any]) -> str | None:
    """The prompt of one copy, None without templates; several are cycled over copies.

    Args:
        templates: the recipe's prompts.
        copy: which copy, from 0.
        fields: the sample's label, label_text and key; None for one that it does not have.

    Raises:
        DefectError: the sample does not have a field that the template names.
    """
    if not templates:
        return None
    template = templates[copy % len(templates)]
    for _, name, _, _ in Formatter().parse(template):
        if name is not None and fields.get(name) is None:
            raise DefectError(
                f"no_{name}", f"the prompt names {{{name}}}, which the sample does not have"
            )
    return template.format(**fields)
