"""Every way in which a clip arrives: the frames that a player shows, or why there are none."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest
from PIL import Image

from diffaug.clips.clip import MOST_PIXELS, Clip, Selection, Shown, clip_of, clip_sha256
from diffaug.clips.decode import decode_clip
from diffaug.errors import DefectError
from tests.support.clips import (
    Frames,
    a_million,
    animated,
    container,
    decoded,
    half,
    moving,
    no_frames,
    npy,
    only_sound,
    turned,
)

MOST = 1_000_000
EVERY = Selection()


def frames_of(clip: Clip) -> Frames:
    return np.stack([np.asarray(frame.convert("RGB")) for frame in clip.frames])


def read(data: bytes, selection: Selection = EVERY, background: str | None = None) -> Clip:
    return decode_clip(data, MOST, background, selection)


@pytest.mark.parametrize(
    "data",
    [
        container(moving()),
        container(moving(), format="matroska", codec="ffv1", pixels="bgr0", options={}),
        container(moving(), format="mp4", options={"qp": "0", "bf": "2"}),
        container(moving(), sound=True),
        animated(moving(), "PNG"),
        animated(moving(), "WEBP", lossless=True),
        npy(moving()),
        npy(np.asfortranarray(moving())),
    ],
    ids=["mp4", "mkv", "out-of-order", "sound", "apng", "webp", "npy", "fortran"],
)
def test_a_lossless_file_gives_its_frames(data: bytes) -> None:
    clip = read(data)
    np.testing.assert_array_equal(frames_of(clip), moving())
    assert clip.size == (48, 40)
    assert clip.times[0] == 0
    assert len(clip.times) == 6
    assert clip.end > clip.times[-1]


def test_one_clip_has_one_identity_in_every_format() -> None:
    files = [container(moving()), container(moving(), fps=25), animated(moving(), "PNG")]
    assert len({clip_sha256(read(data)) for data in [*files, npy(moving())]}) == 1
    assert clip_sha256(read(npy(moving(seed=1)))) != clip_sha256(read(npy(moving())))


def test_its_identity_is_that_of_its_raw_bytes() -> None:
    import hashlib

    said = b"clip RGB 48x40 6\n" + moving().tobytes()
    assert clip_sha256(read(npy(moving()))) == hashlib.sha256(said).hexdigest()


def test_frames_are_shown_when_the_file_says() -> None:
    times = [0.0, 0.1, 0.25, 0.6, 0.65, 1.0]
    clip = read(container(moving(), times=times))
    assert [float(time) for time in clip.times] == pytest.approx(times)
    assert len(clip.frames) / clip.fps == pytest.approx(float(clip.end))


def test_a_clip_begins_at_its_first_frame() -> None:
    clip = read(container(moving(), times=[7 + n / 10 for n in range(6)], format="matroska"))
    assert [float(time) for time in clip.times] == pytest.approx([n / 10 for n in range(6)])


def test_greys_are_grey_unless_a_frame_has_colour() -> None:
    grey = np.repeat(moving()[..., :1], 3, axis=3)
    assert read(container(grey)).mode == "L"
    grey[3, 5, 5] = [200, 0, 0]
    clip = read(container(grey))
    assert {frame.mode for frame in clip.frames} == {"RGB"}


def test_a_turned_file_is_turned_upright() -> None:
    upright = frames_of(read(turned(container(moving()))))
    assert upright.shape == (6, 48, 40, 3)
    np.testing.assert_array_equal(upright, np.rot90(moving(), -1, axes=(1, 2)))


@pytest.mark.parametrize("pixels", ["yuv420p10le", "yuv444p", "yuv422p"])
def test_colours_of_other_kinds_come_near(pixels: str) -> None:
    codec = "libx264"
    data = container(moving(), codec=codec, pixels=pixels)
    apart = np.abs(frames_of(read(data)).astype(int) - moving())
    assert apart.mean() < 4


def test_a_transparent_animation_is_seen_over_the_background() -> None:
    first = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    buffer = io.BytesIO()
    first.save(buffer, "PNG", save_all=True, append_images=[Image.new("RGBA", (16, 16), "blue")])
    black = read(buffer.getvalue(), background="black")
    assert black.frames[0].convert("RGB").getpixel((3, 3)) == (0, 0, 0)
    assert read(buffer.getvalue()).frames[0].convert("RGB").getpixel((3, 3)) == (255, 255, 255)


# Which frames


def test_a_window_takes_what_is_shown_in_it() -> None:
    clip = read(container(moving()), Selection(window=(Fraction("0.15"), Fraction("0.4"))))
    np.testing.assert_array_equal(frames_of(clip), moving()[1:4])
    shown = [float(time) for time in clip.times]
    assert shown == pytest.approx([0, 0.05, 0.15])
    assert float(clip.end) == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("fps", "places"), [(5, [0, 2, 4]), (20, [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5])]
)
def test_another_rate_takes_the_frame_that_is_shown_then(fps: int, places: list[int]) -> None:
    clip = read(container(moving()), Selection(fps=Fraction(fps)))
    np.testing.assert_array_equal(frames_of(clip), moving()[places])
    assert clip.fps == pytest.approx(fps)


def test_at_most_so_many_frames() -> None:
    np.testing.assert_array_equal(
        frames_of(read(container(moving()), Selection(frames=2))), moving()[:2]
    )
    assert len(read(container(moving()), Selection(frames=99)).frames) == 6


def test_what_is_not_all_of_a_clip_is_silent() -> None:
    data = container(moving(), sound=True)
    sound = read(data).sound
    assert sound is not None
    assert (sound.data, sound.format) == (data, "mov")
    assert read(data, Selection(frames=3)).sound is None


OUT_OF_ORDER = container(
    moving(8),
    times=[0, 0.05, 0.07, 0.2, 0.3, 0.33, 0.5, 0.6],
    codec="libx264rgb",
    options={"qp": "0", "bf": "3", "b-adapt": "0"},
)
"""Frames stored in another order, and shown for different times."""


@pytest.mark.parametrize(("fps", "places"), [(10, [0, 2, 3, 4, 5, 6, 7]), (50, [0, 0, 0, 1, 2])])
def test_each_is_the_last_frame_that_was_shown_by_then(fps: int, places: list[int]) -> None:
    clip = read(OUT_OF_ORDER, Selection(fps=Fraction(fps), frames=len(places)))
    np.testing.assert_array_equal(frames_of(clip), moving(8)[places])


def test_a_window_of_frames_that_are_stored_out_of_order() -> None:
    clip = read(OUT_OF_ORDER, Selection(window=(Fraction("0.075"), Fraction("0.4"))))
    np.testing.assert_array_equal(frames_of(clip), moving(8)[2:6])
    assert [float(time) for time in clip.times] == pytest.approx([0, 0.125, 0.225, 0.255])


# What cannot be used


def refused(data: bytes, selection: Selection = EVERY, most: int = MOST) -> DefectError:
    with pytest.raises(DefectError) as caught:
        decode_clip(data, most, None, selection)
    return caught.value


@pytest.mark.parametrize(
    ("data", "code", "said"),
    [
        (b"", "empty_clip", "zero bytes"),
        (b"this is no video at all", "unreadable_clip", "no known format of clips"),
        (only_sound(), "no_video", "sound only"),
        (no_frames(), "unreadable_clip", "cannot be decoded"),
        (half(container(moving(30))), "unreadable_clip", "cannot be decoded"),
        (half(container(moving(30), index_first=True)), "unreadable_clip", "cannot be decoded"),
        (
            half(container(moving(30), format="matroska")),
            "truncated_clip",
            "cut short",
        ),
        (npy(moving())[:-100], "truncated_clip", "bytes"),
        (npy(moving()[..., 0]), "unreadable_clip", "(frames, height, width, channels)"),
        (npy(moving().astype(np.float32)), "unreadable_clip", "must be uint8"),
        (half(animated(moving(), "PNG")), "unreadable_clip", "cannot be decoded"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_in_words(data: bytes, code: str, said: str) -> None:
    defect = refused(data)
    assert (defect.code, said in defect.reason) == (code, True), defect.reason


def test_a_window_behind_the_end() -> None:
    defect = refused(container(moving()), Selection(window=(Fraction(5), Fraction(6))))
    assert (defect.code, defect.reason) == ("no_frames", "the video has no frame in the window")


def test_an_array_of_objects_is_not_unpickled() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([print], dtype=object), allow_pickle=True)
    assert refused(buffer.getvalue()).code == "unreadable_clip"


def test_a_frame_that_is_too_large_is_not_decoded() -> None:
    for data in (container(moving()), animated(moving(), "PNG"), npy(moving())):
        defect = refused(data, most=1000)
        assert defect.code == "too_many_pixels"
        assert "48x40 pixels, more than max_pixels=1000" in defect.reason


def test_a_million_frames_are_not_decoded() -> None:
    defect = refused(a_million())
    assert defect.code == "too_long"
    assert f"more than {MOST_PIXELS // 512**2} frames of 512x512" in defect.reason


def test_a_dimension_below_one_is_refused() -> None:
    data = npy(moving()).replace(b"(6, 40, 48, 3), }  ", b"(-1, 40, 48, 3), } ")
    assert b"(-1," in data
    assert refused(data).code == "unreadable_clip"


def test_only_what_is_taken_of_an_array_is_read() -> None:
    assert refused(a_million(), Selection(frames=2)).code == "truncated_clip"
    cut = npy(moving())[: 128 + 2 * 40 * 48 * 3]
    np.testing.assert_array_equal(frames_of(read(cut, Selection(frames=2))), moving()[:2])


def test_an_index_of_more_samples_than_bytes_is_refused() -> None:
    data = bytearray(container(moving()))
    place = data.index(b"stsz") + 8
    data[place : place + 4] = (100).to_bytes(4, "big")  # all samples of one size
    data[place + 4 : place + 8] = (2**31).to_bytes(4, "big")
    defect = refused(bytes(data))
    assert defect.code == "unreadable_clip"
    assert "declares 2147483648 samples" in defect.reason


def test_a_damaged_file_is_always_the_same() -> None:
    data = bytearray(container(moving(40), options={"qp": "20", "bf": "2", "g": "40"}))
    data[len(data) // 2] ^= 0xFF
    found = set()
    for _ in range(8):
        try:
            found.add(clip_sha256(read(bytes(data))))
        except DefectError as defect:
            found.add(defect.reason)
    assert len(found) == 1


def test_two_frames_at_one_time_are_refused() -> None:
    frames = [Shown(Fraction(0), Fraction(1), Image.new("L", (8, 8)))] * 2
    with pytest.raises(DefectError, match="two frames are to be shown at the same time"):
        clip_of(frames)


def test_a_side_that_no_encoder_takes_is_refused() -> None:
    with pytest.raises(DefectError, match="a clip's side has at most 16384 pixels"):
        clip_of([Shown(Fraction(0), Fraction(1), Image.new("L", (20000, 2)))])


def test_of_two_videos_the_first_is_read() -> None:
    clip = read(container(moving(), second=True))
    np.testing.assert_array_equal(frames_of(clip), moving())


def test_hdr_is_refused() -> None:
    options = {"qp": "0", "bf": "0", "x264-params": "transfer=smpte2084:colorprim=bt2020"}
    data = container(moving(), codec="libx264", pixels="yuv420p10le", options=options)
    assert decoded(data)[0].shape == moving().shape
    assert refused(data).code == "hdr_clip"
