"""The service over HTTP: routes, and what they say."""

from __future__ import annotations

import asyncio
import base64
import json
import math
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import FastAPI, Header, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from diffaug.errors import DefectError, OutOfMemoryError
from diffaug.job.commit import environment
from diffaug.manifest.part import Row
from diffaug.serve.admission import Admission, FullError
from diffaug.serve.bodies import length_of, read_body
from diffaug.serve.metrics import Metrics
from diffaug.serve.problems import ProblemError, of_defect, problem_response
from diffaug.serve.recipes import Registered, UnknownRecipeError
from diffaug.serve.service import Asked, Service
from diffaug.serve.store import Stored
from diffaug.serve.tokens import Tokens
from diffaug.serve.worker import ClosedError
from diffaug.shards.reading import Label
from diffaug.version import __version__

__all__ = ["Limits", "State", "create_app"]

_MEDIA_TYPES = {"png": "image/png", "jpg": "image/jpeg", "webp": "image/webp"}

_TEXTS = ("label_text", "prompt", "reason")
"""Columns that hold whatever their author wrote, and are left out of a header."""

_HEADER = 6144
"""Bytes of the header Diffaug-Row at most."""

_STALLED = 120.0
"""Seconds without a step, though something waits for one, after which a server counts as dead."""

_DRAINING = 5
"""Seconds after which to ask for another server, while this one ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server takes on.

    Attributes:
        wait: seconds of work that may wait.
        body: bytes of a request's body.
    """

    wait: float
    body: int


class State:
    """What the routes share.

    Attributes:
        ready: whether the first network calls were made.
        draining: whether the server is about to end.
        active: how many requests for work are under way.
    """

    def __init__(self, service: Service, tokens: Tokens, limits: Limits) -> None:
        self.service, self.tokens, self.limits = service, tokens, limits
        self.admission = Admission(
            limits.wait,
            pace=lambda: service.worker.pace,
            progress=lambda: service.worker.progress,
        )
        self.metrics = Metrics(service, self.admission)
        self.ready = self.draining = False
        self.active = 0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a request as under way."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    def refuse_unready(self) -> None:
        """Raise the problem that a server is when it starts or ends."""
        if self.draining or not self.ready:
            why = "is ending: ask another one" if self.draining else "is starting"
            raise ProblemError(
                503, "not_ready", f"the server {why}", {"Retry-After": str(_DRAINING)}
            )


