"""What a dry run foretells, beside what the job then does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import SHARDS, Cli
from tests.support.hostile import broken_images, write_samples
from tests.support.jobs import augmented, tars


def foretold(said: str) -> tuple[int, int, float]:
    """Images, calls and megabytes, as the dry run says them."""
    found = re.search(r"about ([\d,]+) images, ([\d,]+) network calls .*, ([\d.]+) MB", said)
    assert found is not None, said
    images, calls, megabytes = (float(text.replace(",", "")) for text in found.groups())
    return int(images), int(calls), megabytes


def test_it_is_near_the_truth(tmp_path: Path, cli: Cli) -> None:
    flags = ["--copies=2", "--strength=0.2,0.4", "--steps=10", "--carry=txt", "--batch-size=16"]
    flags += ["--model=fashion-mnist-32"]
    said = cli("augment", *SHARDS, tmp_path / "out", *flags, "--dry-run")
    assert said.code == 0
    assert "3 of 3 shards to do" in said.out
    images, calls, megabytes = foretold(said.out)
    frame = augmented(
        SHARDS,
        tmp_path / "out",
        copies=2,
        strength=(0.2, 0.4),
        steps=10,
        carry=("txt",),
        sampler="dpmsolver++",
        batch_size=16,
    )
    assert images == pytest.approx(len(frame), rel=0.1)
    assert calls == pytest.approx(frame["calls"].sum(), rel=0.1)
    size = sum(map(len, tars(tmp_path / "out").values()))
    assert megabytes == pytest.approx(size / 1e6, rel=0.15)
    said = cli("augment", *SHARDS, tmp_path / "out", *flags, "--dry-run")
    assert "0 of 3 shards to do" in said.out


def test_of_shards_without_a_good_image(tmp_path: Path, cli: Cli) -> None:
    write_samples(tmp_path / "empty.tar", [])
    said = cli("augment", tmp_path / "empty.tar", tmp_path / "out", "--dry-run")
    assert foretold(said.out) == (0, 0, 0.0)
    broken_images(tmp_path / "broken.tar")
    flags = ("--model=fashion-mnist-32", "--condition=label", "--dry-run")  # no sample has one
    said = cli("augment", tmp_path / "broken.tar", tmp_path / "out", *flags)
    images, calls, megabytes = foretold(said.out)
    assert (calls, megabytes) == (0, 0.0)
    assert images == pytest.approx(5, abs=2)
