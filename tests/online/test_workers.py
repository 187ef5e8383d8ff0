"""`Augment` and `Augmenter` in the workers of data loaders, which change nothing."""

from __future__ import annotations

import os
import pickle
import signal
import warnings
from typing import Any

import numpy as np
import pytest
import torch
import webdataset as wds
from torch.utils.data import DataLoader

from diffaug import Augment, Augmenter
from tests.conftest import BRACES, SHARDS
from tests.support.jobs import threads
from tests.support.loading import QUICK, by_key, picture_loader, samples


def _epochs(workers: int, **options: Any) -> list[dict[str, bytes]]:
    """Two epochs, and the first again, half of their images augmented."""
    augment = Augment(QUICK, 0.5)
    loader = picture_loader(augment, workers, **options)
    found = []
    for epoch in (0, 1, 0):
        augment.set_epoch(epoch)
        found.append(by_key(loader))
    return found


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("persistent", [False, True])
def test_forked_workers_change_nothing(workers: int, persistent: bool) -> None:
    """Forked, at that, from a process in which the model has run, on all of its threads."""
    with threads(2):
        torch.randn(1000, 1000).exp().sum()
        wanted = _epochs(0)
        assert wanted[0] == wanted[2] != wanted[1]
        options = {"multiprocessing_context": "fork", "persistent_workers": persistent}
        assert _epochs(workers, **options) == wanted


@pytest.mark.process
def test_a_spawned_worker_changes_nothing() -> None:
    options = {"multiprocessing_context": "spawn", "persistent_workers": True}
    assert _epochs(1, **options) == _epochs(0)


def test_a_worker_has_one_thread() -> None:
    with threads(2):
        loader = picture_loader(Augment(QUICK), 2, multiprocessing_context="fork")
        found = [(count, process) for _, _, count, process in loader]
    assert {count for count, _ in found} == {1}
    assert len({process for _, process in found}) == 2


def test_what_a_worker_is_sent_holds_no_model() -> None:
    for augment in (Augment(QUICK), Augmenter(QUICK)):
        given: Any = samples(1)[0] if isinstance(augment, Augment) else samples(1)
        result = augment(given)
        assert result if isinstance(augment, Augment) else list(result)
        assert len(pickle.dumps(augment)) < 5000


def test_a_process_forked_by_hand_does_not_hang() -> None:
    """OpenMP in a forked process waits for threads that stayed behind, if it may use several."""
    stage, given = Augmenter(QUICK, batch_size=40), samples(40)  # enough for several threads
    with threads(2):
        torch.randn(1000, 1000).exp().sum()
        wanted = [one["png"].tobytes() for one in stage(given)]
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            found = [one["png"].tobytes() for one in stage(given)]
            os._exit(0 if found == wanted else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert torch.get_num_threads() == 2


def test_a_mistake_in_a_worker_is_told() -> None:
    loader: Any = DataLoader(
        [{"__key__": "k", "npy": 0}],  # type: ignore[arg-type]
        batch_size=None,
        num_workers=1,
        collate_fn=Augment(QUICK),
        multiprocessing_context="fork",
    )
    with pytest.raises(RuntimeError, match="sample 'k': the sample has no image member"):
        list(loader)


def _stream(stage: Augmenter, workers: int, **options: Any) -> list[dict[str, bytes]]:
    """Two epochs, and the first again, of the first eight samples of each worker's shards."""
    shards = [str(shard) for shard in SHARDS[:2]]
    dataset = wds.WebDataset(shards, shardshuffle=False).decode("pil").slice(8).compose(stage)
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=workers, **options)
    found = []
    for epoch in (0, 1, 0):
        stage.set_epoch(epoch)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves its files open
            found.append({one["__key__"]: one["png"].tobytes() for one in loader})
    return found


def _streams_are_the_same(workers: int, method: str, persistent: bool) -> None:
    options = {"multiprocessing_context": method, "persistent_workers": persistent}
    stage = Augmenter(QUICK, keep=True, batch_size=4)
    found = _stream(stage, workers, **options)
    alone = _stream(stage, 0)
    assert found[0] == found[2]
    for epoch in range(2):
        augmented_keys = {key for key in found[epoch] if "-a" in key}
        assert len(augmented_keys) == 8 * workers
        assert all(key.endswith(f"-a{epoch}") for key in augmented_keys)
        assert set(found[epoch]) == augmented_keys | {key[:5] for key in augmented_keys}
        assert found[epoch].items() >= alone[epoch].items()
    every = found[0] | found[1]
    assert len(every) == len(set(every.values())) == 24 * workers  # originals and two epochs


@pytest.mark.parametrize(("workers", "persistent"), [(1, True), (2, False), (2, True)])
def test_streams_in_forked_workers_are_the_same(workers: int, persistent: bool) -> None:
    _streams_are_the_same(workers, "fork", persistent)


@pytest.mark.process
def test_streams_in_spawned_workers_are_the_same() -> None:
    _streams_are_the_same(1, "spawn", persistent=True)


def test_a_classifier_learns_from_a_loader() -> None:
    stage = Augmenter(QUICK, keep=True)
    dataset = wds.WebDataset(BRACES, shardshuffle=False).decode("torchrgb").compose(stage)
    dataset = dataset.to_tuple("png", "cls").shuffle(500, seed=0).batched(24)
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=1, multiprocessing_context="fork")
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, stride=3),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.LazyLinear(10),
    )
    network(torch.zeros(1, 3, 28, 28))
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for epoch in range(2):
        stage.set_epoch(epoch)
        for images, labels in loader:
            loss = torch.nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            losses.append(loss.item())
    assert len(losses) == 2 * 10
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.75 * np.mean(losses[:3])
