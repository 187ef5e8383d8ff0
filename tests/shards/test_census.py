"""What is a sample, what lies beside samples, and which members no sample has."""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Iterable

import pytest

from diffaug import Recipe
from diffaug.shards.census import Census
from diffaug.shards.reading import Reading
from diffaug.shards.stream import MOST_NAMES
from tests.support.hostile import END, blocks, png


def tar(names: Iterable[str]) -> bytes:
    """A shard whose members are all one good picture, whatever their names."""
    return blocks([(name, png(0)) for name in names]) + END


def keys(census: Census, data: bytes, url: str = "s.tar") -> tuple[list[str | None], int]:
    """The keys of the samples, and how many others there are."""
    found = census.of(url)
    return [sample.key for sample in found.samples(io.BytesIO(data))], found.passed_over


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("census")]
    caplog.clear()
    return lines


LITTER = ("README.txt", "in/Thumbs.db", "classes.txt", "dataset.json", "stats.parquet")


@pytest.mark.parametrize("name", LITTER)
def test_a_file_that_is_no_sample_is_passed_over(name: str) -> None:
    census = Census(Reading.of(Recipe()))
    assert keys(census, tar(["a.png", name, "z.png"])) == (["a", "z"], 1)
    assert keys(census, tar([name])) == ([], 1)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("b.png", {}),
        ("b.cls", {}),
        ("b.class", {"label_key": "class"}),
        ("b.mask", {"mask_key": "mask"}),
        ("b.txt", {"carry": "txt"}),
        ("b.caption.json", {"carry": ".Caption.JSON"}),
        ("b.weird", {"image_key": "weird"}),
        ("b.0.png", {}),
        ("b.v2.HEIC", {}),
        ("b.npy", {}),
    ],
)
def test_a_member_that_is_asked_for_or_shows_something_makes_a_sample(
    name: str, fields: dict[str, str]
) -> None:
    census = Census(Reading.of(Recipe(**fields)))
    assert keys(census, tar([name, *LITTER[:1]])) == (
        ["b", "README"] if "txt" in fields.values() else ["b"],
        0 if "txt" in fields.values() else 1,
    )


def test_what_a_cut_or_a_repeated_key_may_have_lost_is_not_passed_over() -> None:
    census = Census(Reading.of(Recipe()))
    assert keys(census, tar(["a.png", "b.txt"])[:-1300]) == (["a", "b", None], 0)
    assert keys(census, tar(["b.png", "c.png", "b.txt"])) == (["b", "c", "b"], 0)
    assert keys(census, tar(["b.txt", "c.png", "b.txt"])) == (["c"], 2)


def test_a_key_of_very_many_members_is_a_sample() -> None:
    """Its names are remembered up to a number, and a picture may come after it."""
    names = [f"b.{number}" for number in range(MOST_NAMES)]
    census = Census(Reading.of(Recipe()))
    (sample,) = census.of("s.tar").samples(io.BytesIO(tar([*names, "b.0.png"])))
    assert len(sample.names) == MOST_NAMES
    assert keys(census, tar(names[:-1])) == ([], 1)


def test_keys_passed_over_are_named_once_a_shard(caplog: pytest.LogCaptureFixture) -> None:
    census = Census(Reading.of(Recipe()))
    first, second = tar(["a.png", *LITTER]), tar(["a.png", *(f"{n}.md" for n in range(9))])
    for url, data in {"s0.tar": first, "s1.tar": second}.items():
        keys(census, data, url)
    keys(census, first, "s0.tar")  # the next epoch
    assert said(caplog) == [
        "s0.tar: 5 passed over, without an image, class, mask or carried member: "
        "README, in/Thumbs, classes, dataset and stats",
        "s1.tar: 9 passed over, without an image, class, mask or carried member: "
        "0, 1, 2, 3, 4 and 4 more",
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"carry": "txt,caption"}, ["the member caption: nothing is carried"]),
        ({"label_key": "class"}, ["the member class: its images have no class (label_key)"]),
        ({"image_key": "foo"}, ["an image member (looked for foo): none can be used"]),
        ({"label_key": "c", "carry": "d"}, ["the member c: its", "the member d: nothing"]),
        ({"label_key": " .CLS", "carry": ". Txt ,", "image_key": "PNG;.jpg"}, []),
        ({}, []),
    ],
)
def test_a_field_that_no_sample_of_the_first_shard_has_is_reported_once(
    fields: dict[str, str], words: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    census = Census(Reading.of(Recipe(**fields)))
    for url in ("s0.tar", "s1.tar"):
        keys(census, tar(["a.png", "a.cls", "a.txt", "b.png"]), url)
    lines = said(caplog)
    assert len(lines) == len(words)
    for line, expected in zip(lines, words, strict=True):
        assert line.startswith(f"no sample of s0.tar has {expected}")
        assert line.endswith("its members are png, cls and txt")


def test_a_mask_that_a_shard_lacks_is_reported_for_each(caplog: pytest.LogCaptureFixture) -> None:
    census = Census(Reading.of(Recipe(mask_key="mask.png", carry="txt")))
    for url, names in {"s0": ["a.png"], "s1": ["a.png", "a.mask.png"], "s2": ["a.png"]}.items():
        keys(census, tar(names), url)
    assert [line.partition(" (")[0] for line in said(caplog)] == [
        "no sample of s0 has the member mask.png: no part of its images is kept by a mask",
        "no sample of s0 has the member txt: nothing is carried under that name",
        "no sample of s2 has the member mask.png: no part of its images is kept by a mask",
    ]


def test_only_a_shard_read_to_its_end_shows_what_is_missing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    census = Census(Reading.of(Recipe(carry="caption")))
    next(census.of("s.tar").samples(io.BytesIO(tar(["a.png", "b.png", "b.caption"]))))
    assert keys(census, END) == ([], 0)  # nor does one that holds nothing
    assert said(caplog) == []


def test_a_training_on_classes_is_told_that_there_are_none(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """An unlabelled set is no mistake elsewhere."""
    keys(Census(Reading(("png",), "cls", needs_label=True)), tar(["a.png"]))
    assert "no sample of s.tar has the member cls" in said(caplog)[0]
    keys(Census(Reading(("png",), "cls")), tar(["a.png"]))
    assert said(caplog) == []


def test_it_goes_to_workers_with_what_it_has_said(caplog: pytest.LogCaptureFixture) -> None:
    census = Census(Reading.of(Recipe()))
    keys(census, tar(LITTER[:1]))
    with caplog.at_level(logging.WARNING):
        caplog.clear()
        keys(pickle.loads(pickle.dumps(census)), tar(LITTER[:1]))
    assert said(caplog) == []
