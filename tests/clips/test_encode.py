"""Results are stored without loss, as the same bytes each time, and shown when their source is."""

from __future__ import annotations

import io
from fractions import Fraction

import av
import numpy as np
import pytest
from PIL import Image

from diffaug.clips.clip import Clip, Selection, clip_sha256
from diffaug.clips.decode import decode_clip
from diffaug.clips.encode import encode_clip
from diffaug.extensions import MADE_CLIPS
from tests.support.clips import container, decoded, moving

LOSSLESS = ("mp4", "apng")


def clip(**more: object) -> Clip:
    frames = tuple(map(Image.fromarray, moving()))
    given = {"times": tuple(Fraction(n, 10) for n in range(6)), "end": Fraction(6, 10)} | more
    return Clip(frames=frames, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("format", MADE_CLIPS)
def test_the_bytes_are_the_same_each_time(format: str) -> None:
    assert encode_clip(clip(), format) == encode_clip(clip(), format)


@pytest.mark.parametrize("format", LOSSLESS)
def test_nothing_is_lost(format: str) -> None:
    data = encode_clip(clip(), format)
    np.testing.assert_array_equal(decoded(data)[0], moving())
    assert clip_sha256(decode_clip(data, 10**6, None, Selection())) == clip_sha256(clip())


def test_pillow_reads_an_apng() -> None:
    with Image.open(io.BytesIO(encode_clip(clip(), "apng"))) as image:
        assert image.n_frames == 6  # type: ignore[attr-defined]
        for number, frame in enumerate(moving()):
            image.seek(number)
            np.testing.assert_array_equal(np.asarray(image.convert("RGB")), frame)


def test_frames_that_do_not_change_are_kept() -> None:
    still = tuple(map(Image.fromarray, moving()[[0, 0, 0, 1, 1, 1]]))
    for format in LOSSLESS:
        data = encode_clip(Clip(still, clip().times, clip().end), format)
        assert len(decoded(data)[0]) == 6


def test_webm_comes_near() -> None:
    apart = decoded(encode_clip(clip(), "webm"))[0].astype(int) - moving()
    assert 0 < np.abs(apart).mean() < 6


@pytest.mark.parametrize("rate", [Fraction(25), Fraction(30000, 1001), Fraction(10, 3)])
def test_times_are_exact(rate: Fraction) -> None:
    times = tuple(n / rate for n in range(6))
    found = decode_clip(
        encode_clip(clip(times=times, end=6 / rate), "mp4"), 10**6, None, Selection()
    )
    assert (found.times, found.end) == (times, 6 / rate)


def test_a_rate_that_varies_is_kept() -> None:
    times = tuple(map(Fraction, ("0", "0.1", "0.25", "0.6", "0.65", "1")))
    found = decode_clip(
        encode_clip(clip(times=times, end=Fraction("1.1")), "mp4"), 10**6, None, Selection()
    )
    assert (found.times, found.end) == (times, Fraction("1.1"))


def test_a_frame_that_is_shown_for_an_hour() -> None:
    hour = Clip(clip().frames[:1], (Fraction(0),), Fraction(3600))
    found = decode_clip(encode_clip(hour, "mp4"), 10**6, None, Selection())
    assert (len(found.frames), found.end) == (1, Fraction(3600))


def test_sound_is_carried_as_it_is() -> None:
    data = container(moving(), sound=True)
    source = decode_clip(data, 10**6, None, Selection())

    def packets(file: bytes) -> list[bytes]:
        with av.open(io.BytesIO(file), "r") as opened:
            return [bytes(packet) for packet in opened.demux(audio=0) if packet.size]

    made = encode_clip(source, "mp4")
    assert packets(made) == packets(data)
    assert len(packets(made)) > 3
    assert made == encode_clip(source, "mp4")


def test_odd_sizes_and_pixels_that_are_not_square() -> None:
    frames = tuple(Image.fromarray(frame[:39, :47]) for frame in moving())
    odd = Clip(frames, clip().times, clip().end, aspect=Fraction(4, 3))
    data = encode_clip(odd, "mp4")
    np.testing.assert_array_equal(decoded(data)[0], moving()[:, :39, :47])
    assert decode_clip(data, 10**6, None, Selection()).aspect == Fraction(4, 3)
