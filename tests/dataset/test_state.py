"""Resuming in the middle of an epoch, by torchdata's conventions and with its loader."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from torchdata.stateful_dataloader import StatefulDataLoader  # type: ignore[import-untyped]

import diffaug
from tests.dataset.conftest import unequal_job
from tests.support.forks import Forks
from tests.support.hostile import fashion, write_samples

pytestmark = pytest.mark.filterwarnings(
    "ignore:'set_vital' is deprecated",  # by torch's loader
    "ignore:This DataLoader will create 3 worker processes",
)

CUTS = [*range(0, 91, 9), *(pytest.param(cut, marks=pytest.mark.proof) for cut in range(1, 90, 2))]
WAYS: dict[str, dict[str, Any]] = {
    "drawn": {"p": 0.4, "shuffle": 7},
    "by turns": {"ratio": (1, 2), "shuffle": 7},
    "one side": {"p": 1, "shuffle": 1},
    "evaluation": {"train": False, "samples": None},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A job of two copies over unequal shards, in `out`; two real samples cannot be used."""
    folder = unequal_job(tmp_path_factory.mktemp("state"))
    broken = fashion(4, 100)
    broken[1]["png"] = broken[3]["png"] = b"no picture"
    write_samples(folder / "in/9.tar", broken)
    return folder


def mixed(folder: Path | str, **options: Any) -> diffaug.AugmentedDataset:
    """An epoch has two passes over the real shards and more."""
    given: dict[str, Any] = {"real": f"{folder}/in/*.tar", "samples": 90} | options
    return diffaug.AugmentedDataset(f"{folder}/out", **given)


def keys(samples: Any) -> list[str]:
    return [sample["__key__"] for sample in samples]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cut", CUTS)
def test_what_follows_is_what_would_have_followed(folder: Path, way: str, cut: int) -> None:
    """By a state that went through JSON, into a dataset that knows nothing of the first."""
    first = mixed(folder, **WAYS[way])
    first.set_epoch(3)
    whole = keys(first)
    begun = iter(first)
    assert keys(islice(begun, cut)) == whole[:cut]
    state = json.loads(json.dumps(first.state_dict()))
    second = mixed(folder, **WAYS[way])
    second.load_state_dict(state)
    assert second.state_dict() == state  # also before it has begun
    assert keys(second) == whole[cut:]
    assert keys(second) == whole  # the next pass is a whole one


def loader(dataset: Any, workers: int, **options: Any) -> StatefulDataLoader[Any]:
    options = {"batch_size": 4, "num_workers": workers, "collate_fn": keys} | options
    return StatefulDataLoader(dataset, **options)


def test_a_pass_is_a_pass_whoever_asks(folder: Path) -> None:
    """Repeated within a pipeline, and by two iterators side by side."""
    dataset = mixed(folder, shuffle=9)
    whole = keys(dataset)
    assert keys(dataset.repeat(2)) == whole * 2
    other = mixed(folder, shuffle=9)
    pairs = list(zip(iter(other), iter(other.map(dict)), strict=True))
    assert keys(one for one, _ in pairs) == keys(two for _, two in pairs) == whole


def test_a_state_is_of_its_epoch(folder: Path) -> None:
    dataset = mixed(folder, shuffle=9)
    dataset.set_epoch(1)
    first = keys(dataset)
    dataset.set_epoch(0)
    assert keys(islice(iter(dataset), 30)) != first[:30]
    state = dataset.state_dict()
    dataset.set_epoch(1)
    assert dataset.state_dict()["yielded"] == 0  # of the next epoch, which has not begun
    other = mixed(folder, shuffle=9)
    other.set_epoch(1)
    other.load_state_dict(state)
    assert keys(other) == first
    assert keys(other) == first


@pytest.mark.parametrize(
    ("workers", "options"), [(0, {}), (2, {}), (2, {"persistent_workers": True})]
)
def test_epochs_follow_a_resumed_one(folder: Path, workers: int, options: dict[str, Any]) -> None:
    """One resumed in its middle, and one of which all had been seen."""
    straight = mixed(folder, shuffle=9)
    epochs = []
    for epoch in range(3):
        straight.set_epoch(epoch)
        epochs.append(list(loader(straight, workers)))
    for cut in (4, None):
        first = mixed(folder, shuffle=9)
        first.set_epoch(1)
        begun = loader(first, workers, **options)
        assert list(islice(begun, cut)) == epochs[1][:cut]
        state = begun.state_dict()
        second = mixed(folder, shuffle=9)
        again = loader(second, workers, **options)
        again.load_state_dict(state)
        if cut:
            assert list(again) == epochs[1][cut:]
        second.set_epoch(2)
        assert list(again) == epochs[2]


