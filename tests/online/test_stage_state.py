"""The states of the stages of a loader: what follows a resumed one is what would have followed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from torch.utils.data import IterableDataset
from torchdata.stateful_dataloader import StatefulDataLoader  # type: ignore[import-untyped]

from diffaug import Augment, Augmenter
from diffaug.online.samples import given
from tests.support import loading
from tests.support.jobs import BATCH, GREY

pytestmark = pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # by torch's loader

TWICE = {"model": GREY, "sampler": "one-step", "strength": 0.4, "copies": 2}


def samples() -> list[dict[str, Any]]:
    """Seven, and something between them that is none."""
    found = loading.samples(7)
    return [*found[:2], {"__key__": "README", "txt": "no picture"}, *found[2:]]


def results(stream: Any) -> list[tuple[str, bytes]]:
    return [(sample["__key__"], sample["png"].tobytes()) for sample in stream]


@pytest.mark.parametrize("keep", [False, True])
def test_a_stream_goes_on(keep: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a sample's copies too; what had come out is not augmented again."""
    first = Augmenter(TWICE, keep=keep, batch_size=BATCH)
    first.set_epoch(2)
    whole = results(first(samples()))
    each = 2 + keep
    assert len(whole) == 7 * each
    for cut in (0, 1, 2, 3, 4, 7, 7 * each - 1, 7 * each):
        assert results(islice(first(samples()), cut)) == whole[:cut]
        state = json.loads(json.dumps(first.state_dict()))
        taken = list[str]()

        def counting(one: Any, recipe: Any, taken: list[str] = taken) -> Any:
            taken.append(one["__key__"])
            return given(one, recipe)

        monkeypatch.setattr("diffaug.online.stage.given", counting)
        second = Augmenter(TWICE, keep=keep, batch_size=BATCH)
        second.load_state_dict(state)
        assert second.state_dict() == state
        assert results(second(samples())) == whole[cut:]
        assert len(taken) == 7 - cut // each
        assert results(second(samples())) == whole


class Stream(IterableDataset[dict[str, Any]]):
    """As docs/loader.md shows it."""

    def __init__(self) -> None:
        self.stage = Augmenter(TWICE, batch_size=BATCH)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return self.stage(samples())

    def state_dict(self) -> dict[str, Any]:
        return self.stage.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stage.load_state_dict(state)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_stateful_loader_resumes_a_stream(workers: int) -> None:
    def loader() -> StatefulDataLoader[Any]:
        return StatefulDataLoader(Stream(), 3, num_workers=workers, collate_fn=results)

    whole, begun = list(loader()), loader()
    assert list(islice(begun, 2)) == whole[:2]
    again = loader()
    again.load_state_dict(begun.state_dict())
    assert list(again) == whole[2:]


def test_one_at_a_time_has_its_epoch() -> None:
    first, second = (Augment(TWICE | {"copies": 1}) for _ in range(2))
    first.set_epoch(5)
    second.load_state_dict(first.state_dict())
    sample = samples()[0]
    assert second(sample)["png"].tobytes() == first(sample)["png"].tobytes()
