"""A server that batches statically, as one usually writes it by hand with FastAPI.

It collects what comes within a moment of the first request, up to a batch, and runs the batch to
the end of its longest trajectory; those that are done ride along. Everything else is diffaug's:
the plan, the network, the steps, how pictures are decoded and encoded, and that this happens in
threads of its own. As many batches run side by side as there are cores, with one thread each, which
is faster than one batch on all cores.
"""

from __future__ import annotations

import argparse
import asyncio
import queue
import threading
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Query, Request, Response
from numpy.typing import NDArray
from torch import Tensor

from diffaug.diffusion.batched import at_once
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.schedule import along
from diffaug.editor import Draft, PictureEditor, Source
from diffaug.execution import Execution
from diffaug.models import checkpoint_of, with_suggestions
from diffaug.recipe import Recipe
from diffaug.shards.reading import Label

__all__ = ["main"]

_STAY = np.array([1, 0, 0], dtype=np.float32)
_HELPERS = 2

Result = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    edit: Edit
    future: Future[Result]


class Static:
    """Batches of what came within a moment, each run by one thread.

    Args:
        editor: of the recipe.
        size: edits in a batch at most.
        wait: seconds from the first of a batch until it begins, unless it is full.
        pads: whether every call has `size` rows, as diffaug's, or as many as the batch has.
    """

    def __init__(self, editor: PictureEditor, size: int, wait: float, pads: bool) -> None:
        self._denoiser = editor.model.denoiser
        self._size, self._wait, self._pads = size, wait, pads
        self._queue: queue.Queue[_Waiting] = queue.Queue()
        self._collecting = threading.Lock()
        threads = at_once(self._denoiser.device)
        torch.set_num_threads(1)
        for _ in range(threads):
            threading.Thread(target=self._run, daemon=True).start()

    def submit(self, edit: Edit) -> Future[Result]:
        """The future result of an edit."""
        waiting = _Waiting(edit, Future())
        self._queue.put(waiting)
        return waiting.future

    def _run(self) -> None:
        torch.set_num_threads(1)
        while True:
            with self._collecting:  # one batch fills after the other
                batch = self._collected()
            try:
                results = self._edited([one.edit for one in batch])
            except Exception as error:
                for one in batch:
                    one.future.set_exception(error)
            else:
                for one, result in zip(batch, results, strict=True):
                    one.future.set_result(result)

    def _collected(self) -> list[_Waiting]:
        batch = [self._queue.get()]
        ends = time.monotonic() + self._wait
        while len(batch) < self._size:
            try:
                batch.append(self._queue.get(timeout=max(0, ends - time.monotonic())))
            except queue.Empty:
                break
        return batch

    @torch.inference_mode()
    def _edited(self, edits: Sequence[Edit]) -> Result:
        ways = [edit.trajectory for edit in edits]
        rows, longest = len(edits), max(way.calls for way in ways)
        if self._pads:
            edits = [*edits, *[edits[0]] * (self._size - rows)]
            ways = [edit.trajectory for edit in edits]
        times = np.zeros((longest, len(edits)), dtype=np.int64)
        weights = np.tile(_STAY, (longest, len(edits), 1))
        for at, way in enumerate(ways):
            times[: way.calls, at] = way.timesteps
            weights[: way.calls, at] = way.weights[:, :3]
            assert not way.draws
        conditions = [edit.condition for edit in edits]
        condition = [
            torch.stack(parts).to(self._denoiser.device) for parts in zip(*conditions, strict=True)
        ]
        noise = self._there(np.stack([edit.noise[0] for edit in edits]))
        clean = self._there(np.stack([edit.x_0 for edit in edits if edit.x_0 is not None]))
        steps = self._there(times)
        x = self._denoiser.schedule.add_noise(clean, steps[0], noise)
        before = torch.zeros_like(x)
        for t, factors in zip(steps, self._there(weights), strict=True):
            x_0 = self._denoiser(x, t, *condition)
            a, b, c = (along(column, x) for column in factors.unbind(1))
            x = x * a + x_0 * b + before * c
            before = x_0
        return x[:rows].cpu().numpy()

    def _there(self, values: NDArray[Any]) -> Tensor:
        """On the network's device."""
        return torch.from_numpy(values).to(self._denoiser.device)


def create_app(editor: PictureEditor, static: Static) -> FastAPI:
    """POST /v1/augment and GET /readyz, as `diffaug serve` has them."""
    helpers = ThreadPoolExecutor(_HELPERS)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        helpers.shutdown()

    app = FastAPI(lifespan=lifespan)

    def planned(data: bytes, copy: int, label: int | None) -> Draft:
        recipe = editor.recipe
        found = editor.medium.read(data, recipe.max_pixels, recipe.background)
        source = Source(image=found.shown, stored=found.stored, label=Label(label, None))
        (draft,) = editor.plan(source, [copy])
        if not isinstance(draft, Draft):
            raise draft
        return draft

    def written(draft: Draft, result: Result) -> bytes:
        return editor.medium.write(draft.finish.picture(result), editor.recipe.format_for(False))

    @app.post("/v1/augment")
    async def augment(
        request: Request, copy: Annotated[int, Query(ge=0)] = 0, label: int | None = None
    ) -> Response:
        loop = asyncio.get_running_loop()
        data = await request.body()
        draft = await loop.run_in_executor(helpers, planned, data, copy, label)
        result = await asyncio.wrap_future(static.submit(draft.edit))
        made = await loop.run_in_executor(helpers, written, draft, result)
        return Response(made, media_type="image/png")

    @app.get("/readyz")
    async def readyz() -> Response:
        return Response("ok")

    return app


def main() -> int:
    """Serve a recipe file."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--wait", type=float, default=0.02)
    parser.add_argument("--pads", action="store_true")
    parser.add_argument("--port", type=int, required=True)
    given = parser.parse_args()
    recipe = Recipe.from_yaml(given.recipe)
    checkpoint = checkpoint_of(recipe)
    execution = Execution.choose(given.batch_size)
    editor = PictureEditor(with_suggestions(recipe, checkpoint), checkpoint, execution)
    static = Static(editor, given.batch_size, given.wait, given.pads)
    app = create_app(editor, static)
    uvicorn.run(app, port=given.port, http="h11", access_log=False, log_level="warning")
    return 0
