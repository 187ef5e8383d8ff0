"""Copies of one picture planned by an editor, where none may be a defect."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from PIL import Image

from diffaug.editor import Draft, Editor, Source
from diffaug.errors import DefectError
from diffaug.shards.reading import Label

__all__ = ["draft_copies"]


def draft_copies(
    editor: Editor,
    image: Image.Image,
    fields: Mapping[str, Any],
    copies: Iterable[int],
    mask: Image.Image | None = None,
) -> list[Draft]:
    """The drafts of these copies; `fields` are the sample's label, label_text and key.

    Raises:
        DefectError: a copy cannot be planned.
    """
    label = Label(fields.get("label"), fields.get("label_text"))
    source = Source(image=image, stored=image, label=label, key=fields.get("key"), mask=mask)
    drafts = []
    for draft in editor.plan(source, copies):
        if isinstance(draft, DefectError):
            raise draft
        drafts.append(draft)
    return drafts
