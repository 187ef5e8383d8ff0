"""A worker: what a job would make of each edit, whenever it comes and whatever else is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures import wait as wait_for
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffaug.diffusion.denoiser import Network
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.lanes import Lanes
from diffaug.diffusion.ordered import Ordered
from diffaug.diffusion.process import Gaussian
from diffaug.editor import PictureEditor
from diffaug.errors import OutOfMemoryError
from diffaug.execution import Execution
from diffaug.models import checkpoint_of
from diffaug.recipe import Recipe
from diffaug.serve.turns import Turns
from diffaug.serve.worker import ClosedError, Worker
from tests.support import tiny
from tests.support.drafts import draft_copies
from tests.support.jobs import threads
from tests.support.toys import edit, toy, toy_network

Result = NDArray[np.float32]

PATIENCE = 600
"""Seconds, for what takes milliseconds."""


class Gate:
    """The toy network, which waits to be let through at every call.

    Attributes:
        calls: how many calls have begun.
        fails: raised by the next call that is let through.
    """

    def __init__(self) -> None:
        self.calls = 0
        self.fails: Exception | None = None
        self._open = threading.Semaphore(0)
        self._begun = threading.Semaphore(0)

    def __call__(self, x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        self.calls += 1
        self._begun.release()
        assert self._open.acquire(timeout=PATIENCE)
        if self.fails is not None:
            error, self.fails = self.fails, None
            raise error
        return toy_network(x_t, t, condition)

    def let(self, calls: int) -> None:
        self._open.release(calls)

    def wait_for_call(self) -> None:
        """Until one more call has begun."""
        assert self._begun.acquire(timeout=PATIENCE)


@contextmanager
def working(network: Network = toy_network, lanes: int = 4) -> Iterator[Worker]:
    with threads(1):
        worker = Worker(Lanes(Gaussian(toy(network), lanes)))
        try:
            yield worker
        finally:
            assert worker.close(PATIENCE)


def in_a_job(edits: list[Edit], lanes: int = 4) -> list[Result]:
    with threads(1):
        steps: Ordered[int] = Ordered(Lanes(Gaussian(toy(), lanes)))
        found = [result for _, result in steps.run(enumerate(edits))]
    assert all(result is not None for result in found)
    return [result for result in found if result is not None]


def mixed(count: int) -> list[Edit]:
    """Edits of one to seven calls by three samplers, some of them guided."""
    random = np.random.default_rng(1)
    edits = []
    for seed in range(count):
        times = sorted(random.choice(np.arange(1, 999), random.integers(1, 8), False))[::-1]
        sampler = ("ddim", "ddpm", "dpmsolver++")[seed % 3]
        one = edit(seed, [int(time) for time in times], seed % 4, sampler)
        if seed % 5 == 0:
            scales = np.full(one.trajectory.calls, 3, dtype=np.float32)
            one = replace(one, away=(torch.tensor(0),), scales=scales)
        edits.append(one)
    return edits


def test_every_result_is_that_of_a_job_whoever_sends_what_when() -> None:
    edits = mixed(90)
    expected = in_a_job(edits)
    futures: list[Future[Result] | None] = [None] * len(edits)

    with working() as worker:

        def send(first: int) -> None:
            order = np.random.default_rng(first).permutation(np.arange(first, len(edits), 6))
            for place in order.tolist():
                futures[place] = worker.submit(edits[place], owner=str(first))

        senders = [threading.Thread(target=send, args=(first,)) for first in range(6)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        for future, result in zip(futures, expected, strict=True):
            assert future is not None
            assert future.result(PATIENCE).tobytes() == result.tobytes()
        load = worker.load()
    assert load.rows == sum(one.rows for one in edits)
    assert (load.waiting, load.held, load.stalled) == (0, 0, 0)


def test_a_lone_edit_starts_at_once_and_ends_without_others() -> None:
    with working() as worker:
        assert worker.submit(edit(1)).result(PATIENCE).tobytes() == in_a_job([edit(1)])[0].tobytes()


def test_a_slow_one_holds_nobody_back() -> None:
    gate = Gate()
    with working(gate, lanes=2) as worker:
        slow = worker.submit(edit(0, range(900, 200, -100)))  # seven calls
        gate.wait_for_call()
        quick = [worker.submit(edit(seed, [500])) for seed in range(1, 6)]
        gate.let(6)
        wait_for(quick, PATIENCE)
        assert not slow.done()
        gate.let(1)
        slow.result(PATIENCE)
    assert gate.calls == 7


def _note(ended: list[str], owner: str, _: Future[Result]) -> None:
    ended.append(owner)


def test_owners_take_turns_for_the_lanes() -> None:
    gate, ended = Gate(), list[str]()
    with working(gate, lanes=1) as worker:
        first = worker.submit(edit(0, [500]))
        gate.wait_for_call()
        futures = [worker.submit(edit(seed, [500]), "many") for seed in range(4)]
        futures += [worker.submit(edit(seed, [500]), "few") for seed in range(2)]
        for future, owner in zip(futures, ["many"] * 4 + ["few"] * 2, strict=True):
            future.add_done_callback(partial(_note, ended, owner))
        gate.let(7)
        wait_for([first, *futures], PATIENCE)
    assert ended == ["many", "few", "many", "few", "many", "many"]


def test_turns_are_first_in_first_out_for_each_owner() -> None:
    turns: Turns[int] = Turns()
    for item, owner in enumerate("aaabca"):
        turns.put(item, owner)
    assert sorted(turns) == [0, 1, 2, 3, 4, 5]
    assert [turns.take() for _ in range(len(turns))] == [0, 3, 4, 1, 2, 5]
    with pytest.raises(IndexError):
        turns.take()


def test_what_is_cancelled_in_time_is_never_run() -> None:
    gate = Gate()
    with working(gate, lanes=1) as worker:
        first = worker.submit(edit(0, [500]))
        gate.wait_for_call()
        dropped, last = worker.submit(edit(1)), worker.submit(edit(2, [500]))
        assert dropped.cancel()
        assert not first.cancel()
        gate.let(2)
        last.result(PATIENCE)
        with pytest.raises(CancelledError):
            dropped.result(PATIENCE)
        assert worker.load().seconds == 0
    assert gate.calls == 2


def test_the_load_counts_what_waits_and_what_is_held() -> None:
    gate = Gate()
    with working(gate, lanes=2) as worker:
        assert (worker.load().seconds, worker.load().stalled) == (0, 0)
        futures = [worker.submit(one) for one in [edit(0, [900, 500]), *map(edit, range(1, 5))]]
        gate.wait_for_call()
        before = worker.load()  # the first step goes on
        assert before.lanes == 2
        assert before.waiting + before.held == 5
        assert before.stalled >= 0
        assert before.steps == 0
        gate.let(1)
        gate.wait_for_call()
        after = worker.load()
        assert after.steps == 1
        assert after.seconds > 0
        gate.let(99)
        wait_for(futures, PATIENCE)
    assert edit(0, [900, 500]).rows == 2
    guided = replace(edit(0), away=(torch.tensor(0),), scales=np.array([3, 1], dtype=np.float32))
    assert guided.rows == 3


@pytest.mark.parametrize(
    ("raised", "seen"),
    [(ValueError("a broken network"), ValueError), (MemoryError("none left"), OutOfMemoryError)],
)
def test_an_error_is_told_to_those_in_the_lanes_and_the_next_are_served(
    raised: Exception, seen: type[Exception]
) -> None:
    gate = Gate()
    with working(gate, lanes=1) as worker:
        gate.fails = raised
        broken = worker.submit(edit(0))
        after = worker.submit(edit(1))
        gate.let(99)
        with pytest.raises(seen):
            broken.result(PATIENCE)
        assert after.result(PATIENCE).tobytes() == in_a_job([edit(1)], 1)[0].tobytes()


def test_closed_it_ends_what_it_has_and_takes_no_more() -> None:
    gate = Gate()
    with working(gate, lanes=1) as worker:
        futures = [worker.submit(edit(seed, [500])) for seed in range(3)]
        gate.wait_for_call()
        assert not worker.close(0)
        with pytest.raises(ClosedError):
            worker.submit(edit(3))
        gate.let(3)
        assert worker.close(PATIENCE)
        assert all(future.done() for future in futures)


def test_latent_models_are_encoded_and_decoded_as_in_a_job(tmp_path: Path) -> None:
    folder = tiny.stable_diffusion(tmp_path)
    recipe = Recipe.of({"model": str(folder), "steps": 4, "copies": 3, "prompt": "a cat"})
    editor = PictureEditor(recipe, checkpoint_of(recipe), Execution.choose(4, "float32", "cpu"))
    drafts = []
    for number in range(5):
        coarse = np.random.default_rng(number).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        image = Image.fromarray(coarse).resize((32, 32), Image.Resampling.BICUBIC)
        drafts += draft_copies(editor, image, {}, range(3))
    expected = dict(editor.steps().run((at, draft.edit) for at, draft in enumerate(drafts)))
    worker = Worker(editor.model.lanes(4), editor.model.stages(4))
    try:
        order = np.random.default_rng(7).permutation(len(drafts)).tolist()
        futures = {at: worker.submit(drafts[at].edit) for at in order}
        for at, future in futures.items():
            result = expected[at]
            assert result is not None
            assert future.result(PATIENCE).tobytes() == result.tobytes()
    finally:
        assert worker.close(PATIENCE)


def test_the_pace_is_that_of_full_lanes_and_comes_down_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A second of this clock is a second of the network: nothing else takes any."""
    now, a_call, all_there = 0.0, 8.0, threading.Event()

    def network(x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        nonlocal now
        assert all_there.wait(PATIENCE)  # so that the second call is of full lanes
        now += a_call
        return toy_network(x_t, t, condition)

    monkeypatch.setattr("diffaug.serve.worker.time", SimpleNamespace(monotonic=lambda: now))
    with working(network, lanes=4) as worker:
        futures = [worker.submit(edit(seed)) for seed in range(4)]
        all_there.set()
        wait_for(futures, PATIENCE)
        assert worker.pace == 2
        a_call = 1000.0
        worker.submit(edit(0)).result(PATIENCE)  # three of four rows are wasted
        assert worker.pace == 2
        a_call = 1.0
        for seed in range(100):
            worker.submit(edit(seed)).result(PATIENCE)
        assert worker.pace == pytest.approx(0.25, rel=0.5)
        assert worker.progress == 0
