"""Errors as `application/problem+json` (RFC 9457), in the words of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from diffaug.errors import DefectError, DiffaugError, OutOfMemoryError
from diffaug.serve.admission import FullError
from diffaug.serve.recipes import UnknownRecipeError
from diffaug.serve.worker import ClosedError

__all__ = [
    "PROBLEMS",
    "ProblemError",
    "ending",
    "of_defect",
    "problem_of",
    "problem_response",
    "starting",
]

_ELSEWHERE = {"Retry-After": "5"}
"""Seconds after which to ask again, or another server, where this one starts or ends."""

_STATUS = {
    "no_label": 422,
    "no_mask": 422,
    "unknown_label": 422,
    "invalid_label": 422,
    "not_exact_size": 422,
    "too_large_to_pad": 422,
    "too_many_pixels": 413,
    "too_long": 413,
    "other_length": 422,
    "unwritable_clip": 422,
    "non_finite": 500,
}
"""The status of a defect by its code; of any other, which the picture's bytes have, it is 400."""


class ProblemError(DiffaugError):
    """A request that is not answered as it hoped.

    Attributes:
        status: of HTTP.
        code: a word for programs, which does not change between versions.
        detail: a sentence for people: what was wrong, and what to do.
        headers: of the response.
    """

    def __init__(
        self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail = status, code, detail
        self.headers = dict(headers or {})


def starting() -> ProblemError:
    """The problem that a server is before its first calls."""
    return ProblemError(503, "not_ready", "the server is starting", _ELSEWHERE)


def ending() -> ProblemError:
    """The problem that a server is after its signal."""
    return ProblemError(503, "not_ready", "the server is ending: ask another one", _ELSEWHERE)


def of_defect(defect: DefectError) -> ProblemError:
    """The problem that a defect of a picture or of its class is."""
    return ProblemError(_STATUS.get(defect.code, 400), defect.code, defect.reason)


def problem_response(problem: ProblemError) -> JSONResponse:
    """The response to a problem."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    return JSONResponse(
        body, problem.status, problem.headers, media_type="application/problem+json"
    )


PROBLEMS = (
    ProblemError,
    DefectError,
    OutOfMemoryError,
    FullError,
    ClosedError,
    UnknownRecipeError,
    ClientDisconnect,
    RequestValidationError,
    HTTPException,
)
"""The errors of a route that `problem_of` takes."""


def problem_of(error: Exception) -> ProblemError:
    """The problem that an error of a route is."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, DefectError):
        return of_defect(error)
    if isinstance(error, FullError):
        return ProblemError(429, "full", str(error), {"Retry-After": str(error.retry_after)})
    if isinstance(error, (OutOfMemoryError, ClosedError)):
        code = "closed" if isinstance(error, ClosedError) else "out_of_memory"
        return ProblemError(503, code, str(error), _ELSEWHERE)
    if isinstance(error, UnknownRecipeError):
        return ProblemError(404 if error.was_named else 400, "unknown_recipe", str(error))
    if isinstance(error, RequestValidationError):
        said = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return ProblemError(400, "bad_request", said)
    if isinstance(error, HTTPException):
        return ProblemError(error.status_code, "http", str(error.detail), error.headers)
    if isinstance(error, ClientDisconnect):
        return ProblemError(400, "gone", "the client went away")
    return ProblemError(500, "internal", "the server failed: its log says why")
