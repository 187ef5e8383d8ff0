"""Errors as `application/problem+json` (RFC 9457), in the words of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse

from diffaug.errors import DefectError, DiffaugError

__all__ = ["ProblemError", "of_defect", "problem_response"]

_STATUS = {
    "no_label": 422,
    "no_mask": 422,
    "unknown_label": 422,
    "invalid_label": 422,
    "not_exact_size": 422,
    "too_large_to_pad": 422,
    "too_many_pixels": 413,
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
