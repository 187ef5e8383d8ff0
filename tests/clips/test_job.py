"""Jobs of clips: what is said of images holds of them, whatever is around them."""

from __future__ import annotations

import itertools
import json
import signal
import sys
import time
from pathlib import Path

import av
import diffusers
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import diffaug
from diffaug.audit.replay import replay_parts
from diffaug.clips import encode, medium
from diffaug.clips.clip import Selection, clip_sha256
from diffaug.clips.decode import decode_clip
from diffaug.diffusion.noise import SampleRandom
from diffaug.errors import ConfigError
from diffaug.manifest.columns import COLUMNS
from diffaug.manifest.part import read_metadata
from diffaug.output.run import the_run
from diffaug.output.select import picked_rows
from diffaug.shards import read_samples
from tests.conftest import Cli
from tests.support.clips import Frames, container, decoded, moving, write_clips
from tests.support.forks import Forks
from tests.support.jobs import (
    GREY,
    augmented,
    differences,
    manifest,
    members,
    output_bytes,
    planned,
)

FIELDS = {
    "strength": "0.2:0.5",
    "steps": 6,
    "sampler": "ddim",
    "carry": ("txt", "wav"),
    "copies": 2,
}
CLIPS = {
    "a": container(moving(5), sound=True),
    "b": container(moving(9, (32, 32), seed=1)),
    "c": container(moving(1, (64, 24), seed=2)),
    "broken": container(moving(4))[:500],
    "d": container(moving(4, seed=3), times=[0, 0.1, 0.5, 0.6]),
}
NEW = {"medium", "frames", "fps", "noise_time", "output_frames", "score_flicker"}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clips(tmp_path_factory.mktemp("clips") / "clips.tar", CLIPS)


