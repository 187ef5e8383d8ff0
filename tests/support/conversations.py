"""Requests to a server's application in this process: tests say what is sent when."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
import threading
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import replace
from typing import Any

from fastapi import FastAPI
from torch import Tensor

from diffaug.execution import Execution
from diffaug.recipe import Recipe
from diffaug.serve.app import create_app
from diffaug.serve.limits import Limits
from diffaug.serve.recipes import Recipes
from diffaug.serve.service import Service
from diffaug.serve.state import State
from diffaug.serve.store import Store
from diffaug.serve.tokens import Tokens
from tests.support.serving import PATIENCE

__all__ = ["Conversation", "Gate", "House", "contents", "until"]

TAR = "application/x-tar"


class Gate:
    """A network that makes its calls wait while it is closed.

    Attributes:
        calls: how many calls were let through.
    """

    def __init__(self, network: Callable[..., Tensor]) -> None:
        self._network = network
        self.calls = 0
        self._open = threading.Event()
        self._open.set()

    def __call__(self, *given: Tensor) -> Tensor:
        assert self._open.wait(PATIENCE)
        self.calls += 1
        return self._network(*given)

    def close(self) -> None:
        self._open.clear()

    def open(self) -> None:
        self._open.set()


class House:
    """A server without a socket, over a real model whose network has a gate."""

    def __init__(
        self,
        recipes: Mapping[str, Mapping[str, Any]],
        batch_size: int,
        store: Store | None = None,
        wait: float = 10**6,
        body: int = 2**26,
    ) -> None:
        execution = Execution.choose(batch_size, None, None)
        made = {name: Recipe.of(dict(fields)) for name, fields in recipes.items()}
        registered = Recipes(made, execution)
        editor = registered.registered[0].editor
        self.gate = Gate(editor.model.denoiser.network)
        editor.model = replace(
            editor.model, denoiser=replace(editor.model.denoiser, network=self.gate)
        )
        self.service = Service(registered, execution, store)
        self.app: FastAPI = create_app(self.service, Tokens(), Limits(wait=wait, body=body))
        self.state: State = self.app.state.diffaug
        self.service.warm_up()
        self.state.ready = True

    def close(self) -> None:
        self.gate.open()
        assert self.service.close(PATIENCE)

    def count(self, name: str) -> float:
        """The sum of a metric over its labels."""
        text = bytes(self.state.metrics.response().body).decode()
        lines = (line.rpartition(" ") for line in text.splitlines() if line[0] != "#")
        return sum(float(value) for key, _, value in lines if key.partition("{")[0] == name)

    def tar(self, data: bytes, query: str = "", **headers: str) -> Conversation:
        """The whole conversation about a shard, which is sent before anything is read."""

        async def talk() -> Conversation:
            conversation = Conversation(self.app, query, **headers)
            conversation.give(data, is_last=True)
            await conversation.ended()
            return conversation

        return asyncio.run(talk())


class Conversation:
    """A request that is sent piece by piece, and its answer as far as it has come.

    Args:
        app: who answers.
        query: of its URL.
        headers: with `_` for `-`; its body is a tar unless they say otherwise.

    Attributes:
        status: of the response; 0 before it has begun.
        answer: what came of its body.
        is_complete: whether that is all.
        taken: how many pieces of the body the server has asked for.
        on_taken: called when it asks for one.
    """

    def __init__(self, app: FastAPI, query: str = "", **headers: str) -> None:
        given = {"content_type": TAR} | headers
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/augment",
            "raw_path": b"/v1/augment",
            "root_path": "",
            "query_string": query.encode(),
            "headers": [
                (name.replace("_", "-").encode(), value.encode()) for name, value in given.items()
            ],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        self.status, self.is_complete, self.taken = 0, False, 0
        self.answer = b""
        self.on_taken: Callable[[], None] = lambda: None
        self._coming: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._task = asyncio.create_task(app(scope, self._receive, self._send))

    def give(self, *pieces: bytes, is_last: bool = False) -> None:
        """Send pieces of the body; `is_last`: they end with its end."""
        for number, data in enumerate(pieces, start=1):
            more = not is_last or number < len(pieces)
            message = {"type": "http.request", "body": data, "more_body": more}
            self._coming.put_nowait(message)

    def hang_up(self) -> None:
        """Go away."""
        self._coming.put_nowait({"type": "http.disconnect"})

    async def ended(self) -> None:
        """Wait for the end of the answer."""
        await asyncio.wait_for(self._task, PATIENCE)

    @property
    def problem(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.answer)
        return found

    async def _receive(self) -> dict[str, Any]:
        self.taken += 1
        self.on_taken()
        return await self._coming.get()

    async def _send(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.answer += message["body"]
            self.is_complete = not message.get("more_body", False)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.01)


def contents(tar: bytes) -> dict[str, bytes]:
    """What Python's tarfile finds in a tar, in order; a name that comes twice is an error."""
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        for info in opened:
            handle = opened.extractfile(info)
            assert info.name not in found
            found[info.name] = b"" if handle is None else handle.read()
    return found
