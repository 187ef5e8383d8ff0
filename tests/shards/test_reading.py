"""What of a sample is its image, mask, class and text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from diffaug import DefectError, Recipe
from diffaug.manifest.columns import LONGEST_TEXT
from diffaug.shards import Member, Sample
from diffaug.shards.reading import Label, Reading, label_of


def sample(**members: bytes) -> Sample:
    named = {name.replace("_", "."): data for name, data in members.items()}
    return Sample("a", {name: Member(f"a.{name}", 512, data) for name, data in named.items()})


@pytest.mark.parametrize(
    ("label", "text", "found"),
    [
        (None, None, Label()),
        (None, b" a shoe\n", Label(None, "a shoe")),
        (b" 7\n", b"a shoe", Label(7, "a shoe")),
        (b"-3", None, Label(-3)),
        (b"boot", b"a shoe", Label(None, "boot")),
        ("boot", "a shoe", Label(None, "boot")),
        (b"7.0", None, Label(None, "7.0")),
        (7, "a shoe", Label(7, "a shoe")),
        (np.int64(7), None, Label(7)),
        (b"\xff", None, Label(None, "�")),
        (None, b"x" * (LONGEST_TEXT + 5), Label(None, "x" * LONGEST_TEXT)),
    ],
)
def test_a_class_is_the_same_from_a_shard_and_in_a_loader(
    label: Any, text: Any, found: Label
) -> None:
    assert label_of(label, text) == found
    members = {"cls": label, "txt": text}
    as_bytes = {
        name: value if isinstance(value, bytes) else str(value).encode()
        for name, value in members.items()
        if value is not None
    }
    assert Reading(("png",), "cls").label(sample(**as_bytes)) == found


def test_a_label_that_is_no_class_is_a_type_error() -> None:
    with pytest.raises(TypeError):
        label_of(0.5)


def test_the_image_is_the_first_by_preference_and_never_the_mask() -> None:
    reading = Reading.of(Recipe(image_key="jpg,png", mask_key="png", carry="txt"))
    assert reading.image(sample(png=b"mask", jpg=b"image")).data == b"image"
    mask = reading.mask(sample(png=b"mask", jpg=b"image"))
    assert mask is not None
    assert mask.data == b"mask"
    assert reading.mask(sample(jpg=b"image")) is None
    with pytest.raises(DefectError, match=r"no image member \(looked for jpg\)") as said:
        reading.image(sample(png=b"mask"))
    assert said.value.code == "no_image"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (
            [f"{number}.png" for number in range(9)],
            "(looked for png): it has 0.png, 1.png, 2.png, 3.png, 4.png and 4 more. A key ends at "
            "the first dot of a file's name: rename the files so that theirs have no further dot, "
            "or name a member in image_key (0.png)",
        ),
        (["tar.png", "heic"], "or name a member in image_key (tar.png)"),
        (
            ["cls", "v1.heic"],
            "it has cls and v1.heic. The format of v1.heic is not read: convert it to PNG or JPEG",
        ),
        (["jpg", "cls"], "it has jpg and cls. If one of them is the image, name it in image_key"),
        (["cls", "txt"], "(looked for png): it has cls and txt"),
        (["a\x1b[2J.png"], "it has a?[2J.png. A key"),
        ([], "(looked for png)"),
    ],
)
def test_a_sample_without_an_image_says_what_it_has_and_the_cure(
    names: list[str], words: str
) -> None:
    without = Sample("IMG_2", names=dict.fromkeys(names))
    with pytest.raises(DefectError) as said:
        Reading(("png",), "cls").image(without)
    assert said.value.code == "no_image"
    assert said.value.reason.startswith("the sample has no image member")
    assert words in said.value.reason


def test_many_names_are_not_all_listed() -> None:
    with pytest.raises(DefectError, match=r"looked for png, jpg, jpeg, webp, bmp and \d+ more\)"):
        Reading.of(Recipe()).image_key(["cls"])


def test_it_reads_what_it_names_and_nothing_else() -> None:
    reading = Reading.of(Recipe(image_key="png", carry="json", mask_key="mask.png"))
    wanted = ("png", "cls", "txt", "json", "mask.png")
    assert all(map(reading.reads, wanted))
    assert not any(map(reading.reads, ("pkl", "jpg", "")))
    members = sample(png=b"", json=b"{}", mask_png=b"")
    assert list(reading.carried(members)) == ["json"]


def test_a_class_that_must_be_a_number() -> None:
    reading = Reading(("png",), "cls")
    assert reading.class_number(sample(cls=b"4")) == 4
    with pytest.raises(DefectError, match=r"no integer class in \.cls"):
        reading.class_number(sample(txt=b"4"))
