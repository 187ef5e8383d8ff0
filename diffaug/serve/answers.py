"""What a server answers: a picture with its row, all of it as JSON, or a recipe."""

from __future__ import annotations

import base64
import json
from typing import Any

from fastapi.responses import JSONResponse, Response

from diffaug.extensions import MEDIA_TYPES
from diffaug.job.commit import environment
from diffaug.job.rows import finite
from diffaug.serve.recipes import Registered
from diffaug.serve.store import Stored

__all__ = ["answer", "described", "matches", "picture", "tag"]

_TEXTS = ("label_text", "prompt", "reason")
"""Columns that hold whatever their author wrote, and are left out of a header."""

_HEADER = 6144
"""Bytes of the header Diffaug-Row at most."""


def matches(header: str | None, etag: str) -> bool:
    """Whether a header If-None-Match names a result."""
    if header is None:
        return False
    tags = (one.strip().removeprefix("W/") for one in header.split(","))
    return any(one in ("*", f'"{etag}"') for one in tags)


def tag(etag: str) -> dict[str, str]:
    """The header ETag."""
    return {"ETag": f'"{etag}"'}


def answer(made: Stored, recipe: Registered, accept: str) -> Response:
    """A result as the header Accept asks for it: its picture, or everything known of it as JSON."""
    if "application/json" not in accept:
        return picture(made)
    body = {
        recipe.editor.medium.name: base64.b64encode(made.data).decode(),
        "media_type": MEDIA_TYPES[made.format],
        "row": finite(made.row),
        "recipe": recipe.run.recipe.model_dump(mode="json"),
        "environment": environment(recipe.run),
    }
    return JSONResponse(body, headers=tag(made.etag))


def picture(made: Stored) -> Response:
    """A result's picture, with its row in a header unless that would be too long."""
    short = {
        name: value
        for name, value in finite(made.row).items()
        if value is not None and name not in _TEXTS
    }
    header = json.dumps(short)
    headers = tag(made.etag) | ({"Diffaug-Row": header} if len(header) <= _HEADER else {})
    return Response(made.data, media_type=MEDIA_TYPES[made.format], headers=headers)


def described(one: Registered) -> dict[str, Any]:
    """A recipe, its model, and what runs it."""
    run = one.run
    return {
        "name": one.name,
        "digest": one.digest,
        "model": run.model.model_dump(),
        "recipe": run.recipe.model_dump(mode="json"),
        "execution": run.execution.model_dump(),
        "environment": environment(run),
    }
