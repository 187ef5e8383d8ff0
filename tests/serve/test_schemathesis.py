"""Requests that Schemathesis makes from the OpenAPI document: none is answered by a 500."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.forks import Forks
from tests.support.hostile import png
from tests.support.hostile_case import between, files
from tests.support.serving import Server, recipe_file, serving

pytestmark = pytest.mark.services

TINY: dict[str, Any] = {"model": "fashion-mnist-32", "strength": 0.02, "detail": "none"}
EXAMPLES = 20
"""Requests for each route and kind of value, the same in each run."""

CHECKS = [
    not_a_server_error,
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
]
ASKED = [
    ("POST", "/v1/augment", GenerationMode.POSITIVE),
    ("POST", "/v1/augment", GenerationMode.NEGATIVE),
    ("GET", "/v1/augmented/{etag}", GenerationMode.POSITIVE),  # which any text is
]
"""Routes that have parameters, with such as the document allows, and such as it does not."""


BODIES = {
    "image/*": st.sampled_from([png(1), png(2), png(1)[:200], b"nothing", b""]),
    "application/octet-stream": st.sampled_from([png(1), b""]) | st.binary(max_size=100),
    "application/x-tar": st.sampled_from([between(files(["b.png"])), between([])[:700], b""]),
}


@pytest.fixture(scope="module")
def server(forked: Forks, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("schemathesis")
    recipe = recipe_file(folder, "tiny", **TINY)
    with serving(forked, "--recipe", recipe, "--cache", folder / "cache") as server:
        yield server


@pytest.fixture(scope="module")
def schema(server: Server) -> Any:
    for media_type, bodies in BODIES.items():
        schemathesis.openapi.media_type(media_type, bodies)
    document = server.client.get("/openapi.json").json()
    return schemathesis.openapi.from_dict(document)


@pytest.mark.parametrize(("method", "path", "mode"), ASKED)
def test_it_is_answered_as_the_document_says(
    server: Server, schema: Any, method: str, path: str, mode: GenerationMode
) -> None:
    asked = 0
    operation = schema[path][method]

    @hypothesis.settings(
        derandomize=True,
        database=None,
        deadline=None,
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode))
    def ask(case: Case[Any]) -> None:
        nonlocal asked
        asked += 1
        case.call_and_validate(base_url=server.url, checks=CHECKS)

    ask()
    assert asked > 0
    assert "Traceback" not in server.process.err