@pytest.fixture(scope="module")
def output(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("out") / "out"
    augmented([source], output, **FIELDS)
    return output


def test_a_clip_is_a_row_and_its_copies_are_like_it(output: Path) -> None:
    rows = manifest(output)
    assert list(rows["status"].value_counts().items()) == [("ok", 8), ("failed", 2)]
    assert set(rows.columns) - set(COLUMNS) == NEW
    made = rows[rows["status"] == "ok"]
    assert (made["medium"] == "clip").all()
    assert (made["noise_time"] == "shared").all()
    assert made.groupby("source_key")["frames"].first().to_dict() == {
        "a": 5,
        "b": 9,
        "c": 1,
        "d": 4,
    }
    for row in made.itertuples():
        frames, times = decoded(output_bytes(output, row))
        source, shown = decoded(CLIPS[str(row.source_key)])
        assert frames.shape == source.shape
        assert times == pytest.approx(shown)
        assert (row.frames, row.output_frames) == (len(source), len(source))
        assert not np.array_equal(frames, source)
    assert made["score_flicker"].isna().sum() == 2  # of the clip of one frame


def test_what_comes_with_a_clip_is_carried(output: Path) -> None:
    (tar,) = (output / "shards").glob("*.tar")
    found = members(tar)
    assert found["a-a1.wav"] == b"RIFF of a"
    assert found["a-a1.txt"] == b"a clip called a"
    assert found["a-a1.cls"] == b"0"
    assert json.loads(found["a-a1.diffaug.json"])["source_key"] == "a"
    assert differences(output) == []


def test_every_row_is_made_again(output: Path) -> None:
    (part,) = (output / "manifest").glob("*.parquet")
    found = list(replay_parts(picked_rows(str(output), {part.stem: [*range(8)]}), str(output)))
    assert {one.verdict for one in found} == {"equal"}
    assert len(found) == 8


def test_another_order_and_other_neighbours(output: Path, tmp_path: Path) -> None:
    order = ["d", "b", "a"]
    other = write_clips(tmp_path / "clips.tar", {key: CLIPS[key] for key in order})
    rows = augmented([other], tmp_path / "out", batch_size=8, **FIELDS)
    columns = ["source_key", "copy", "sample_id", "output_sha256", "output_pixel_sha256"]
    before = set(map(tuple, manifest(output)[columns].to_numpy()))
    assert set(map(tuple, rows[columns].to_numpy())) < before
    assert len(rows) == 6


@pytest.mark.process
def test_a_job_that_is_killed_goes_on(output: Path, tmp_path: Path, forked: Forks) -> None:
    shards = [write_clips(tmp_path / f"{key}.tar", {key: CLIPS[key]}) for key in ("a", "b", "d")]
    flags = [
        f"--model={GREY}",
        "--strength=0.2:0.5",
        "--steps=6",
        "--sampler=ddim",
        "--carry=txt,wav",
        "--copies=2",
    ]
    process = forked.start("augment", *shards, tmp_path / "out", *flags, "--batch-size=8")
    while not [*(tmp_path / "out/manifest").glob("*.parquet")]:
        assert process.poll() is None, process.err
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert forked("augment", *shards, tmp_path / "out", *flags).returncode == 0
    rows, columns = manifest(tmp_path / "out"), ["source_key", "copy", "output_sha256"]
    before = manifest(output)[columns]
    assert sorted(map(tuple, rows[columns].to_numpy())) == sorted(
        map(tuple, before[before["source_key"].isin(["a", "b", "d"])].to_numpy())
    )


def by_diffusers(frames: Frames, strength: float, steps: int, noise: NDArray[np.float32]) -> Frames:
    """The loop that people write: each frame noised and denoised by diffusers alone."""
    folder = Path(diffaug.__file__).parent / "models/shipped/cifar10-32"
    unet = diffusers.UNet2DModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    scheduler = diffusers.DDIMScheduler.from_pretrained(folder / "scheduler")
    calls = max(1, round(strength * steps))
    start = round(strength * 999)
    times = [round(start * (calls - i) / calls) for i in range(calls)] + [-1]
    none = torch.full((len(frames),), 10)
    x_0 = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    x = scheduler.add_noise(x_0, torch.from_numpy(noise), torch.full((len(frames),), times[0]))
    alphas = torch.cat([scheduler.alphas_cumprod, torch.ones(1)])
    with torch.inference_mode():
        for time, after in itertools.pairwise(times):
            v = unet(x, time, class_labels=none).sample
            a, s = alphas[time].sqrt(), (1 - alphas[time]).sqrt()
            clean = (a * x - s * v).clamp(-1, 1)
            epsilon = (x - a * clean) / s
            x = alphas[after].sqrt() * clean + (1 - alphas[after]).sqrt() * epsilon
    levels = ((x + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    made: Frames = levels.permute(0, 2, 3, 1).numpy()
    return made


@pytest.mark.parametrize("noise_time", ["shared", "independent"])
def test_each_frame_is_what_diffusers_makes_of_it(noise_time: str, tmp_path: Path) -> None:
    frames = moving(3, (32, 32))
    tar = write_clips(tmp_path / "one.tar", {"a": container(frames)})
    rows = augmented(
        [tar], tmp_path / "out", model="cifar10-32", strength=0.5, steps=8, sampler="ddim",
        noise_time=noise_time, dtype="float32",
    )  # fmt: skip
    digest = clip_sha256(decode_clip(container(frames), 10**6, None, Selection()))
    random = SampleRandom(0, digest, 0)
    drawn = [random.normal((3, 32, 32), 0, None if noise_time == "shared" else n) for n in range(3)]
    wanted = by_diffusers(frames, 0.5, 8, np.stack(drawn))
    found = decoded(output_bytes(tmp_path / "out", rows.iloc[0]))[0]
    assert np.abs(found.astype(int) - wanted).max() <= 1


def test_frames_that_are_alike_stay_alike_where_noise_is_shared(tmp_path: Path) -> None:
    still = np.repeat(moving(1), 3, axis=0)
    tar = write_clips(tmp_path / "still.tar", {"a": container(still)})
    for noise_time, alike in (("shared", True), ("mixed:0.9", False), ("independent", False)):
        out = tmp_path / noise_time
        rows = augmented([tar], out, strength=0.5, noise_time=noise_time, sampler="ddim", steps=4)
        first, *others = decoded(output_bytes(out, rows.iloc[0]))[0]
        assert all(np.array_equal(first, other) for other in others) is alike


def test_which_frames_are_taken_is_on_record(source: Path, tmp_path: Path) -> None:
    rows = augmented([source], tmp_path, window="0.05:0.35", fps="20", frames=4, strength=0.2)
    made = rows[(rows["status"] == "ok") & (rows["source_key"] == "b")].iloc[0]
    frames, times = decoded(output_bytes(tmp_path, made))
    assert (made["frames"], made["fps"]) == (4, 20)
    assert times == pytest.approx([0, 0.05, 0.1, 0.15])
    assert len(frames) == 4


def test_a_job_of_clips_goes_on_and_refuses_another_recipe(
    source: Path, output: Path, tmp_path: Path
) -> None:
    planned([source], output, **FIELDS)
    with pytest.raises(ConfigError, match=r"noise_time \(shared there, independent asked\)"):
        planned([source], output, **FIELDS, noise_time="independent")
    with pytest.raises(ConfigError, match="medium"):
        planned([source], output, **FIELDS, medium="image")


def test_what_reads_and_writes_clips_is_on_record(output: Path, source: Path) -> None:
    run = the_run(str(output))
    assert run.versions["av"] == av.__version__
    (part,) = (output / "manifest").glob("*.parquet")
    (found,) = replay_parts(picked_rows(str(output), {part.stem: [0]}), str(output))
    assert found.verdict == "equal"
    metadata = read_metadata(part)
    metadata["environment"]["versions"]["libavcodec"] = "1.2.3"
    (other,) = replay_parts([(metadata, [found.row])], str(output))
    assert (other.verdict, "libavcodec 1.2.3" in other.reason) == ("near", True)


def test_a_clip_that_cannot_be_stored_is_a_failed_row(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = encode._CODECS["mp4"][2] | {"x264-params": "crop-rect=1"}
    monkeypatch.setitem(encode._CODECS, "mp4", ("libx264rgb", "yuv420p", options))
    rows = augmented([source], tmp_path, strength=0.2)
    assert set(rows["status"]) == {"failed"}
    assert "cannot be stored as mp4" in " ".join(rows["reason"])
    assert differences(tmp_path) == []


def test_an_output_of_clips_is_exported(output: Path, cli: Cli) -> None:
    assert cli("export", output, "--format", "croissant").code == 0
    assert "video/mp4" in (output / "croissant.json").read_text()


def test_clips_of_a_shard_are_tried(source: Path, tmp_path: Path, cli: Cli) -> None:
    said = cli("try", source, "-o", tmp_path / "try.html", "--model", GREY)
    assert said.code == 0, said
    assert "data-plays" in (tmp_path / "try.html").read_text()


def test_frames_that_do_not_fit_are_refused(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(medium, "MOST_VALUES", 6 * 32 * 32)
    rows = augmented([source], tmp_path, strength=0.2)
    reasons = rows.set_index("source_key")["reason"]
    assert "the clip has 9 frames, and at the size of the model" in reasons["b"]
    assert rows[rows["source_key"] == "a"]["status"].tolist() == ["ok"]


def test_flicker_can_be_filtered_by(source: Path, tmp_path: Path) -> None:
    rows = augmented([source], tmp_path, filters="flicker < 0.0001", strength=0.2)
    assert set(rows["status"]) == {"filtered", "failed"}
    (tar,) = (tmp_path / "rejects").glob("*.tar")
    with tar.open("rb") as stream:
        assert {"mp4"} <= {
            name for one in read_samples(stream, lambda _: True) for name in one.names
        }


def test_from_the_command_line(source: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    said = cli(
        "augment",
        source,
        out,
        "--strength",
        "0.2",
        "--noise-time",
        "mixed:0.5",
        "--max-failed",
        "1",
    )
    assert said.code == 0
    assert cli("verify", out, "--replay", "3").code == 0
    row = manifest(out).iloc[0]
    file = tmp_path / "again.mp4"
    assert cli("replay", out, row["sample_id"], "-o", file).code == 0
    assert file.read_bytes() == output_bytes(out, row)


def test_without_its_extra(
    source: Path, output: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    sentence = "a clip requires av: pip install 'diffaug[video]'"
    cli("augment", source, tmp_path / "out", "--model", GREY).assert_mistake(sentence)
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="a clip requires av"):
        list(diffaug.Augmenter({"medium": "clip", "model": GREY})([]))
