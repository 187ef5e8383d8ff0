"""The description of the service in OpenAPI: openapi.yaml, and what only the code knows."""

from __future__ import annotations

from http import HTTPStatus
from importlib.resources import files
from typing import Any

import yaml

from diffaug.manifest.columns import columns_of
from diffaug.recipe import Recipe
from diffaug.version import __version__

__all__ = ["openapi"]

_PROBLEMS = {
    "Broken": (400, "unreadable_image", "the bytes are not in a known image format"),
    "NoToken": (401, "no_token", "send the header Authorization: Bearer TOKEN"),
    "UnknownRecipe": (404, "unknown_recipe", "recipe: there is no 'strong' here; there is weak"),
    "NotCached": (404, "not_cached", "01ab is not in the cache: post the picture again"),
    "Slow": (408, "slow_body", "the body came too slowly: 9 bytes so far, and none for a while"),
    "NotChanged": (412, "not_changed", "you have it already"),
    "TooLarge": (413, "too_large_body", "the body has more than 67108864 bytes"),
    "MediaType": (415, "media_type", "Content-Type: text/plain is not taken"),
    "Impossible": (422, "no_label", "condition is label, and the sample has no integer class"),
    "Full": (429, "full", "the server has as much work as it takes on: try again in 7 s"),
    "NonFinite": (500, "non_finite", "the model's output is not finite"),
    "NotReady": (503, "not_ready", "the server is starting"),
    "Stalled": (503, "stalled", "work waits, and none has been done for two minutes"),
}
"""Of each response that is a problem: its status, and the code and the detail of an example."""

_TYPES = {"string": "string", "double": "number", "int32": "integer", "int64": "integer"}


def openapi(*, requires_token: bool) -> dict[str, Any]:
    """The document, in OpenAPI 3.1.

    Args:
        requires_token: whether requests for work must have a token.
    """
    text = (files("diffaug.serve") / "templates/openapi.yaml").read_text(encoding="utf-8")
    found: dict[str, Any] = yaml.safe_load(text)
    found["info"]["version"] = __version__
    components = found["components"]
    components["schemas"] |= {"Row": _row(), "Recipe": Recipe.model_json_schema()}
    for name, response in components["responses"].items():
        response["content"] = _problem(*_PROBLEMS[name])
    if requires_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    for method in _work(found):
        if requires_token:
            method["security"] = [{"token": []}]
        else:
            del method["responses"]["401"]
    return found


def _work(found: dict[str, Any]) -> list[dict[str, Any]]:
    """The operations for which a token may be required."""
    methods = [method for path in found["paths"].values() for method in path.values()]
    return [method for method in methods if method["tags"] == ["work"]]


def _problem(status: int, code: str, detail: str) -> dict[str, Any]:
    title = HTTPStatus(status).phrase
    example = {"type": "about:blank", "title": title, "status": status, "detail": detail}
    return {
        "application/problem+json": {
            "schema": {"$ref": "#/components/schemas/Problem"},
            "example": example | {"code": code},
        }
    }


def _row() -> dict[str, Any]:
    """A manifest row, of a picture or a clip, as JSON can hold it: null where it is not finite."""
    return {
        "type": "object",
        "description": "A row of the manifest; its columns are null where they are left out.",
        "properties": {
            name: {"type": [_TYPES[kind], "null"], "description": what}
            for name, (kind, what) in columns_of(["medium"]).items()
        },
        "additionalProperties": False,
        "required": ["sample_id", "copy", "source_sha256", "output_sha256", "status"],
    }
