"""What the frames of a clip share of their noise, and that each is edited as if it were alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from diffaug.diffusion.frames import clip_noise, correlation_of
from diffaug.diffusion.noise import SampleRandom

SHAPE = (3, 32, 32)


def noise(noise_time: str, frames: int = 4, draws: int = 0, **who: Any) -> NDArray[np.float32]:
    given: dict[str, Any] = {"seed": 0, "pixel_sha256": "ab" * 32, "copy": 0}
    random = SampleRandom(**(given | who))
    return clip_noise(random, SHAPE, draws, frames, correlation_of(noise_time))


def test_shared_noise_is_that_of_a_picture() -> None:
    alone = SampleRandom(0, "ab" * 32, 0).noise(SHAPE, 2)
    for frame in noise("shared", draws=2):
        np.testing.assert_array_equal(frame, alone)


@pytest.mark.parametrize(
    ("noise_time", "correlation"),
    [("independent", 0.0), ("mixed:0.25", 0.25), ("mixed:0.8", 0.8), ("shared", 1.0)],
)
def test_frames_correlate_as_they_are_told(noise_time: str, correlation: float) -> None:
    drawn = noise(noise_time, frames=6, draws=1)
    assert drawn.dtype == np.float32
    assert drawn.shape == (6, 2, *SHAPE)
    for draw in (0, 1):
        found = np.asarray(np.corrcoef(drawn[:, draw].reshape(6, -1)))
        others = found[~np.eye(6, dtype=bool)]
        assert np.abs(others - correlation).max() < 5 / np.sqrt(np.prod(SHAPE))
    assert np.abs(drawn.std(axis=(2, 3, 4)) - 1).max() < 0.05
    assert abs(np.corrcoef(drawn[0].reshape(2, -1))[0, 1]) < 0.1  # two draws


def test_a_frame_has_its_noise_however_many_there_are() -> None:
    for noise_time in ("independent", "mixed:0.5"):
        np.testing.assert_array_equal(noise(noise_time, 6)[:3], noise(noise_time, 3))


def test_mixed_at_its_ends_is_the_others() -> None:
    np.testing.assert_array_equal(noise("mixed:1"), noise("shared"))
    np.testing.assert_array_equal(noise("mixed:0"), noise("independent"))


@pytest.mark.parametrize("who", [{"copy": 1}, {"seed": 1}, {"pixel_sha256": "cd" * 32}])
def test_noise_is_of_one_clip_and_copy(who: dict[str, Any]) -> None:
    for noise_time in ("shared", "independent"):
        assert (
            abs(
                np.corrcoef(noise(noise_time)[1].ravel(), noise(noise_time, **who)[1].ravel())[0, 1]
            )
            < 0.1
        )


@pytest.mark.parametrize(
    "said", ["own", "mixed", "mixed:", "mixed:2", "mixed:-1", "mixed:nan", "shared:1"]
)
def test_what_is_no_way_of_sharing_is_refused(said: str) -> None:
    with pytest.raises(ValueError, match="noise_time must be shared, independent or mixed:RHO"):
        correlation_of(said)
