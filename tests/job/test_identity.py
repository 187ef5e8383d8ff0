"""The same recipe and source give the same names, bytes and rows, however the job is run."""

from __future__ import annotations

import hashlib
import io
import itertools
import random
import shutil
import signal
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import cast, get_args

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import diffaug
from diffaug.diffusion.samplers import SamplerName
from tests.support.forks import LANES, Forked, Forks
from tests.support.gate import JUDGE, NAME, hold
from tests.support.hostile import broken_images, fashion, write_files, write_samples
from tests.support.jobs import GREY, WHO, augmented, manifest, planned, tars

DEFAULT = diffaug.Recipe().sampler
FIELDS = {"strength": "0.1:0.6", "steps": 5, "sampler": "ddim", "copies": 2, "carry": ("txt",)}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two good shards and one with broken images between them."""
    folder = tmp_path_factory.mktemp("sources")
    broken_images(folder / "s1.tar")
    return [
        write_samples(folder / "s0.tar", fashion(5)),
        folder / "s1.tar",
        write_samples(folder / "s2.tar", fashion(4, 50)),
    ]


@pytest.fixture(scope="module")
def reference(sources: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The plain job: every shard at once, in order."""
    output = tmp_path_factory.mktemp("reference") / "out"
    augmented(sources, output, **FIELDS)
    return output


def _assert_same(output: Path, reference: Path) -> None:
    assert tars(output) == tars(reference)
    pd.testing.assert_frame_equal(manifest(output), manifest(reference))


def test_a_second_time(sources: list[Path], reference: Path, tmp_path: Path) -> None:
    augmented(sources, tmp_path, **FIELDS)
    _assert_same(tmp_path, reference)


def test_shards_in_another_order(sources: list[Path], reference: Path, tmp_path: Path) -> None:
    augmented(sources[::-1], tmp_path, **FIELDS)
    _assert_same(tmp_path, reference)


@pytest.mark.parametrize("groups", [[[0, 1], [2]], [[2], [0], [1]], [[1, 2], [0, 1, 2]]])
def test_shards_in_other_groups(
    groups: list[list[int]], sources: list[Path], reference: Path, tmp_path: Path
) -> None:
    run = planned(sources, tmp_path, **FIELDS)
    for group in groups:
        list(diffaug.augment_shards([run.sources[n] for n in group], str(tmp_path), run=run))
    _assert_same(tmp_path, reference)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_shard_alone(place: int, sources: list[Path], reference: Path, tmp_path: Path) -> None:
    rows = augmented([sources[place]], tmp_path, **FIELDS)
    whole = manifest(reference)
    own = whole[whole["source_shard"] == str(sources[place])].reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, own)
    assert tars(tmp_path).items() <= tars(reference).items()


def test_images_among_other_neighbours(reference: Path, tmp_path: Path) -> None:
    """The pictures of s0, backwards, each after a picture of another size."""
    samples = []
    for place, sample in enumerate(fashion(5)[::-1]):
        other = fashion(1, 100 + place)[0]
        samples += [other | {"__key__": b"other-%d" % place}, sample]
    source = write_samples(tmp_path / "mixed.tar", samples)
    rows = augmented([source], tmp_path / "out", **FIELDS)
    made = rows.set_index(["source_key", "copy"])["output_sha256"]
    was = manifest(reference)
    was = was[was["source_shard"].str.endswith("s0.tar")].set_index(["source_key", "copy"])
    assert len(was) == 10
    assert made[was.index].equals(was["output_sha256"])


@pytest.mark.parametrize("copies", [1, 3])
def test_other_copies_keep_the_earlier_ones(
    copies: int, sources: list[Path], reference: Path, tmp_path: Path
) -> None:
    rows = augmented(sources, tmp_path, **(FIELDS | {"copies": copies})).set_index(WHO)
    was = manifest(reference).set_index(WHO)
    both = was.index.intersection(rows.index)
    assert len(both) == len(was) / 2 * min(copies, 2)
    columns = ["sample_id", "strength", "output_sha256", "output_pixel_sha256", "score_ssim"]
    pd.testing.assert_frame_equal(rows.loc[both, columns], was.loc[both, columns])


def test_renamed_shards_differ_in_their_names_alone(
    sources: list[Path], reference: Path, tmp_path: Path
) -> None:
    renamed = [
        Path(shutil.copy(source, tmp_path / f"{place}-renamed.tar"))
        for place, source in enumerate(sources[::-1])
    ]
    rows = augmented(renamed, tmp_path / "out", **FIELDS)
    digests = {name[-12:]: data for name, data in tars(reference).items()}
    assert {name[-12:]: data for name, data in tars(tmp_path / "out").items()} == digests
    names = ["source_shard", "output_shard"]
    order = ["source_key", "copy", "source_sha256"]
    pd.testing.assert_frame_equal(
        rows.drop(columns=names).sort_values(order).reset_index(drop=True),
        manifest(reference).drop(columns=names).sort_values(order).reset_index(drop=True),
    )


