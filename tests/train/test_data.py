"""In what order the data of a training comes, and what is left out of it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffaug.errors import ConfigError
from diffaug.train.data import Position, batches, usable
from diffaug.train.pictures import Pictures, settle
from diffaug.train.recipe import TrainRecipe
from diffaug.train.variation import Variation
from tests.support.hostile import fashion, png, write_samples
from tests.support.training import fingerprints, taken, tiny, two_shards


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    return two_shards(tmp_path)


def test_an_epoch_visits_every_image_once_in_an_order_of_its_own(source: list[str]) -> None:
    recipe = tiny()
    ten = taken(source, recipe, 10, Position())
    first, second = fingerprints(ten[:5]), fingerprints(ten[5:])
    assert Counter(first) == Counter(second)
    assert len(set(first)) == 20
    assert first != second
    assert [batch.position for batch in ten][4] == Position(0, 20)
    assert fingerprints(taken(source, recipe, 10, Position())) == first + second
    other = fingerprints(taken(source, tiny(seed=1), 5, Position()))
    assert other not in (first, second)


@pytest.mark.parametrize("after", [1, 4, 5, 7])
def test_the_data_goes_on_from_any_position(source: list[str], after: int) -> None:
    """Batches of 6 from 20 images, so that epochs end within one."""
    recipe = tiny(batch_size=6, shuffle=7)
    straight = taken(source, recipe, 12, Position())
    rest = taken(source, recipe, 12 - after, straight[after - 1].position)
    assert fingerprints(straight[:after]) + fingerprints(rest) == fingerprints(straight)


def test_labels_come_with_their_images(tmp_path: Path) -> None:
    path = write_samples(tmp_path / "s.tar", fashion(10))
    (batch,) = taken([str(path)], tiny(classes=10, batch_size=10), 1, Position())
    by_pixels = {}
    for sample in fashion(10):
        (one,) = taken(
            [str(write_samples(tmp_path / "one.tar", [sample]))],
            tiny(classes=10, batch_size=1),
            1,
            Position(),
        )
        by_pixels[one.x_0.tobytes()] = int(sample["cls"])
    found = {x_0.tobytes(): int(label) for x_0, label in zip(batch.x_0, batch.labels, strict=True)}
    assert found == by_pixels


def test_what_cannot_be_used_is_skipped_and_named(tmp_path: Path) -> None:
    good = fashion(4)
    bad = [
        {"__key__": b"torn", "png": png(5)[:60], "cls": b"1"},
        {"__key__": b"nolabel", "png": png(6)},
        {"__key__": b"alien", "png": png(7), "cls": b"12"},
        {"__key__": b"nopicture", "cls": b"1"},
    ]
    path = write_samples(tmp_path / "s.tar", [*bad[:2], *good, *bad[2:]])
    made = taken([str(path)], tiny(classes=10), 2, Position())
    skipped = [one for batch in made for one in batch.skipped]
    assert Counter(one.key for one in skipped) >= Counter(["torn", "nolabel", "alien", "nopicture"])
    reasons = {one.key: one.reason for one in skipped}
    assert "cannot be decoded" in reasons["torn"]
    assert "no integer class" in reasons["nolabel"]
    assert "class 12 is not one of the 10" in reasons["alien"]
    assert "no image member" in reasons["nopicture"]
    assert len(set(fingerprints(made))) == 4


def test_what_is_no_sample_is_passed_over_and_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    litter: dict[str, bytes] = {"__key__": b"README", "txt": b"..."}
    path = write_samples(tmp_path / "s.tar", [litter, *fashion(4)])
    clean = write_samples(tmp_path / "clean.tar", fashion(4))
    recipe = tiny(classes=10, label_key=".Cls")
    made = taken([str(path)], recipe, 3, Position())
    assert [batch.skips for batch in made] == [0, 0, 0]
    assert fingerprints(made) == fingerprints(taken([str(clean)], recipe, 3, Position()))
    named = [line for line in caplog.messages if "README" in line]
    assert named == [
        f"{path}: 1 passed over, without an image, class, mask or carried member: README"
    ]
    assert len(list(usable([str(path)], Pictures(recipe)))) == 4
    with pytest.raises(ConfigError, match="no sample of the source can be used"):
        taken([str(write_samples(tmp_path / "none.tar", [litter]))], recipe, 1, Position())


def test_a_class_that_no_sample_has_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a model that keeps what is unlabelled would learn no class, without a word."""
    path = write_samples(tmp_path / "s.tar", fashion(4))
    recipe = tiny(classes=10, label_key="class", unlabelled="keep")
    (batch,) = taken([str(path)], recipe, 1, Position())
    assert batch.labels.tolist() == [10] * 4
    told = [line for line in caplog.messages if "has the member class" in line]
    assert len(told) == 1
    assert told[0].endswith(
        "its images have no class (label_key); its members are png, cls and txt"
    )


def test_samples_without_a_class_can_be_kept_as_such(tmp_path: Path) -> None:
    """Those whose class is wrong are not among them: they are skipped all the same."""
    given = [{name: sample[name] for name in ("__key__", "png")} for sample in fashion(3)]
    alien = {"__key__": b"alien", "png": png(7), "cls": b"12"}
    path = write_samples(tmp_path / "s.tar", [*given, *fashion(2, 4), alien])
    recipe = tiny(classes=10, batch_size=5, unlabelled="keep")
    (batch,) = taken([str(path)], recipe, 1, Position())
    known = [int(sample["cls"]) for sample in fashion(2, 4)]
    assert sorted(batch.labels.tolist()) == sorted([10, 10, 10, *known])
    assert {one.key for one in batch.skipped} <= {"alien"}


