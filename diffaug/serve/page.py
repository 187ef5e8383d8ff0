"""Two routes that do no work: the page to try a server on, and its description."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import Any

from fastapi import FastAPI
from fastapi.responses import HTMLResponse, JSONResponse, Response

__all__ = ["add_pages"]

_POLICY = (
    "default-src 'none'",
    "connect-src 'self'",
    "img-src blob: data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
)
"""What the page may load or send besides its own style and script, which are named by digest."""


def add_pages(app: FastAPI, document: dict[str, Any]) -> None:
    """Add /docs and /openapi.json; `document` is what the latter answers."""
    text, policy = _page()
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-cache",
    }

    @app.get("/docs")
    async def docs() -> Response:
        """A page on which to try the server."""
        return HTMLResponse(text, headers=headers)

    @app.get("/openapi.json")
    async def openapi() -> Response:
        """The description of the service."""
        return JSONResponse(document)


def _page() -> tuple[str, str]:
    """The page as one file, and its Content-Security-Policy."""
    folder = files("diffaug.serve") / "templates"
    text = (folder / "page.html").read_text(encoding="utf-8")
    policy = list(_POLICY)
    for name, directive in {"page.css": "style-src", "page.js": "script-src"}.items():
        part = (folder / name).read_text(encoding="utf-8")
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        text = text.replace(f"/* {name} */", part)
        policy.append(f"{directive} 'sha256-{digest}'")
    return text, "; ".join(policy)