@pytest.mark.parametrize(
    ("rank", "workers"),
    [
        *[(None, 0), (None, 3), (0, 1), (1, 0), (1, 3)],
        *(
            pytest.param(*one, marks=pytest.mark.proof)
            for one in [(None, 1), (0, 0), (0, 3), (1, 1)]
        ),
    ],
)
def test_a_stateful_loader_resumes_it(
    folder: Path, rank: int | None, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if rank is not None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", str(rank))
    whole = list(loader(mixed(folder, shuffle=9), workers))
    for cut in random.Random(workers).sample(range(1, len(whole)), 2):
        begun = loader(mixed(folder, shuffle=9), workers)
        assert list(islice(begun, cut)) == whole[:cut]
        state = begun.state_dict()
        again = loader(mixed(folder, shuffle=9), workers)
        again.load_state_dict(state)
        assert list(again) == whole[cut:]


@pytest.mark.process
def test_a_training_killed_now_and_then_sees_each_batch(
    folder: Path, tmp_path: Path, forked: Forks
) -> None:
    """Its loop saves batch and state at one stroke, as a checkpoint does."""
    whole = list(loader(mixed(folder, shuffle=9), 2))
    assert killed_at([5, 14], folder, tmp_path, forked, workers=2, batch_size=4) == whole


@pytest.mark.process
@pytest.mark.proof
@pytest.mark.timeout(1800)  # some processes for each of 23 kills, nine times
@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("rank", [None, 0, 1])
def test_a_training_killed_at_23_samples_sees_each(
    folder: Path,
    tmp_path: Path,
    forked: Forks,
    workers: int,
    rank: int | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if rank is not None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("RANK", str(rank))
    whole = list(loader(mixed(folder, shuffle=9), workers, batch_size=1))
    draws = random.Random(f"{workers} {rank}")
    cuts = sorted(draws.sample(range(1, len(whole)), 23))
    assert killed_at(cuts, folder, tmp_path, forked, workers=workers, batch_size=1) == whole


def killed_at(
    cuts: list[int], folder: Path, scratch: Path, forked: Forks, *, workers: int, batch_size: int
) -> list[list[str]]:
    """What a training saw of an epoch that was killed after so many batches, and gone on with."""
    saved = scratch / "saved.json"
    for until, status in [*((cut, -signal.SIGKILL) for cut in cuts), (0, 0)]:
        given = map(str, (until, workers, batch_size))
        ended = forked(folder, saved, *given, entry=f"{__name__}:main")
        assert ended.returncode == status, ended.stderr
        seen: list[list[str]] = json.loads(saved.read_text())["seen"]
        assert len(seen) == until or not until
    return seen


def main() -> None:
    """A training that is killed once it has seen so many batches; 0 lets it end."""
    folder, saved = sys.argv[1], Path(sys.argv[2])
    until, workers, batch_size = map(int, sys.argv[3:])
    ours = loader(mixed(folder, shuffle=9), workers, batch_size=batch_size)
    seen: list[list[str]] = []
    if saved.exists():
        found = json.loads(saved.read_text())
        seen = found["seen"]
        ours.load_state_dict(found["loader"])
    for batch in ours:
        seen.append(batch)
        new = saved.with_suffix(".new")
        new.write_text(json.dumps({"seen": seen, "loader": ours.state_dict()}))
        new.rename(saved)
        if len(seen) == until:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"seed": 1}, "seed"),
        ({"shuffle": 3}, "shuffle"),
        ({"samples": 80}, "samples"),
        ({"where": "strength < 0.4"}, "shards"),
        ({"real": None}, "shards"),
    ],
)
def test_a_state_of_another_dataset_is_refused(
    folder: Path, options: dict[str, Any], name: str
) -> None:
    state = mixed(folder).state_dict()
    other = mixed(folder, **options)
    other.load_state_dict(state)
    for _ in range(2):  # it does not begin anew without a word
        with pytest.raises(diffaug.ConfigError, match=f"load_state_dict: {name} is"):
            next(iter(other))
    with pytest.raises(diffaug.ConfigError, match="not a state of an AugmentedDataset"):
        other.load_state_dict({})


def test_a_stage_that_reads_ahead_is_refused(folder: Path) -> None:
    stage = diffaug.Augmenter({"model": "fashion-mnist-32"}, batch_size=2)
    dataset = mixed(folder).map(dict).select(bool)
    assert dataset.state_dict()["yielded"] == 0
    for ahead, name in (
        (dataset.compose(stage), "Augmenter"),
        (dataset.batched(4), "batched"),
        (dataset.shuffle(9), "shuffle"),
    ):
        with pytest.raises(diffaug.ConfigError, match=f"state_dict: {name} takes samples before"):
            ahead.state_dict()
        with pytest.raises(diffaug.ConfigError, match="do this outside of the dataset"):
            ahead.load_state_dict({})


def test_what_was_passed_over_is_not_decoded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset, decoded = mixed(folder, shuffle=9), list[int]()
    list(islice(iter(dataset), 70))
    state = dataset.state_dict()
    shown = type(dataset._mixture.decoder)._shown

    def counting(self: Any, raw: Any) -> Any:
        decoded.append(len(raw.image))
        return shown(self, raw)

    monkeypatch.setattr(type(dataset._mixture.decoder), "_shown", counting)
    again = mixed(folder, shuffle=9)
    again.load_state_dict(state)
    assert len(list(again)) == 20
    assert 20 <= len(decoded) <= 22  # two cannot be used