def test_a_source_without_images_says_so_instead_of_going_round(tmp_path: Path) -> None:
    path = write_samples(tmp_path / "s.tar", [{"__key__": b"torn", "png": png(0)[:60]}])
    with pytest.raises(ConfigError, match="no sample of the source can be used: the first one"):
        next(batches([str(path)], tiny(), Pictures(tiny()), Position()))
    with pytest.raises(ConfigError, match="no image in the source"):
        settle(TrainRecipe(), [str(path)])


@pytest.mark.parametrize(
    ("mode", "size", "settled"),
    [("L", (28, 28), (32, 1)), ("RGB", (30, 17), (32, 3)), ("RGB", (64, 64), (64, 3))],
)
def test_size_and_channels_are_those_of_the_images(
    tmp_path: Path, mode: str, size: tuple[int, int], settled: tuple[int, int]
) -> None:
    image = Image.effect_noise(size, 60).convert(mode)
    if mode == "RGB":
        image.putpixel((0, 0), (255, 0, 0))
    image.save(tmp_path / "x.png")
    grey = {"__key__": b"a", "png": png(0)}
    sample = {"__key__": b"b", "png": (tmp_path / "x.png").read_bytes()}
    path = write_samples(tmp_path / "s.tar", [grey, sample])
    recipe = settle(TrainRecipe(), [str(path)])
    assert (recipe.size, recipe.channels) == settled


def test_large_images_want_a_size(tmp_path: Path) -> None:
    Image.effect_noise((300, 20), 60).save(tmp_path / "x.png")
    sample = {"__key__": b"a", "png": (tmp_path / "x.png").read_bytes()}
    path = write_samples(tmp_path / "s.tar", [sample])
    with pytest.raises(ConfigError, match="up to 300 pixels"):
        settle(TrainRecipe(), [str(path)])
    assert settle(TrainRecipe(size=64), [str(path)]).size == 64


def test_flips_mirror_half_of_the_images_each_epoch_anew(source: list[str]) -> None:
    plain, flipped = tiny(batch_size=20), tiny(batch_size=20, flip=True)
    epochs = []
    for before, after in zip(
        taken(source, plain, 12, Position()), taken(source, flipped, 12, Position()), strict=True
    ):
        mirrored = []
        for image, varied in zip(before.x_0, after.x_0, strict=True):
            assert (varied == image).all() or (varied == image[:, :, ::-1]).all()
            mirrored.append(bool((varied != image).any()))
        epochs.append(mirrored)
    share = sum(map(sum, epochs)) / 240
    assert 0.35 < share < 0.65  # 0.5, five standard deviations either way
    assert len({tuple(one) for one in epochs}) == 12
    again = taken(source, flipped, 5, Position(3, 20))
    straight = taken(source, flipped, 9, Position())
    assert fingerprints(again) == fingerprints(straight[4:])


def test_held_out_images_are_neither_flipped_nor_cropped(source: list[str]) -> None:
    plain = list(usable(source, Pictures(tiny())))
    varied = list(usable(source, Pictures(tiny(flip=True, crop=0.5))))
    assert all((one == other).all() for (one, _), (other, _) in zip(plain, varied, strict=True))


@pytest.mark.parametrize(
    ("size", "fit", "framed"),
    [
        ((48, 48), "auto", (48, 48)),
        ((40, 44), "auto", (40, 44)),
        ((60, 56), "auto", (48, 48)),
        ((20, 20), "auto", (48, 48)),
        ((30, 20), "pad", (30, 20)),
        ((48, 48), "resize", (48, 48)),
        ((60, 90), "fit", (48, 48)),
    ],
)
def test_a_crop_fills_what_the_whole_image_would(
    tmp_path: Path, size: tuple[int, int], fit: str, framed: tuple[int, int]
) -> None:
    """No black frame where the whole has none; against Pillow's own resizing of the crop."""
    noise = Image.effect_noise(size, 40).point(lambda level: max(level, 60))
    noise.save(tmp_path / "x.png")
    sample = {"__key__": b"a", "png": (tmp_path / "x.png").read_bytes()}
    path = str(write_samples(tmp_path / "s.tar", [sample]))
    recipe = tiny(size=48, crop=0.25, fit=fit, batch_size=1)
    left, top = (48 - framed[0]) // 2, (48 - framed[1]) // 2
    for epoch, batch in enumerate(taken([path], recipe, 6, Position())):
        levels = ((batch.x_0[0, 0] + 1) * 127.5).round().astype(np.uint8)
        inside = np.zeros((48, 48), dtype=bool)
        inside[top : top + framed[1], left : left + framed[0]] = True
        assert (levels[inside] > 20).all()
        assert (levels[~inside] == 0).all()
        variation = Variation.of(recipe, (recipe.seed, epoch, 0))
        assert variation is not None
        crop = variation.applied(noise)
        assert crop.size != size
        if fit != "fit":
            expected = np.asarray(crop.resize(framed, Image.Resampling.BICUBIC))
            assert (levels[inside] == expected.ravel()).all()


def test_a_crop_does_not_make_an_image_fit(tmp_path: Path) -> None:
    """An image too large to pad is skipped every time, and not whenever its crop is too large."""
    Image.effect_noise((50, 50), 40).save(tmp_path / "x.png")
    large = {"__key__": b"large", "png": (tmp_path / "x.png").read_bytes()}
    path = str(write_samples(tmp_path / "s.tar", [large, *fashion(1)]))
    made = taken([path], tiny(size=48, crop=0.5, fit="pad", batch_size=1), 12, Position())
    assert sum(batch.skips for batch in made) >= 11
    with pytest.raises(ConfigError, match=r"crop: .* fit exact"):
        TrainRecipe.of({"crop": 0.2, "fit": "exact"})
