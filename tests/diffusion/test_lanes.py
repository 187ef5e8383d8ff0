"""Lanes: one batch shape, and every sample as if it were alone.

Most tests run a toy network, a few exact operations on x, t and the class, which makes any mixing
of samples visible to the last bit; the last ones run the shipped model.
"""

from __future__ import annotations

import heapq
import io
import itertools
import tarfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from diffaug.diffusion.denoiser import Denoiser
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.lanes import Lanes
from diffaug.diffusion.ordered import LOOK_AHEAD, RUN_AHEAD, Ordered
from diffaug.diffusion.process import Gaussian
from diffaug.diffusion.samplers import trajectory
from diffaug.diffusion.steps import Steps
from diffaug.execution import Execution
from diffaug.models import find_checkpoint, load_model
from tests.conftest import SHARDS
from tests.support.jobs import threads
from tests.support.toys import SHAPE, SIGNAL, edit, toy, toy_network

Result = NDArray[np.float32] | None


def times() -> st.SearchStrategy[list[int]]:
    falling = st.sets(st.integers(1, 999), min_size=1, max_size=7)
    return falling.map(lambda chosen: sorted(chosen, reverse=True)) | st.just([0])


def any_edits(**more: st.SearchStrategy[object]) -> st.SearchStrategy[Edit]:
    return st.builds(
        edit,
        st.integers(0, 99),
        times(),
        st.none() | st.integers(0, 3),
        st.sampled_from(["ddim", "ddpm", "dpmsolver++"]),
        **more,
    )


edits = any_edits(from_noise=st.booleans())


def by_hand(edit: Edit) -> NDArray[np.float64]:
    """The toy's whole reconstruction of one image, in float64, as a plain loop over its steps."""
    times, weights = edit.trajectory.timesteps, edit.trajectory.weights.astype(float)
    start = SIGNAL[times[0]]
    x: NDArray[np.float64] = edit.noise[0].astype(float)
    if edit.x_0 is not None:
        x = start**0.5 * edit.x_0.astype(float) + (1 - start) ** 0.5 * x
    before, fresh = np.zeros(SHAPE), [*edit.noise[1:], *[np.zeros(SHAPE)] * len(times)]
    for t, (a, b, c, d), z in zip(times, weights, fresh, strict=False):
        epsilon = x * 0.5 + t * 0.001 + int(edit.condition[0]) * 0.125
        x_0 = np.clip((x - (1 - SIGNAL[t]) ** 0.5 * epsilon) / SIGNAL[t] ** 0.5, -1, 1)
        x, before = a * x + b * x_0 + c * before + d * z, x_0
    return x


def in_order(denoiser: Denoiser, batch_size: int) -> Steps[int, Edit]:
    return Ordered(Lanes(Gaussian(denoiser, batch_size)))


def results(denoiser: Denoiser, batch_size: int, edits: Iterable[Edit | None]) -> list[Result]:
    found = list(in_order(denoiser, batch_size).run(enumerate(edits)))
    assert [tag for tag, _ in found] == list(range(len(found)))
    return [result for _, result in found]


def same(one: Iterable[Result], other: Iterable[Result]) -> bool:
    """Equal to the last bit."""
    return all(
        (a is None and b is None)
        or (a is not None and b is not None and a.tobytes() == b.tobytes())
        for a, b in zip(one, other, strict=True)
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.none() | edits, max_size=24), st.integers(1, 5), st.integers(1, 3))
def test_each_sample_is_as_if_alone_and_in_its_place(
    stream: list[Edit | None], batch_size: int, side_by_side: int
) -> None:
    with threads(side_by_side):
        together = results(toy(), batch_size, stream)
    assert len(together) == len(stream)
    for one, result in zip(stream, together, strict=True):
        if one is None:
            assert result is None
            continue
        assert result is not None
        assert result.dtype == np.float32
        assert same([result], results(toy(), batch_size, [one]))
        np.testing.assert_allclose(result, by_hand(one), atol=2e-4)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_order_changes_nothing(data: st.DataObject) -> None:
    stream = data.draw(st.lists(edits, max_size=12))
    order = data.draw(st.permutations(range(len(stream))))
    batch_size = data.draw(st.integers(1, 5))
    shuffled = results(toy(), batch_size, [stream[i] for i in order])
    straight = results(toy(), batch_size, stream)
    assert same(shuffled, [straight[i] for i in order])


