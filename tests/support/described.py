"""Answers compared with the OpenAPI document that describes them."""

from __future__ import annotations

from typing import Any

import httpx
from jsonschema import Draft202012Validator

__all__ = ["conform", "valid"]

Document = dict[str, Any]


def conform(document: Document, path: str, answer: httpx.Response) -> None:
    """Assert that an answer is one of those that the document has for its request.

    Args:
        document: in OpenAPI 3.1.
        path: the path in it, with its parameters in braces.
        answer: with its request.
    """
    method = document["paths"][path][answer.request.method.lower()]
    assert str(answer.status_code) in method["responses"], answer.text
    said = _resolved(document, method["responses"][str(answer.status_code)])
    for name, header in said.get("headers", {}).items():
        assert name in answer.headers or not header.get("required")
        if name in answer.headers:
            given: Any = answer.headers[name]
            if header["schema"].get("type") == "integer":
                given = int(given)
            valid(document, header["schema"], given)
    if "content" not in said:
        assert answer.content == b""
        return
    media_type = answer.headers["content-type"].partition(";")[0]
    schema = said["content"][media_type]["schema"]
    if media_type.endswith("json"):
        valid(document, schema, answer.json())


def valid(document: Document, schema: Any, value: Any) -> None:
    """Assert that a value is as a schema of the document has it."""
    components = {"components": document["components"]}
    Draft202012Validator(components | schema).validate(value)


def _resolved(document: Document, found: Any) -> Any:
    if "$ref" not in found:
        return found
    for part in found["$ref"].removeprefix("#/").split("/"):
        document = document[part]
    return document
