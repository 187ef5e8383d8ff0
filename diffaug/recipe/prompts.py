"""What a text-to-image model is told of each image: templates over a sample's fields."""

from __future__ import annotations

from collections.abc import Mapping
from string import Formatter
from typing import Annotated, Any

from pydantic import BeforeValidator

from diffaug.errors import DefectError
from diffaug.recipe.fields import as_list

__all__ = ["Templates", "prompt_of"]

_FIELDS = ("label", "label_text", "key")
"""What of a sample a template can name."""


def _check(value: Any) -> Any:
    templates = as_list(value)
    for template in templates if isinstance(templates, (list, tuple)) else ():
        _check_one(str(template))
    return templates


def _check_one(template: str) -> None:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"prompt {template!r}: {error}; a brace itself is written twice") from None
    for _, name, spec, conversion in parts:
        if name is not None and (name not in _FIELDS or spec or conversion):
            known = ", ".join(f"{{{one}}}" for one in _FIELDS)
            raise ValueError(
                f"prompt {template!r} names {{{name}}}: it can name {known} of a sample, as they "
                "stand; a brace itself is written twice"
            )


Templates = Annotated[tuple[str, ...], BeforeValidator(_check)]


def prompt_of(templates: Templates, copy: int, fields: Mapping[str, Any]) -> str | None:
    """The prompt of one copy, None without templates; several are cycled over copies.

    Args:
        templates: of prompts.
        copy: which copy, from 0.
        fields: the sample's label, label_text and key; those it does not have are None.

    Raises:
        DefectError: the sample does not have a field that the template names.
    """
    if not templates:
        return None
    template = templates[copy % len(templates)]
    for _, name, _, _ in Formatter().parse(template):
        if name is not None and fields.get(name) is None:
            raise DefectError(f"no_{name}", f"the prompt names {{{name}}}, which is not there")
    return template.format(**fields)