def test_a_broken_neighbour_harms_nobody() -> None:
    broken = replace(edit(9), x_0=np.full(SHAPE, np.nan, np.float32))
    stream = [edit(0), broken, edit(1), broken, edit(2), edit(3)]
    together = results(toy(), 3, stream)
    assert np.isnan(together[1]).all()  # type: ignore[arg-type]
    for i in (0, 2, 4, 5):
        assert same([together[i]], results(toy(), 3, [stream[i]]))


def counting(seen: list[tuple[Tensor, Tensor]]) -> Denoiser:
    """A toy that notes the times and classes of each call."""

    def network(x_t: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        seen.append((t.clone(), condition.clone()))
        return toy_network(x_t, t, condition)

    return toy(network)


def test_network_is_called_at_the_timesteps_and_no_others() -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    stream = [edit(0, (900, 300, 7), 2), edit(1, (50,), 1), edit(2, (0,), 3)]
    with threads(1):
        results(counting(seen), 1, stream)
    assert [int(t) for t, _ in seen] == [900, 300, 7, 50, 0]
    assert [int(condition) for _, condition in seen] == [2, 2, 2, 1, 3]


@settings(max_examples=60, deadline=None)
@given(st.lists(edits, max_size=20), st.integers(1, 5))
def test_each_sample_costs_only_its_own_calls(stream: list[Edit], batch_size: int) -> None:
    """As many calls as when each image takes the lane that is free first: in turn, but for the
    last ones, among which the longest comes first."""
    free, seen_last = [0] * batch_size, max(0, len(stream) - (LOOK_AHEAD * batch_size - 1))
    last = sorted(stream[seen_last:], key=lambda one: -one.trajectory.calls)
    for one in [*stream[:seen_last], *last]:
        heapq.heappush(free, heapq.heappop(free) + one.trajectory.calls)
    seen: list[tuple[Tensor, Tensor]] = []
    with threads(1):
        results(counting(seen), batch_size, stream)
    assert len(seen) == max(free)
    assert all(len(t) == batch_size for t, _ in seen)


@pytest.mark.parametrize(("images", "calls"), [(2, 1), (3, 2), (4, 2), (5, 3)])
def test_side_by_side_no_batch_is_called_without_an_image(images: int, calls: int) -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    with threads(2):
        results(counting(seen), 2, [edit(i, (500,)) for i in range(images)])
    assert [len(t) for t, _ in seen] == [2] * calls


def watched(stream: Iterable[Edit | None], read: list[int]) -> Iterator[tuple[int, Edit | None]]:
    for tag, one in enumerate(stream):
        read.append(tag)
        yield tag, one


def test_input_is_not_read_far_ahead() -> None:
    """Behind one image of 400 calls, at most RUN_AHEAD images a lane wait."""
    slow, fast = edit(0, range(400, 0, -1)), edit(1, (500,))
    read: list[int] = []
    with threads(2):
        lanes = in_order(toy(), 3)
    for done, (tag, _) in enumerate(lanes.run(watched([slow, *[fast] * 300], read))):
        assert tag == done
        assert len(read) - done <= RUN_AHEAD * 6
    assert len(read) == 301


def test_fast_images_pass_without_waiting_for_the_stream() -> None:
    read: list[int] = []
    with threads(1):
        lanes = in_order(toy(), 4)
    next(lanes.run(watched([edit(i, (500,)) for i in range(100)], read)))
    assert len(read) == 4 + LOOK_AHEAD * 4 - 1


def test_what_has_no_edit_goes_straight_through() -> None:
    read: list[int] = []
    stream = in_order(toy(), 4).run(watched([None, edit(0), None, None], read))
    assert next(stream) == (0, None)
    assert read == [0]
    assert [tag for tag, _ in stream] == [1, 2, 3]


def test_an_abandoned_run_leaves_nothing_behind() -> None:
    seen: list[tuple[Tensor, Tensor]] = []
    lanes = in_order(counting(seen), 3)
    slow = [edit(i, range(60, 0, -1)) for i in range(5)]
    next(lanes.run(enumerate([edit(0, (9,)), *slow])))
    seen.clear()
    wanted = [edit(i, (700, 300), i % 4) for i in range(6)]
    again = [result for _, result in lanes.run(enumerate(wanted))]
    assert same(again, results(toy(), 3, wanted))
    assert len(seen) == 4


def test_a_fault_of_the_source_comes_out_and_the_lanes_go_on() -> None:
    def failing() -> Iterator[tuple[int, Edit]]:
        yield 0, edit(0)
        raise OSError("storage went away")

    lanes = in_order(toy(), 2)
    with pytest.raises(OSError, match="storage went away"):
        list(lanes.run(failing()))
    again = [result for _, result in lanes.run([(0, edit(1))])]
    assert same(again, results(toy(), 2, [edit(1)]))


def test_edits_and_earlier_results_are_left_alone() -> None:
    one = edit(0)
    assert one.x_0 is not None
    x_0, noise = one.x_0.copy(), one.noise.copy()
    stream = in_order(toy(), 1).run(enumerate([one, edit(1)]))
    first = next(stream)[1]
    kept = None if first is None else first.copy()
    list(stream)
    assert same([first, one.x_0, one.noise], [kept, x_0, noise])


def real_edits(count: int, calls: Callable[[int], int]) -> list[Edit]:
    """Fixture images, image i at its own strength with its own number of calls."""
    found = []
    with tarfile.open(SHARDS[1]) as tar:
        names = sorted(name for name in tar.getnames() if name.endswith(".png"))[:count]
        for i, name in enumerate(names):
            file = tar.extractfile(name)
            assert file is not None
            pixels = np.pad(np.asarray(Image.open(io.BytesIO(file.read()))), 2)
            start = 150 + 120 * i
            timesteps = tuple(round(start * k / calls(i)) for k in range(calls(i), 0, -1))
            sampler = ["ddim", "ddpm", "dpmsolver++"][i // 2 % 3]
            way = trajectory(sampler, shipped(1, "float32").schedule, timesteps)
            random = np.random.default_rng(i)
            found.append(
                Edit(
                    x_0=(pixels[None] / 127.5 - 1).astype(np.float32),
                    noise=random.standard_normal((1 + way.draws, 1, 32, 32)).astype(np.float32),
                    trajectory=way,
                    condition=(torch.tensor(i if i % 2 else 10),),
                )
            )
    return found


def shipped(batch_size: int, dtype: str) -> Denoiser:
    execution = Execution.choose(batch_size=batch_size, dtype=dtype, device="cpu")
    return load_model(find_checkpoint("fashion-mnist-32"), execution).denoiser


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_shipped_model_gives_the_same_bits_in_any_company(batch_size: int) -> None:
    model, stream = shipped(batch_size, "float32"), real_edits(6, lambda i: 1 + i % 3)
    together = results(model, batch_size, stream)
    assert same(together, reversed(results(model, batch_size, reversed(stream))))
    for i in (0, 5):
        assert same([together[i]], results(model, batch_size, [stream[i]]))
    assert len({result.tobytes() for result in together if result is not None}) == 6


def test_the_shipped_model_gives_the_same_bits_in_bfloat16() -> None:
    model, stream = shipped(2, "bfloat16"), real_edits(3, lambda i: 1 + i % 2)
    together = results(model, 2, stream)
    assert same(together, reversed(results(model, 2, reversed(stream))))
    assert same(together, itertools.chain(*(results(model, 2, [one]) for one in stream)))


@pytest.mark.parametrize(("batch_size", "dtype"), [(4, "float32"), (3, "bfloat16")])
def test_threads_change_no_bit(batch_size: int, dtype: str) -> None:
    model, stream = shipped(batch_size, dtype), real_edits(4, lambda i: 1)
    found = []
    for count in (1, 2, 3):
        with threads(count):
            found.append(results(model, batch_size, stream))
    assert same(found[0], found[1])
    assert same(found[0], found[2])
