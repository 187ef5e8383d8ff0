"""Which runner a job gets, and what cannot be asked of one."""

from __future__ import annotations

from typing import Any

import pytest

import diffaug

pytestmark = pytest.mark.services  # some ask a network that has no such machine


def test_choice() -> None:
    from flows import runners
    from flows.runners import Local, Processes, Ray, choose

    assert choose("local", None, None, "cuda") == Local()
    assert choose("processes", 3, None, "cpu") == Processes(3)
    assert choose("processes", None, None, "cpu") == Processes(runners._cores())
    assert choose("ray", 2, None, "cuda") == Ray(None, 2, gpus=1)
    assert choose("ray", None, "auto", "cpu") == Ray("auto", runners._cores(), gpus=0)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("local", 2, None, "cpu"), "workers: runner=local has no workers"),
        (("processes", 2, "auto", "cpu"), "use runner=ray"),
        (("processes", 2, None, "cuda"), "runner=local for one GPU, runner=ray for several"),
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
