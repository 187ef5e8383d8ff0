"""Which runner a job gets, and what cannot be asked of one."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import diffaug
from tests.support.services import wait_until

pytestmark = pytest.mark.services  # some ask a network that has no such machine


def test_choice() -> None:
    from flows import runners
    from flows.runners import Local, Processes, Ray, choose

    assert choose("local", None, None, "cuda") == Local()
    assert choose("processes", 3, None, "cpu") == Processes(3)
    assert choose("processes", None, None, "cpu") == Processes(runners._cores())
    assert choose("ray", 2, None, "cuda") == Ray(None, 2, gpus=1)
    assert choose("processes", None, None, "cpu", ("cpu",)) == Processes(runners._cores())
    assert choose("processes", None, None, "cpu", ("cpu", "cpu")) == Processes(2)
    assert choose("ray", None, "auto", "cpu") == Ray("auto", runners._cores(), gpus=0)


def test_each_card_has_a_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards are counted among those that this process sees."""
    from flows.runners import Processes, choose

    three = ("cuda:2", "cuda", "cuda:1")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert choose("processes", None, None, "cuda", three) == Processes(3, ("2", "0", "1"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5, GPU-a1b2,7")
    assert choose("processes", None, None, "cuda", three) == Processes(3, ("7", "5", "GPU-a1b2"))


def seen(folder: Path) -> tuple[int, str]:
    """Which process this is, and which card it sees, once both are there."""
    (folder / str(os.getpid())).touch()
    wait_until(lambda: len(list(folder.iterdir())) == 2, 60, "the other worker")
    return os.getpid(), os.environ["CUDA_VISIBLE_DEVICES"]


def test_workers_take_a_card_each(tmp_path: Path) -> None:
    """In processes that are started as the pool's are; none of these cards is there."""
    from flows.runners import _begin

    context = multiprocessing.get_context("spawn")
    cards = context.SimpleQueue()
    for card in ("3", "GPU-a1b2"):
        cards.put(card)
    with ProcessPoolExecutor(
        2, mp_context=context, initializer=_begin, initargs=(1, cards)
    ) as pool:
        found = dict(pool.map(seen, [tmp_path] * 2))
    assert sorted(found.values()) == ["3", "GPU-a1b2"]


def test_devices_that_are_named() -> None:
    from flows.devices import devices_of, kind_of

    assert devices_of(None) == ()
    assert devices_of("cuda:0, cuda:1") == ("cuda:0", "cuda:1")
    assert kind_of(()) is None
    assert kind_of(("cpu",)) == kind_of(("cpu", "cpu")) == "cpu"
    with pytest.raises(diffaug.ConfigError, match="of one kind: cpu or cuda"):
        devices_of("cpu,cuda")
    with pytest.raises(diffaug.ConfigError, match="device cpu, cuda or cuda:N"):
        kind_of(("tpu", "tpu"))


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is there")
@pytest.mark.parametrize(
    ("device", "sentence"),
    [("all", "this machine has no CUDA device"), ("cuda:0,cuda:1", "has 0 CUDA devices")],
)
def test_cards_that_are_not_there(device: str, sentence: str) -> None:
    from flows.devices import devices_of, kind_of

    with pytest.raises(diffaug.ConfigError, match=sentence):
        kind_of(devices_of(device))


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("local", 2, None, "cpu"), "workers: runner=local has no workers"),
        (("processes", 2, "auto", "cpu"), "use runner=ray"),
        (("processes", 2, None, "cuda"), "runner=local for one GPU, device=all for every one of"),
        (("processes", 2, None, "cpu", ("cpu", "cpu")), "each of 2 devices has one; leave it out"),
        (("local", None, None, "cpu", ("cpu", "cpu")), "use runner=processes"),
        (("ray", None, None, "cuda", ("cuda:0", "cuda:1")), "use runner=processes"),
        (("ray", 2, "auto", "cpu"), "leave it out"),
        (("ray", None, None, "cuda:1"), "use device=cuda"),
        (("ray", None, "127.0.0.1:9", "cpu"), "no Ray cluster answers at 127.0.0.1:9"),
        (("ray", None, "ray://nowhere.invalid", "cpu"), "no Ray cluster answers at ray://nowhere"),
    ],
)
def test_choice_that_cannot_be(arguments: tuple[Any, ...], sentence: str) -> None:
    from flows.runners import choose

    with pytest.raises(diffaug.ConfigError, match=sentence):
        choose(*arguments)
