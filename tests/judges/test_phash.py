"""The perceptual hash, against a DCT of scipy's and by hand."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image, ImageEnhance
from scipy.fft import dctn

from diffaug.execution import Execution
from diffaug.judges import Candidate, load_panel
from diffaug.judges.phash import PhashJudge, perceptual_hash
from tests.support.hostile import png


def picture(index: int, mode: str = "L") -> Image.Image:
    return Image.open(io.BytesIO(png(index))).convert(mode)


def bits_by_scipy(image: Image.Image) -> list[bool]:
    pixels = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.LANCZOS), dtype=float)
    low = dctn(pixels, type=2)[:8, :8]
    return list((low > np.median(low)).ravel())


def apart(one: Image.Image, other: Image.Image) -> int:
    return (perceptual_hash(one) ^ perceptual_hash(other)).bit_count()


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_hash_is_that_of_scipys_dct(mode: str) -> None:
    for index in range(20):
        image = picture(index, mode)
        text = "".join(str(int(bit)) for bit in bits_by_scipy(image))
        assert perceptual_hash(image) == int(text, 2)


def test_a_picture_that_looks_alike_has_a_near_hash() -> None:
    image = picture(0).resize((96, 96))
    near = [
        ImageEnhance.Brightness(image).enhance(0.7),
        image.resize((64, 64)),
        Image.open(io.BytesIO(_jpeg(image))),
    ]
    assert all(apart(image, other) <= 6 for other in near)
    others = [apart(image, picture(index)) for index in range(1, 30)]
    assert min(others) > 6
    assert 16 < np.mean(others) < 40


def _jpeg(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    return buffer.getvalue()


def test_flat_pictures_are_alike_whatever_their_grey() -> None:
    greys = {perceptual_hash(Image.new("L", (28, 28), grey)) for grey in (1, 7, 128, 255)}
    assert len(greys) == 1
    assert perceptual_hash(Image.new("L", (1, 1), 9)) in greys


def test_copies_are_compared_with_those_before_them() -> None:
    sources = [picture(0), picture(1)]
    outputs = [[picture(2), picture(3), picture(2)], [picture(2), picture(4), picture(5)]]
    asked = [
        Candidate(source=source, output=output, origin=source)
        for source, copies in zip(sources, outputs, strict=True)
        for output in copies
    ]
    found = PhashJudge()(asked)
    assert [scores["score_phash_source"] for scores in found] == [
        apart(one.source, one.output) for one in asked
    ]
    between = [scores["score_phash_copies"] for scores in found]
    assert between[:3] == [64, apart(picture(2), picture(3)), 0]
    assert between[3:5] == [64, apart(picture(2), picture(4))]
    assert between[5] == min(apart(picture(5), other) for other in (picture(2), picture(4)))


def test_in_parts_it_says_the_same() -> None:
    """A source's copies may be judged in several goes; and raising copies changes no score."""
    origin = object()
    asked = [
        Candidate(source=picture(0), output=picture(index), origin=origin) for index in range(1, 7)
    ]
    whole, parts, fewer = PhashJudge(), PhashJudge(), PhashJudge()
    assert parts(asked[:2]) + parts(asked[2:3]) + parts(asked[3:]) == whole(asked)
    assert fewer(asked[:4]) == PhashJudge()(asked)[:4]


def test_a_panel_begins_with_no_copies() -> None:
    one = Candidate(source=picture(0), output=picture(1), origin=0)
    for _ in range(2):
        panel = load_panel(["phash"], Execution(batch_size=4))
        (found,) = panel([one])
        assert found["score_phash_copies"] == 64
        assert found.keys() == {
            *("score_ssim", "score_psnr", "score_phash_source", "score_phash_copies")
        }