def create_app(service: Service, tokens: Tokens, limits: Limits) -> FastAPI:
    """The ASGI application of a service."""
    state = State(service, tokens, limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(_warm_up(state))
        yield
        warming.cancel()

    app = FastAPI(
        title="diffaug", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None
    )
    app.state.diffaug = state
    _add_errors(app, state)
    _add_work(app, state)
    _add_health(app, state)
    return app


async def _warm_up(state: State) -> None:
    await asyncio.to_thread(state.service.warm_up)
    state.ready = True


def _add_work(app: FastAPI, state: State) -> None:
    service, limits = state.service, state.limits

    @app.post("/v1/augment")
    async def augment(
        request: Request,
        recipe: str | None = None,
        copy: Annotated[int, Query(ge=0, lt=2**31)] = 0,
        label: Annotated[int | None, Query(ge=-(2**63), lt=2**63)] = None,
        label_text: str | None = None,
        key: str | None = None,
        accept: Annotated[str, Header()] = "*/*",
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """One augmented copy of the picture in the body."""
        owner = state.tokens.owner(request.headers.get("authorization"))
        state.refuse_unready()
        chosen = service.recipes.find(recipe)
        _refuse_type(request)
        size = length_of(request, limits.body)
        who = f"{owner} {request.client and request.client.host} {request.url.query} {size}"
        began = time.monotonic()
        state.metrics.asked(chosen.name)
        with state.working(), state.admission.place(chosen.rows, who):
            asked = Asked(
                data=await read_body(request, limits.body),
                recipe=chosen,
                copy=copy,
                label=Label(label, label_text),
                key=key,
                owner=owner,
                format="png" if _is_png_alone(accept) else None,
            )
            planned = await service.plan(asked)
            if _matches(if_none_match, planned.etag):
                raise ProblemError(412, "not_changed", "you have it already", _tag(planned.etag))
            made = await service.answer(planned)
        state.metrics.served(chosen.name, time.monotonic() - began)
        return _answer(made, chosen, accept)

    @app.get("/v1/recipes")
    async def recipes(request: Request) -> JSONResponse:
        """The recipes that may be asked for, and what made them."""
        state.tokens.owner(request.headers.get("authorization"))
        return JSONResponse([_described(one) for one in service.recipes.registered])

    @app.get("/v1/augmented/{etag}")
    async def augmented(
        request: Request,
        etag: str,
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """A copy that was made before, from the cache."""
        state.tokens.owner(request.headers.get("authorization"))
        found = await service.stored(etag)
        if found is None:
            raise ProblemError(
                404, "not_cached", f"{etag} is not in the cache: post the picture again"
            )
        if _matches(if_none_match, etag):
            return Response(status_code=304, headers=_tag(etag))
        return _picture(found)


def _add_health(app: FastAPI, state: State) -> None:
    @app.get("/livez")
    async def livez() -> Response:
        """Whether the server makes progress."""
        if state.service.worker.load().stalled > _STALLED:
            raise ProblemError(503, "stalled", "work waits, and none has been done for two minutes")
        return PlainTextResponse("ok")

    @app.get("/readyz")
    async def readyz() -> Response:
        """Whether the server takes requests."""
        state.refuse_unready()
        return PlainTextResponse("ok")

    @app.get("/metrics")
    async def metrics() -> Response:
        """What happened so far, for Prometheus."""
        return state.metrics.response()


def _add_errors(app: FastAPI, state: State) -> None:
    async def problem(request: Request, error: Exception) -> Response:
        found = _problem_of(error)
        state.metrics.refused(found.code)
        return problem_response(found)

    for kind in (
        ProblemError,
        DefectError,
        OutOfMemoryError,
        FullError,
        ClosedError,
        UnknownRecipeError,
        ClientDisconnect,
        RequestValidationError,
        HTTPException,
    ):
        app.add_exception_handler(kind, problem)


def _problem_of(error: Exception) -> ProblemError:
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, DefectError):
        return of_defect(error)
    if isinstance(error, FullError):
        return ProblemError(429, "full", str(error), {"Retry-After": str(error.retry_after)})
    if isinstance(error, (OutOfMemoryError, ClosedError)):
        code = "closed" if isinstance(error, ClosedError) else "out_of_memory"
        return ProblemError(503, code, str(error), {"Retry-After": str(_DRAINING)})
    if isinstance(error, UnknownRecipeError):
        return ProblemError(404 if error.was_named else 400, "unknown_recipe", str(error))
    if isinstance(error, RequestValidationError):
        said = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return ProblemError(400, "bad_request", said)
    if isinstance(error, HTTPException):
        return ProblemError(error.status_code, "http", str(error.detail), error.headers)
    return ProblemError(400, "gone", "the client went away")


def _refuse_type(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if not kind.startswith("image/") and kind != "application/octet-stream":
        raise ProblemError(
            415,
            "media_type",
            f"Content-Type: {kind or 'none'} is not taken: send a picture's file as image/png, "
            "image/jpeg, image/webp or another image type",
        )


def _matches(header: str | None, etag: str) -> bool:
    if header is None:
        return False
    tags = (tag.strip().removeprefix("W/") for tag in header.split(","))
    return any(tag in ("*", f'"{etag}"') for tag in tags)


def _tag(etag: str) -> dict[str, str]:
    return {"ETag": f'"{etag}"'}


def _is_png_alone(accept: str) -> bool:
    """Whether a client takes PNG and nothing else, such as one that must not lose a bit."""
    return {one.partition(";")[0].strip() for one in accept.lower().split(",")} == {"image/png"}


def _answer(made: Stored, recipe: Registered, accept: str) -> Response:
    if "application/json" not in accept:
        return _picture(made)
    body = {
        "image": base64.b64encode(made.data).decode(),
        "media_type": _MEDIA_TYPES[made.format],
        "row": _finite(made.row),
        "recipe": recipe.run.recipe.model_dump(mode="json"),
        "environment": environment(recipe.run),
    }
    return JSONResponse(body, headers=_tag(made.etag))


def _picture(made: Stored) -> Response:
    short = {
        name: value
        for name, value in _finite(made.row).items()
        if value is not None and name not in _TEXTS
    }
    header = json.dumps(short)
    headers = _tag(made.etag) | ({"Diffaug-Row": header} if len(header) <= _HEADER else {})
    return Response(made.data, media_type=_MEDIA_TYPES[made.format], headers=headers)


def _described(one: Registered) -> dict[str, Any]:
    run = one.run
    return {
        "name": one.name,
        "digest": one.digest,
        "model": run.model.model_dump(),
        "recipe": run.recipe.model_dump(mode="json"),
        "execution": run.execution.model_dump(),
        "environment": environment(run),
    }


def _finite(row: Row) -> Row:
    """A row as JSON can hold it: no infinity, which the log SNR of pure noise is."""
    return {
        name: None if isinstance(value, float) and not math.isfinite(value) else value
        for name, value in row.items()
    }
