"""The OpenAPI document: valid, and what FastAPI finds in the routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from openapi_spec_validator import OpenAPIV31SpecValidator

from diffaug.execution import Execution
from diffaug.recipe import Recipe
from diffaug.serve.app import create_app
from diffaug.serve.limits import Limits
from diffaug.serve.openapi import openapi
from diffaug.serve.recipes import Recipes
from diffaug.serve.service import Service
from diffaug.serve.tokens import Tokens
from diffaug.version import __version__
from tests.support.described import valid
from tests.support.jobs import GREY


@pytest.fixture(scope="module")
def app() -> Iterator[FastAPI]:
    execution = Execution()
    service = Service(Recipes({"default": Recipe(model=GREY)}, execution), execution)
    yield create_app(service, Tokens(), Limits())
    assert service.close()


@pytest.fixture(params=[False, True], ids=["open", "with tokens"])
def document(request: pytest.FixtureRequest) -> dict[str, Any]:
    return openapi(requires_token=request.param)


def operations(document: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (method, path): found
        for path, methods in document["paths"].items()
        for method, found in methods.items()
    }


def test_it_is_openapi(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()
    assert document["info"]["version"] == __version__


def test_the_routes_are_those_of_the_application(app: FastAPI, document: dict[str, Any]) -> None:
    routes = {
        (method.lower(), route.path)
        for route in app.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }
    assert set(operations(document)) == routes


def test_parameters_are_those_that_are_read(app: FastAPI, document: dict[str, Any]) -> None:
    """Names and bounds, as FastAPI reads them off the functions of the routes."""
    read = operations(get_openapi(title="", version="", routes=app.routes))
    for name, said in operations(document).items():
        assert bounds(said) == bounds(read[name])


def bounds(operation: dict[str, Any]) -> dict[tuple[str, str], tuple[Any, ...]]:
    found = {}
    for parameter in operation.get("parameters", []):
        schema = next(
            (one for one in parameter["schema"].get("anyOf", []) if one["type"] != "null"),
            parameter["schema"],
        )
        most = schema.get("maximum", schema.get("exclusiveMaximum", 1) - 1)
        whole = schema.get("type") == "integer"
        found[parameter["in"], parameter["name"].lower()] = (
            schema["type"],
            schema.get("minimum") if whole else None,
            most if whole else None,
        )
    found.pop(("header", "accept"), None)  # by OpenAPI it is said by the media types of answers
    return found


def test_examples_are_as_their_schemas(document: dict[str, Any]) -> None:
    responses = document["components"]["responses"]
    for response in responses.values():
        (content,) = response["content"].values()
        valid(document, content["schema"], content["example"])
    examples = [
        (parameter["schema"], parameter["example"])
        for operation in operations(document).values()
        for parameter in operation.get("parameters", [])
        if "example" in parameter
    ]
    for schema, example in examples:
        valid(document, schema, example)
    assert len(responses) > 10
    assert len(examples) > 5


def test_a_token_is_asked_for_where_there_are_some(document: dict[str, Any]) -> None:
    guarded = {"/v1/augment", "/v1/augmented/{etag}", "/v1/recipes"}
    tokens = "securitySchemes" in document["components"]
    for (_, path), operation in operations(document).items():
        asks = tokens and path in guarded
        assert operation.get("security", []) == ([{"token": []}] if asks else [])
        assert ("401" in operation["responses"]) == asks


def test_every_response_in_use_is_defined_and_every_defined_one_is_used(
    document: dict[str, Any],
) -> None:
    used = {
        response["$ref"].rpartition("/")[2]
        for operation in operations(document).values()
        for response in operation["responses"].values()
        if "$ref" in response
    }
    spare = set() if "securitySchemes" in document["components"] else {"NoToken"}
    assert used == set(document["components"]["responses"]) - spare
