"""The service on Ray Serve: replicas behind one address, as `deploy/ray-serve.yaml` has it.

Each replica is what `diffaug serve` starts, with lanes, queue and cache of its own; Ray's proxy in
front of them chooses one for each request. Whichever it is, the bytes are the same.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from starlette.types import ASGIApp

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.recipe import Recipe
from diffaug.serve.app import create_app
from diffaug.serve.limits import Limits
from diffaug.serve.recipes import Recipes
from diffaug.serve.service import Service
from diffaug.serve.store import Store
from diffaug.serve.tokens import Tokens, read_tokens

__all__ = ["Replica", "Settings", "build"]

_LIMITS = Limits()

_REQUESTS = 1000
"""Requests that a replica has at the same time; it refuses by itself what it cannot do in time."""

_DRAIN = 45
"""Seconds that a replica has to end what it holds."""


class Settings(BaseModel):
    """The `args` of the application, named and meant as the flags of `diffaug serve`.

    Attributes:
        recipes: fields of recipes, by the names that requests ask for.
        tokens: file of tokens, on every node.
        cache: folder of results, on every node or shared.
        max_cache: bytes of results to keep.
        max_wait: seconds of work that may wait in each replica.
        max_body: bytes of a picture, or of the members of a shard's sample that are read.
        batch_size: lanes of each replica.
        dtype: float32 or bfloat16; None: the faster one of the replica's machine.
        device: cpu, cuda or cuda:N; None: cuda if available.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipes: dict[str, dict[str, Any]] = Field(default={"default": {}}, min_length=1)
    tokens: str | None = None
    cache: str | None = None
    max_cache: int = Field(default=_LIMITS.cache, gt=0)
    max_wait: float = Field(default=_LIMITS.wait, gt=0)
    max_body: int = Field(default=_LIMITS.body, gt=0)
    batch_size: int | None = None
    dtype: str | None = None
    device: str | None = None


class Replica:
    """A server's application, without its socket.

    Args:
        settings: of the deployment.

    Raises:
        ConfigError: the model or the file of tokens is not there, or a recipe cannot be.
    """

    def __init__(self, settings: Settings) -> None:
        execution = Execution.choose(settings.batch_size, settings.dtype, settings.device)
        store = None if settings.cache is None else Store(settings.cache, settings.max_cache)
        recipes = {name: Recipe.of(fields) for name, fields in settings.recipes.items()}
        tokens = Tokens() if settings.tokens is None else read_tokens(Path(settings.tokens))
        limits = Limits(wait=settings.max_wait, body=settings.max_body)
        service = Service(Recipes(recipes, execution), execution, store)
        self._app = create_app(service, tokens, limits)
        self._state = self._app.state.diffaug

    def __serve_build_asgi_app__(self) -> ASGIApp:
        return self._app

    async def check_health(self) -> None:
        """Raise what `livez` would fail with; at first, wait until `readyz` would not."""
        while not self._state.ready:
            if self._state.failure is not None:
                raise self._state.failure
            await asyncio.sleep(0.05)
        self._state.refuse_stalled()

    async def __del__(self) -> None:
        await asyncio.to_thread(self._state.service.close, 0)


def build(args: dict[str, Any]) -> serve.Application:
    """The application of `args`; see `Settings`.

    Raises:
        pydantic.ValidationError: a setting is unknown, or has another type.
        ConfigError: a recipe has an unknown field, or a wrong value.
    """
    settings = Settings.model_validate(args)
    for name, fields in settings.recipes.items():
        try:
            Recipe.of(fields)
        except ConfigError as error:
            raise ConfigError(f"recipes, {name}: {error}") from None
    deployment = serve.deployment(
        serve.ingress()(Replica),
        max_ongoing_requests=_REQUESTS,
        graceful_shutdown_timeout_s=_DRAIN,
    )
    made: serve.Application = deployment.bind(settings)
    return made
