"""Prompts: a sample's texts are put in as they are."""

from __future__ import annotations

import pytest

from diffaug.recipe import Recipe


@pytest.mark.parametrize("text", ["{key}", "{0.__class__}", "{key!r:>9999999}", "%s%n", "{"])
def test_a_text_is_no_template(text: str) -> None:
    recipe = Recipe(model="any", prompt="a photo of {label_text}, {key}")
    fields = {"label": 1, "label_text": text, "key": text}
    assert recipe.prompt_of(0, fields) == f"a photo of {text}, {text}"
