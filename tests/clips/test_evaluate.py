"""Does it help a classifier of clips? The same question, and the same answer's form."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diffaug.evaluation.images.corruptions import corrupt
from diffaug.evaluation.trials.variants import CHANGED, flips_and_crops, held
from tests.conftest import Cli
from tests.support.clips import container, moving
from tests.support.hostile import write_files
from tests.support.jobs import GREY, manifest

FRAMES = 3


def shard(path: Path, begin: int) -> Path:
    files = []
    for number in range(begin, begin + 16):
        clip = container(moving(FRAMES, (24, 24), seed=number))
        files += [(f"{number}.mp4", clip), (f"{number}.cls", str(number % 2).encode())]
    return write_files(path, files)


@pytest.mark.numerics
def test_an_evaluation_of_clips(tmp_path: Path, cli: Cli) -> None:
    source, test = shard(tmp_path / "source.tar", 0), shard(tmp_path / "test.tar", 100)
    out = tmp_path / "out"
    arms = "trivial-augment,jitter,blur,noise,field,reconstruct,trivial-augment+reconstruct"
    few = ("--labels=2", "--seeds=2", "--validation=2", "--copies=2", "--train-steps=4")
    how = ("--model", GREY, "--strengths=0.3", "--severities=3", "--noise-time=shared")
    said = cli("evaluate", source, out, "--test", test, *few, *how, "--arms", arms)
    assert said.code == 0, said
    results = json.loads((out / "results/results.json").read_text())
    assert len(results["verdicts"]) == 2
    assert json.loads((out / "evaluation.json").read_text())["recipe"]["medium"] == "clip"
    rows = manifest(out / "seed-0/reconstruct-0.3")
    assert (rows["output_frames"] == FRAMES).all()
    (clean,) = (out / "test").glob("*-clean-0.npy")
    assert np.load(clean).shape == (16, 24, 24, 3 * FRAMES)
    assert cli("report", out).code == 0


def test_clips_of_several_lengths_are_refused(tmp_path: Path, cli: Cli) -> None:
    files = []
    for n in range(8):
        clip = container(moving(2 + n % 2, (16, 16), n))
        files += [(f"{n}.mp4", clip), (f"{n}.cls", str(n % 2).encode())]
    source, test = (write_files(tmp_path / f"{name}.tar", files) for name in ("source", "test"))
    few = ("--labels=1", "--seeds=2", "--validation=1", "--model", GREY)
    said = cli("evaluate", source, tmp_path / "out", "--test", test, *few)
    said.assert_mistake("the clips differ in length (2 lengths)")


@pytest.mark.parametrize("name", [*CHANGED, "flips-crops"])
def test_a_change_is_the_same_in_all_frames(name: str) -> None:
    still = np.concatenate([np.stack([moving(1, seed=n)[0] for n in range(5)])] * 4, axis=3)
    change = flips_and_crops if name == "flips-crops" else held(CHANGED[name], 3)
    made = change(still, np.random.default_rng(0))
    assert made.shape == still.shape
    assert not np.array_equal(made, still)
    for frame in range(1, 4):
        np.testing.assert_array_equal(made[..., 3 * frame : 3 * frame + 3], made[..., :3])
    alone = CHANGED[name](still[..., :3], np.random.default_rng(0)) if name in CHANGED else None
    assert alone is None or np.array_equal(alone, made[..., :3])


def test_a_frame_is_corrupted_as_a_picture_is() -> None:
    clips = np.concatenate([np.stack([moving(1, seed=n)[0] for n in range(3)])] * 2, axis=3)
    found = corrupt(clips, ["a", "b", "c"], "jpeg", 3, 3)
    alone = corrupt(clips[..., :3], ["a", "b", "c"], "jpeg", 3)
    np.testing.assert_array_equal(found[..., :3], alone)
    np.testing.assert_array_equal(found[..., 3:], alone)
