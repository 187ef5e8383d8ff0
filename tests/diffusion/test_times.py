"""The times at which each sampler calls the network: by hand, evenly, and on a model's own grid."""

from __future__ import annotations

import itertools
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffaug.diffusion.samplers import SAMPLERS, SamplerName, timesteps

LCM_GRID = tuple(range(19, 1000, 20))
"""The fifty times that latent consistency models of Stable Diffusion are taught at."""


def test_every_sampler_has_its_name() -> None:
    assert tuple(SAMPLERS) == get_args(SamplerName)


@pytest.mark.parametrize(
    ("strength", "steps", "sampler", "expected"),
    [
        (0.3, 10, "ddim", (300, 200, 100)),
        (0.36, 10, "ddim", (360, 270, 180, 90)),  # 3.6 calls round up
        (0.4, 20, "ddim", (400, 350, 300, 250, 200, 150, 100, 50)),
        (0.5, 4, "ddim", (500, 250)),
        (0.5, 5, "ddim", (500, 250)),  # 2.5 calls round to even, as Python rounds
        (1.0, 4, "ddim", (999, 749, 500, 250)),
        (1.0, 1000, "ddim", tuple(range(999, 0, -1))),  # capped at t_start
        (0.003, 1000, "ddim", (3, 2, 1)),
        (0.005, 1000, "ddim", (5, 4, 3, 2, 1)),
        (0.04, 10, "ddim", (40,)),  # 0.4 of a call is one
        (0.001, 1000, "ddim", (1,)),
        (0.0001, 20, "ddim", (0,)),
        (0.6, 50, "one-step", (599,)),
        (1.0, 50, "one-step", (999,)),
        (0.0001, 50, "one-step", (0,)),
    ],
)
def test_times_by_hand(
    strength: float, steps: int, sampler: str, expected: tuple[int, ...]
) -> None:
    assert timesteps(strength, steps, sampler, 1000) == expected


def test_times_of_a_short_process() -> None:
    assert timesteps(0.5, 10, "ddim", 101) == (50, 40, 30, 20, 10)
    assert timesteps(1.0, 10, "ddim", 4) == (3, 2, 1)


@settings(max_examples=300, deadline=None)
@given(
    strength=st.floats(1e-6, 1),
    steps=st.integers(1, 1000),
    sampler=st.sampled_from(get_args(SamplerName)),
    length=st.integers(2, 2000),
)
def test_times_fall_evenly_from_t_start(
    strength: float, steps: int, sampler: str, length: int
) -> None:
    times = timesteps(strength, steps, sampler, length)
    t_start, calls = times[0], len(times)
    assert abs(t_start - strength * (length - 1)) <= 0.5
    assert all(t > s for t, s in itertools.pairwise(times))
    assert times[-1] >= min(1, t_start)
    for i, t in enumerate(times):
        assert abs(t - t_start * (calls - i) / calls) <= 0.5
    if sampler == "one-step":
        assert calls == 1
    else:
        wanted = abs(calls - strength * steps) <= 0.5
        too_few, capped = calls == 1 and strength * steps <= 0.5, calls == max(1, t_start)
        assert wanted or too_few or (capped and strength * steps >= t_start - 0.5)


@pytest.mark.parametrize(
    ("strength", "steps", "sampler", "expected"),
    [
        (1.0, 4, "lcm", (999, 259)),  # two calls at most: of 999, 250
        (0.5, 8, "ddim", (499, 119)),  # of 500, 125
        (0.5, 2, "ddim", (499,)),
        (0.3, 6, "ddim", (299, 79)),  # of 300, 75
        (0.03, 100, "ddim", (39, 19)),  # of 30, 13 and 3: 30 is as near to 19
        (0.001, 4, "lcm", (19,)),  # no time before the first
        (0.6, 50, "one-step", (599,)),
    ],
)
def test_times_on_a_grid(
    strength: float, steps: int, sampler: str, expected: tuple[int, ...]
) -> None:
    assert timesteps(strength, steps, sampler, 1000, LCM_GRID) == expected


@settings(max_examples=200, deadline=None)
@given(
    strength=st.floats(1e-6, 1),
    steps=st.integers(1, 1000),
    sampler=st.sampled_from(get_args(SamplerName)),
    grid=st.sets(st.integers(0, 999), min_size=1).map(sorted).map(tuple),
)
def test_a_grid_is_kept_to(
    strength: float, steps: int, sampler: str, grid: tuple[int, ...]
) -> None:
    free, kept = (timesteps(strength, steps, sampler, 1000, one) for one in (None, grid))
    assert set(kept) <= set(grid)
    assert all(t > s for t, s in itertools.pairwise(kept))
    assert len(kept) <= len(free)
    calls = min(len(free), 2)
    every = timesteps(strength, steps, sampler, 1000, tuple(range(1000)))
    evenly = [free[0] * ((calls - i) / calls) ** 2 for i in range(calls)]
    assert every == tuple(dict.fromkeys(map(round, evenly)))