def test_renamed_keys_differ_in_their_names_alone(reference: Path, tmp_path: Path) -> None:
    files = [(f"new/{sample['__key__'].decode()}x.png", sample["png"]) for sample in fashion(5)]
    rows = augmented([write_files(tmp_path / "s.tar", files)], tmp_path / "out", **FIELDS)
    was = manifest(reference)
    was = was[was["source_shard"].str.endswith("s0.tar")]
    for column in ("sample_id", "output_sha256", "score_psnr", "strength"):
        assert list(rows[column]) == list(was[column])


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"strength": 0.5}, {"steps": 20}, {"sampler": "one-step"}]
)
def test_another_recipe_is_another_image(
    change: dict[str, object], sources: list[Path], reference: Path, tmp_path: Path
) -> None:
    rows = augmented(sources, tmp_path, **(FIELDS | change)).set_index(WHO)
    was = manifest(reference).set_index(WHO)
    changed = was.index[was["calls"].fillna(0) > 1]  # one call of ddim is one-step
    assert len(changed) > 5
    for column in ("sample_id", "recipe_digest", "output_pixel_sha256"):
        assert not (rows.loc[changed, column] == was.loc[changed, column]).any()


recipes = st.fixed_dictionaries(
    {
        "sampler": st.sampled_from(get_args(SamplerName)),
        "strength": st.sampled_from(["0.05:0.95", (0.2, 0.9), (0.7, 0.1, 0.4), 0.5]),
        "steps": st.integers(1, 8),
        "copies": st.integers(1, 3),
        "seed": st.integers(0, 2**63 - 1),
    }
)


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_any_job_gives_each_image_what_it_has_alone(data: st.DataObject) -> None:
    """Any recipe, neighbours, order, split into shards, grouping, and any interruption."""
    fields = data.draw(recipes)
    samples = data.draw(st.permutations(fashion(7)))
    cuts = sorted(data.draw(st.sets(st.integers(1, 6), max_size=2)))
    pieces = [samples[a:b] for a, b in itertools.pairwise([0, *cuts, 7])]
    with tempfile.TemporaryDirectory() as name:
        folder, output = Path(name), Path(name, "out")
        urls = [write_samples(folder / f"{n}.tar", piece) for n, piece in enumerate(pieces)]
        run = planned(urls, output, **fields, batch_size=4)
        for _ in range(data.draw(st.integers(0, 2))):  # interrupted after its first commit
            reports = diffaug.augment_shards(run.sources[::-1], str(output), run=run)
            next(reports, None)
            cast(Generator[object], reports).close()
        list(diffaug.augment_shards(run.sources, str(output), run=run))
        rows = manifest(output)
    assert list(rows["status"]) == ["ok"] * 7 * run.recipe.copies
    pictures = {sample["__key__"].decode(): sample["png"] for sample in samples}
    for key, own in rows.groupby("source_key"):
        picture = Image.open(io.BytesIO(pictures[str(key)]))
        alone = diffaug.augment(picture, run.recipe, batch_size=4)
        made = alone if run.recipe.copies > 1 else [alone]
        digests = [hashlib.sha256(b"L 28x28\n" + image.tobytes()).hexdigest() for image in made]
        assert list(own.sort_values("copy")["output_pixel_sha256"]) == digests


# --- processes


def _small_shards(folder: Path, count: int, images: int) -> list[Path]:
    return [
        write_samples(folder / f"s{n:02d}.tar", fashion(images, images * n)) for n in range(count)
    ]


@pytest.mark.process
@pytest.mark.proof
def test_a_job_killed_again_and_again(
    tmp_path: Path, forked: Forks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SIGINT and SIGTERM at random moments of a job that cannot end before, since a judge holds it
    back; the last run is left to finish. For SIGKILL, and two jobs at one output, see
    `test_storm`."""
    shards = _small_shards(tmp_path / "in", 9, 6)
    output, gate = tmp_path / "out", tmp_path / "gate"
    fields = {"model": GREY, "steps": 10, "strength": 0.3, "copies": 2, "judges": [JUDGE]}
    flags = [f"--model={GREY}", "--steps=10", "--strength=0.3", "--copies=2", f"--judges={JUDGE}"]
    arguments: list[str | Path] = ["augment", *shards, output, *flags]
    monkeypatch.setenv(NAME, str(gate))
    moments: list[tuple[float, int]] = []
    for signum, most in ((signal.SIGINT, 4), (signal.SIGTERM, 8)):
        hold(gate, output, most)
        process = forked.start(*arguments)
        delay = random.uniform(0.0, 0.5)
        _wait_for_work(process, output)
        time.sleep(delay)
        process.send_signal(signum)
        code = process.wait()
        moments.append((round(delay, 2), len(list(output.glob("manifest/*.parquet")))))
        assert code == 128 + signum, (moments, process.err)
        assert "Traceback" not in process.err
        assert "the same command continues from there" in process.err
        assert not (output / "shards.txt").exists()
    print(f"interrupted after (seconds of work, shards committed so far): {moments}")
    gate.unlink()
    last = forked(*arguments)
    assert last.returncode == 0, last.stderr
    assert "108 planned = 108 made" in last.stdout
    augmented(shards, tmp_path / "calm", **fields, sampler=DEFAULT, batch_size=LANES)
    _assert_same(output, tmp_path / "calm")


def _wait_for_work(process: Forked, output: Path) -> None:
    """Wait until the process writes a tar: the model is loaded and images come out."""
    before = set(output.glob(".diffaug-*/*.tar"))
    while not set(output.glob(".diffaug-*/*.tar")) - before:
        assert process.poll() is None, process.err
        time.sleep(0.02)
