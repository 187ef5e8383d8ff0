"""`diffaug serve` in a process of its own, and what a client needs to ask it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from tests.support.forks import DIFFAUG, Forked, Forks
from tests.support.services import wait_until

__all__ = ["PATIENCE", "Server", "recipe_file", "serving"]

PATIENCE = 600
"""Seconds for what takes a moment on a quiet machine."""

_URL = re.compile(r"at (http://\S+) \(page: \1/docs\)\n")


class Server:
    """A running server, and a client of it.

    Attributes:
        process: its process.
        url: where it listens.
        client: with no time limit to speak of.
    """

    def __init__(self, process: Forked, url: str, token: str | None = None) -> None:
        self.process, self.url = process, url
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self.client = httpx.Client(base_url=url, headers=headers, timeout=PATIENCE)

    def post(
        self, data: bytes, media_type: str = "image/png", accept: str = "*/*", **asked: object
    ) -> httpx.Response:
        """Ask for a copy of a picture."""
        return self.client.post(
            "/v1/augment",
            content=data,
            params={name: str(value) for name, value in asked.items()},
            headers={"Content-Type": media_type, "Accept": accept},
        )

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        return host, int(port)

    def is_ready(self) -> bool:
        return self.client.get("/readyz").status_code == 200

    def count(self, name: str) -> float:
        """The sum of a metric over its labels."""
        text = self.client.get("/metrics").text
        found = re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, found))


@contextmanager
def serving(
    forked: Forks, *arguments: str | Path, token: str | None = None, entry: str = DIFFAUG
) -> Iterator[Server]:
    """`diffaug serve` with these arguments, once it is ready."""
    command = ("serve", "--port", "0", "--batch-size", "8", *arguments)
    process = forked.start(*command, entry=entry)
    try:
        wait_until(
            lambda: _URL.search(process.err) is not None, PATIENCE, lambda: process.err, process
        )
        found = _URL.search(process.err)
        assert found is not None
        server = Server(process, found[1], token)
        with server.client:
            wait_until(server.is_ready, PATIENCE, lambda: process.err, process)
            yield server
    finally:
        process.close()


def recipe_file(folder: Path, name: str, **fields: object) -> Path:
    """A recipe in a YAML file of this name."""
    path = folder / f"{name}.yaml"
    path.write_text("".join(f"{field}: {value}\n" for field, value in fields.items()))
    return path
