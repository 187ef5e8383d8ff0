"""A bare responder: what the machine and the framework take for an answer that needs no thought."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from fastapi.responses import PlainTextResponse

__all__ = ["main"]


def main() -> int:
    """Answer every GET and POST with ok, at --port PORT."""
    app = FastAPI(docs_url=None, redoc_url=None)

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def respond(path: str) -> PlainTextResponse:
        return PlainTextResponse("ok")

    uvicorn.run(app, port=int(sys.argv[-1]), http="h11", access_log=False, log_level="warning")
    return 0
