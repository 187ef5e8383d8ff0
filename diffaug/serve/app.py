"""The service over HTTP: routes, and what they say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from typing import Annotated

from fastapi import FastAPI, Header, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from diffaug.extensions import MEDIA_TYPES
from diffaug.serve.answers import answer, described, matches, picture, tag
from diffaug.serve.bodies import length_of, read_body
from diffaug.serve.gone import unless_gone
from diffaug.serve.limits import Limits
from diffaug.serve.openapi import openapi
from diffaug.serve.page import add_pages
from diffaug.serve.parameters import Copy, Key, LabelNumber, LabelText
from diffaug.serve.problems import PROBLEMS, ProblemError, problem_of, problem_response
from diffaug.serve.recipes import Registered
from diffaug.serve.service import Asked, Service
from diffaug.serve.state import State
from diffaug.serve.store import Stored
from diffaug.serve.tars import TAR, answer_shard
from diffaug.serve.tokens import Tokens
from diffaug.shards.reading import Label

__all__ = ["create_app"]


def create_app(service: Service, tokens: Tokens, limits: Limits) -> FastAPI:
    """The ASGI application of a service."""
    state = State(service, tokens, limits)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warming = asyncio.create_task(_warm_up(state))
        yield
        warming.cancel()

    # a redirection for a slash would lead to whatever host a request names
    app = FastAPI(lifespan=lifespan, openapi_url=None, redirect_slashes=False)
    app.state.diffaug = state
    _add_errors(app, state)
    _add_work(app, state)
    _add_health(app, state)
    add_pages(app, openapi(requires_token=tokens.are_required))
    return app


async def _warm_up(state: State) -> None:
    try:
        await asyncio.to_thread(state.service.warm_up)
    except Exception as error:  # whatever it is, the server ends with it
        state.failure = error
    else:
        state.ready = True


def _add_work(app: FastAPI, state: State) -> None:
    service, limits = state.service, state.limits

    @app.post("/v1/augment")
    async def augment(
        request: Request,
        recipe: str | None = None,
        copy: Copy = 0,
        label: LabelNumber | None = None,
        label_text: LabelText | None = None,
        key: Key | None = None,
        accept: Annotated[str, Header()] = "*/*",
        if_none_match: Annotated[str | None, Header()] = None,
    ) -> Response:
        """One augmented copy of the picture in the body, or all copies of each sample of a tar."""
        owner = state.tokens.owner(request.headers.get("authorization"))
        state.refuse_unready()
        chosen = service.recipes.find(recipe)
        request.state.recipe = chosen.name
        if _media_type(request) == TAR:
            return await answer_shard(state, request, chosen, owner)
        _refuse_type(request)
        size = length_of(request, limits.body)
        who = f"{owner} {request.client and request.client.host} {request.url.query} {size}"
        began = time.monotonic()
        state.metrics.asked(chosen.name)
        state.admission.check(chosen.rows, who)
        with state.working():
            data = await read_body(request, limits.body)
            with ExitStack() as place:
                place.enter_context(state.admission.place(chosen.rows, who))
                asked = Asked(
                    data=data,
                    recipe=chosen,
                    copy=copy,
                    label=Label(label, label_text),
                    key=key,
                    owner=owner,
                    format=_format(accept, chosen),
                )
                made = await unless_gone(request, _made(state, asked, if_none_match, place))
        state.metrics.served(chosen.name, time.monotonic() - began)
        return answer(made, chosen, accept)

    @app.get("/v1/recipes")
    async def recipes(request: Request) -> JSONResponse:
        """The recipes that may be asked for, and what made them."""
        state.tokens.owner(request.headers.get("authorization"))
        return JSONResponse([described(one) for one in service.recipes.registered])

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
        if matches(if_none_match, etag):
            return Response(status_code=304, headers=tag(etag))
        return picture(found)


def _add_health(app: FastAPI, state: State) -> None:
    @app.get("/livez")
    async def livez() -> Response:
        """Whether the server makes progress."""
        state.refuse_stalled()
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
        found = problem_of(error)
        state.metrics.refused(found.code, getattr(request.state, "recipe", ""))
        return problem_response(found)

    for kind in (*PROBLEMS, Exception):
        app.add_exception_handler(kind, problem)


async def _made(state: State, asked: Asked, if_none_match: str | None, place: ExitStack) -> Stored:
    service = state.service
    async with service.room(asked) as held:
        planned = await service.plan(asked)
        held.keep(planned.held)
        if matches(if_none_match, planned.etag):
            raise ProblemError(412, "not_changed", "you have it already", tag(planned.etag))
        if (made := await service.found(planned)) is None:
            with state.admission.clip(service.frames_to_make(planned)):
                if planned.edit.frames is not None:
                    place.close()  # its frames have places of their own
                made = await service.made(planned)
    return replace(made, row=made.row | planned.row)  # another's names its own key and texts


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _refuse_type(request: Request) -> None:
    kind = _media_type(request)
    if not kind.startswith(("image/", "video/")) and kind != "application/octet-stream":
        raise ProblemError(
            415,
            "media_type",
            f"Content-Type: {kind or 'none'} is not taken: send a picture's file as image/png, "
            "image/jpeg, image/webp or another image type, a clip's as video/mp4 or "
            f"application/octet-stream, or a tar of samples as {TAR}",
        )


def _format(accept: str, recipe: Registered) -> str | None:
    """The format of a client that takes nothing else, such as one that must not lose a bit."""
    taken = {one.partition(";")[0].strip() for one in accept.lower().split(",")}
    for format in recipe.editor.medium.offered:
        if taken == {MEDIA_TYPES[format]}:
            return format
    return None
