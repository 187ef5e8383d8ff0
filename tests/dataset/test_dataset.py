"""`AugmentedDataset`: what it yields and in what order, by readers that owe nothing to diffaug."""

from __future__ import annotations

import io
import random
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import webdataset as wds
from PIL import Image
from torch.utils.data import DataLoader

import diffaug
from tests.dataset.conftest import SIZES, unequal_job
from tests.support.hostile import blocks as tar_blocks
from tests.support.hostile import fashion, png, write_files, write_samples
from tests.support.jobs import augmented, manifest, members, output_bytes, pixels
from tests.support.outputs import write_output, write_shard

REAL = sum(SIZES)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of two copies over unequal shards, in `out`."""
    return unequal_job(tmp_path_factory.mktemp("dataset"))


def mixed(folder: Path, **options: Any) -> diffaug.AugmentedDataset:
    return diffaug.AugmentedDataset(folder / "out", **{"real": f"{folder}/in/*.tar"} | options)


def loaded(dataset: Any, workers: int, **options: Any) -> list[list[dict[str, Any]]]:
    """The batches of a loader."""
    return list(DataLoader(dataset, 4, num_workers=workers, collate_fn=list, **options))


def keys(batches: list[list[dict[str, Any]]]) -> list[str]:
    return [sample["__key__"] for batch in batches for sample in batch]


def of_ranks(
    world_size: int, monkeypatch: pytest.MonkeyPatch, dataset: Any, workers: int
) -> Iterator[list[list[dict[str, Any]]]]:
    """What each rank is given, as a launcher would number them."""
    monkeypatch.setenv("WORLD_SIZE", str(world_size))
    for rank in range(world_size):
        monkeypatch.setenv("RANK", str(rank))
        yield loaded(dataset, workers)


def expected(folder: Path) -> Counter[str]:
    """Every real sample and every augmented one, once."""
    real = [name for path in sorted(folder.glob("in/*")) for name in members(path)]
    found = Counter(name.removesuffix(".png") for name in real if name.endswith(".png"))
    return found + Counter(pd.read_parquet(folder / "out/manifest")["output_key"])


# --- what is yielded


def test_pictures_and_labels_are_those_of_the_tars(folder: Path) -> None:
    rows = manifest(folder / "out").set_index("output_key")
    real = {name: data for path in folder.glob("in/*") for name, data in members(path).items()}
    for sample in mixed(folder, train=False, mode="L"):
        key = sample["__key__"]
        assert set(sample) == {"__key__", "image", "label", "augmented"}
        assert type(sample["image"]) is Image.Image or sample["image"].mode == "L"
        if sample["augmented"]:
            data, label = output_bytes(folder / "out", rows.loc[key]), rows.loc[key]["label"]
        else:
            data, label = real[f"{key}.png"], int(real[f"{key}.cls"])
        np.testing.assert_array_equal(np.asarray(sample["image"]), pixels(data))
        assert sample["label"] == label
        assert type(sample["label"]) is int


def test_pictures_are_of_the_mode_asked_for(folder: Path) -> None:
    assert {sample["image"].mode for sample in mixed(folder)} == {"RGB"}


def test_labels_that_are_words_are_the_same_on_both_sides(tmp_path: Path) -> None:
    samples = fashion(3)
    samples[0]["cls"] = b" boot\n"
    samples[1] = {"__key__": b"captioned", "png": png(1), "txt": b"a pullover"}
    del samples[2]["cls"], samples[2]["txt"]
    write_samples(tmp_path / "in/0.tar", samples)
    augmented([tmp_path / "in/0.tar"], tmp_path / "out")
    found = {sample["__key__"]: sample["label"] for sample in mixed(tmp_path, train=False)}
    assert [found[key] for key in ("00000", "captioned", "00002")] == ["boot", "a pullover", None]
    assert all(found[f"{key}-a0"] == found[key] for key in ("00000", "captioned", "00002"))


def test_soft_labels_fall_with_strength(folder: Path) -> None:
    rows = manifest(folder / "out").set_index("output_key")
    for sample in mixed(folder, train=False, soft_labels=10):
        strength = rows.loc[sample["__key__"], "strength"] if sample["augmented"] else 0.0
        target = np.full(10, strength / 10)
        target[sample["label"]] += 1 - strength
        assert sample["strength"] == strength
        assert sample["target"].dtype == torch.float32
        np.testing.assert_allclose(sample["target"].numpy(), target, atol=1e-6)
    with pytest.raises(diffaug.ConfigError, match="is of class 9, which is not one of 2 classes"):
        list(mixed(folder, train=False, soft_labels=2))


def test_it_is_a_pipeline_of_webdataset(folder: Path) -> None:
    dataset = mixed(folder, samples=20)
    labels = dataset.map(lambda sample: sample["label"])
    expected = [sample["label"] for sample in dataset]
    assert list(labels) == expected
    assert [len(batch) for batch in dataset.listed(8)] == [8, 8, 4]
    loader = wds.WebLoader(labels, batch_size=4, num_workers=1)
    assert torch.cat(list(loader)).tolist() == expected
    labels.set_epoch(1)
    assert list(labels) == [sample["label"] for sample in dataset] != expected


# --- evaluation


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_ranks_and_workers_cover_every_sample_once(
    folder: Path, monkeypatch: pytest.MonkeyPatch, world_size: int, workers: int
) -> None:
    """With three times two, samples are split, as there are too few shards."""
    dataset = mixed(folder, train=False)
    ranks = [keys(found) for found in of_ranks(world_size, monkeypatch, dataset, workers)]
    assert Counter(key for rank in ranks for key in rank) == expected(folder)
    assert all(ranks)


def test_one_shard_is_enough_for_many(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = mixed(folder, real=str(folder / "in/3.tar"), p=0.0, train=False)
    ranks = [keys(found) for found in of_ranks(3, monkeypatch, one, 2)]
    assert [len(rank) for rank in ranks] == [4, 4, 4]
    assert len({key for rank in ranks for key in rank}) == 12


def test_evaluation_is_in_one_order_and_p_leaves_sides_out(folder: Path) -> None:
    found = keys([list(mixed(folder, train=False))])
    assert found == keys([list(mixed(folder, train=False, seed=5))])
    assert {s["augmented"] for s in mixed(folder, train=False, p=0)} == {False}
    assert {s["augmented"] for s in mixed(folder, train=False, p=1)} == {True}
    assert {s["augmented"] for s in mixed(folder, train=False, real=None)} == {True}


# --- training


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_every_rank_has_as_many_batches(
    folder: Path, monkeypatch: pytest.MonkeyPatch, world_size: int, workers: int
) -> None:
    dataset = mixed(folder, samples=50)
    ranks = list(of_ranks(world_size, monkeypatch, dataset, workers))
    assert {len(rank) for rank in ranks} == {len(ranks[0])}
    assert {len(keys(rank)) for rank in ranks} == {50 // world_size}


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_training_loop_is_fed_and_two_epochs_are_the_same_again(
    folder: Path, workers: int
) -> None:
    """Workers that live on see the epoch too."""
    dataset = mixed(folder, samples=64, mode="L")
    images = dataset.map(_as_tensors)
    loader = DataLoader(images, 8, num_workers=workers, persistent_workers=workers > 0)

    def two_epochs() -> tuple[list[list[int]], list[float]]:
        torch.manual_seed(0)
        network = torch.nn.Linear(28 * 28, 10)
        optimiser = torch.optim.SGD(network.parameters(), 0.02)
        seen, losses = [], []
        for epoch in range(2):
            dataset.set_epoch(epoch)
            sums = []
            for x, labels in loader:
                loss = torch.nn.functional.cross_entropy(network(x.flatten(1)), labels)
                optimiser.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                losses.append(loss.item())
                sums += (x * 255).sum(dim=(1, 2)).int().tolist()
            seen.append(sums)
        return seen, losses

    (first, second), losses = two_epochs()
    assert len(first) == len(second) == 64
    assert first != second
    assert np.mean(losses[-4:]) < losses[0]
    again, losses_again = two_epochs()
    assert again == [first, second]
    assert losses_again == losses


def _as_tensors(sample: dict[str, Any]) -> tuple[torch.Tensor, int]:
    return torch.from_numpy(np.array(sample["image"])).float() / 255, sample["label"]


@pytest.mark.process
def test_spawned_workers_do_as_forked_ones(folder: Path) -> None:
    dataset = mixed(folder, samples=16)
    dataset.set_epoch(3)
    spawned = loaded(dataset, 1, multiprocessing_context="spawn")
    assert keys(spawned) == keys(loaded(dataset, 1, multiprocessing_context="fork"))
    assert isinstance(spawned[0][0]["image"], Image.Image)


def test_the_order_is_of_the_epoch_and_the_seed_and_of_nothing_else(folder: Path) -> None:
    dataset = mixed(folder)
    first = keys([list(dataset)])
    random.random()  # it is not Python's global generator that decides
    assert keys([list(dataset)]) == first
    assert keys([list(mixed(folder))]) == first
    assert keys([list(mixed(folder, seed=1))]) != first
    running = iter(dataset)
    begun = next(running)["__key__"]
    dataset.set_epoch(1)
    assert [begun, *keys([list(running)])] == first  # from the next one on
    assert keys([list(dataset)]) != first


def test_an_epoch_is_by_default_as_long_as_the_source(folder: Path) -> None:
    assert mixed(folder).samples == len(list(mixed(folder))) == REAL
    alone = mixed(folder, real=None)
    assert alone.samples == alone.chosen == 2 * REAL
    found = Counter(keys([list(alone)]))
    assert found == Counter(pd.read_parquet(folder / "out/manifest")["output_key"])


def test_shards_come_once_before_any_comes_again(folder: Path) -> None:
    found = keys([list(mixed(folder, p=0.0, samples=3 * REAL))])
    for number in range(3):
        assert len(set(found[number * REAL : (number + 1) * REAL])) == REAL


def test_p_is_the_share_of_augmented_samples(folder: Path) -> None:
    for p in (0.2, 0.5):
        found = sum(s["augmented"] for s in mixed(folder, p=p, samples=2000))
        assert abs(found - 2000 * p) < 4 * (2000 * p * (1 - p)) ** 0.5
    turns = [s["augmented"] for s in mixed(folder, ratio=(1, 2), samples=9)]
    assert turns == [False, True, True] * 3


def test_more_workers_than_samples_still_train(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = mixed(folder, real=str(folder / "in/2.tar"), samples=24)
    ranks = list(of_ranks(3, monkeypatch, one, 2))
    assert {len(keys(rank)) for rank in ranks} == {8}


def test_ranks_do_not_trust_an_unfinished_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out"
    write_output(output)
    rows = [{"tar": "shards", "output_member": "a-a0.png", "source_key": "a", "copy": 0}]
    write_shard(output, "s", {"shards": [("a-a0.png", png(0))]}, rows)
    assert len(list(diffaug.AugmentedDataset(output))) == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    for train in (True, False):
        with pytest.raises(diffaug.ConfigError, match="is not finished"):
            diffaug.AugmentedDataset(output, train=train)
    assert len(list(diffaug.AugmentedDataset(output, samples=6))) == 3
    (output / "shards.txt").touch()
    diffaug.AugmentedDataset(output)


# --- samples that cannot be used


def test_nothing_is_lost_silently(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [("ok.png", png(0)), ("half.png", png(1)[:200]), ("none.cls", b"1"), ("z.png", png(2))]
    write_files(tmp_path / "broken.tar", files)
    (tmp_path / "cut.tar").write_bytes(tar_blocks([("a.png", png(0)), ("b.png", png(1))])[:-512])
    dataset = mixed(folder, real=f"{tmp_path}/*.tar", train=False, p=0.0)
    assert keys([list(dataset)]) == ["ok", "z", "a"]
    assert dataset.skipped == 4
    said = [record.getMessage() for record in caplog.records]
    for key, words in {
        "broken.tar half": "cannot be decoded",
        "broken.tar none": "no image member",
        "cut.tar b": "cut short",
        "cut.tar (the shard)": "what followed is lost",
    }.items():
        assert sum(key in line and words in line for line in said) == 1, said
    loaded(dataset, 2)
    assert dataset.skipped == 8  # the workers' too


def test_what_is_no_sample_is_passed_over_and_named(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [("README.txt", b"..."), ("ok.png", png(0)), ("Thumbs.db", b"...")]
    path = write_files(tmp_path / "s.tar", files)
    dataset = mixed(folder, real=path, train=False, p=0.0)
    for _ in range(2):
        assert keys([list(dataset)]) == ["ok"]
    assert dataset.skipped == 0
    assert [line for line in caplog.messages if "README" in line] == [
        f"{path}: 2 passed over, without an image, class, mask or carried member: README and Thumbs"
    ]
    loaded(dataset, 2)
    assert dataset.skipped == 0


def test_members_may_be_spelt_in_any_way(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = [("a.pgm", b"..."), ("a.seg.png", png(0)), ("a.class", b"7")]
    path = write_files(tmp_path / "s.tar", files)
    options = {"real": path, "train": False, "p": 0.0}
    for image_key in (" .Seg.PNG", "jpg, .seg.png", [".seg.png"]):
        (sample,) = mixed(folder, **options, image_key=image_key, label_key=".Class")
        assert sample["label"] == 7
    assert "has the member" not in caplog.text
    list(mixed(folder, **options, image_key="seg.png", label_key="klass"))
    assert "has the member klass: its images have no class (label_key)" in caplog.text
    with pytest.raises(diffaug.ConfigError, match="AugmentedDataset: image_key"):
        mixed(folder, **options, image_key=" . ")


def test_shards_without_a_usable_sample_are_an_error_and_no_hang(
    folder: Path, tmp_path: Path
) -> None:
    write_files(tmp_path / "broken.tar", [("a.png", b"no image")])
    with pytest.raises(diffaug.ConfigError, match="no sample of the real shards can be used"):
        list(mixed(folder, real=str(tmp_path / "broken.tar")))


# --- layouts


def test_of_a_paired_output_the_sources_are_the_real_samples(tmp_path: Path) -> None:
    files, rows = [], list[dict[str, Any]]()
    for key, number in (("a", 0), ("b", 1)):
        files += [(f"{key}.png", png(number)), (f"{key}.cls", b"%d" % number)]
        for copy in range(2):
            member = f"{key}.aug{copy}.png"
            files.append((member, png(10 + 2 * number + copy)))
            rows.append({"tar": "shards", "output_member": member, "source_key": key})
            rows[-1] |= {"copy": copy, "label": number, "output_key": key}
    output = write_output(tmp_path / "out", layout="paired")
    write_shard(output, "s-1", {"shards": files}, rows)
    found = {s["__key__"]: s for s in diffaug.AugmentedDataset(output, train=False, mode="L")}
    assert list(found) == ["a", "a-a0", "b", "a-a1", "b-a0", "b-a1"]
    for key, source, member in (("a", 0, "a.png"), ("b-a1", 1, "b.aug1.png")):
        with tarfile.open(output / "shards/s-1-0123abcd.tar") as tar:
            handle = tar.extractfile(member)
            assert handle is not None
            data = handle.read()
        np.testing.assert_array_equal(np.asarray(found[key]["image"]), pixels(data))
        assert found[key]["label"] == source
        assert found[key]["augmented"] == (member.count(".") == 2)
    turns = [s["augmented"] for s in diffaug.AugmentedDataset(output, ratio=(1, 1), samples=4)]
    assert turns == [False, True, False, True]


def test_sixteen_bits_and_rotation_are_read_as_a_job_reads_them(
    folder: Path, tmp_path: Path
) -> None:
    grey = Image.fromarray((np.arange(28 * 20, dtype=np.uint16).reshape(20, 28)) * 100)
    turned, exif = Image.open(io.BytesIO(png(0))), Image.Exif()
    exif[0x0112] = 6
    deep, rotated = io.BytesIO(), io.BytesIO()
    grey.save(deep, "PNG")
    turned.resize((28, 20)).save(rotated, "JPEG", exif=exif)
    write_files(tmp_path / "x.tar", [("a.png", deep.getvalue()), ("b.jpg", rotated.getvalue())])
    dataset = mixed(folder, real=str(tmp_path / "x.tar"), train=False, p=0.0, mode="L")
    first, second = (sample["image"] for sample in dataset)
    np.testing.assert_allclose(np.asarray(first), np.asarray(grey) / 257, atol=0.51)
    assert second.size == (20, 28)


# --- mistakes


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"p": 1.5}, r"p must be in \[0, 1\]"),
        ({"p": 0.5, "ratio": (1, 1)}, "give one of the two"),
        ({"ratio": (0, 0)}, "ratio must be"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"samples": 5, "train": False}, "leave samples out"),
        ({"shuffle": -1}, "shuffle must be"),
        ({"soft_labels": True}, "soft_labels must be the number of classes"),
        ({"mode": "CMYK"}, "mode must be RGB or L"),
        ({"real": None, "p": 0.5}, "give real="),
        ({"real": "nowhere-*.tar"}, "no shard matches"),
        ({"real": ""}, "SOURCE is empty or blank"),
        ({"real": []}, "no SOURCE is given"),
        ({"real": 5}, "real must be a path or URL, got 5"),
        ({"real": [None]}, "real must be a path or URL, got None"),
        ({"where": 5}, "where: 5 is not a condition"),
        ({"soft_labels": "10"}, "soft_labels must be the number of classes, got '10'"),
        ({"where": "score_ssim > 2"}, "no image of .* is chosen where score_ssim > 2"),
    ],
)
def test_mistakes_are_told_in_a_sentence(
    folder: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(diffaug.ConfigError, match=sentence):
        mixed(folder, **options)


def test_the_images_of_the_output_are_not_its_real_samples(folder: Path) -> None:
    everything = mixed(folder, real=f"{folder}/**/*.tar", train=False)
    assert Counter(sample["__key__"] for sample in everything) == expected(folder)
    with pytest.raises(diffaug.ConfigError, match="the OUTPUT of this very job"):
        mixed(folder, real=[f"{folder}/in/0.tar", f"{folder}/out/shards/*.tar"])


def test_what_is_no_output_is_told(tmp_path: Path) -> None:
    for given in (None, 5, ["out"]):
        with pytest.raises(diffaug.ConfigError, match="OUTPUT must be a path or URL, got"):
            diffaug.AugmentedDataset(given)  # type: ignore[arg-type]
    with pytest.raises(diffaug.ConfigError, match=r"it has no run\.json"):
        diffaug.AugmentedDataset(tmp_path)
    with pytest.raises(diffaug.ConfigError, match="no shard is committed"):
        diffaug.AugmentedDataset(write_output(tmp_path / "out"))
    (tmp_path / "out/run.json").write_text("[]")
    with pytest.raises(
        diffaug.ConfigError, match=r"run\.json is not a run\.json this diffaug reads"
    ):
        diffaug.AugmentedDataset(tmp_path / "out")
