"""The checks of a device, on the one that DIFFAUG_TEST_DEVICE names: a processor by default."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.gpu.checks import CHECKS, MODELS, Found, Subject
from tests.gpu.device import entry_of

DEVICE = os.environ.get("DIFFAUG_TEST_DEVICE", "cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("device")


def subject(folder: Path, model: str = "pixels", dtype: str = "float32") -> Subject:
    own = folder / f"{model}-{dtype}"
    return Subject(model=model, device=DEVICE, dtype=dtype, folder=own, count=12)


def show(check: str, found: Found) -> None:
    assert found.ok, f"{check} on {DEVICE}: {found}"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("check", ["slots", "alone", "again", "replay", "like_a_processor"])
def test_pixels(check: str, dtype: str, folder: Path) -> None:
    show(check, CHECKS[check](subject(folder, dtype=dtype)))


@pytest.mark.parametrize("check", ["in_memory", "trains"])
def test_other_ways_in(check: str, folder: Path) -> None:
    show(check, CHECKS[check](subject(folder)))


@pytest.mark.numerics
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("model", MODELS[1:])
@pytest.mark.parametrize("check", ["slots", "alone", "replay", "like_a_processor"])
def test_latents(check: str, model: str, dtype: str, folder: Path) -> None:
    show(check, CHECKS[check](subject(folder, model, dtype)))


@pytest.mark.process
def test_three_processes(folder: Path) -> None:
    show("workers", CHECKS["workers"](subject(folder)))


def test_a_check_that_raises_is_an_entry(folder: Path) -> None:
    entry = entry_of("slots", subject(folder, "no such model"))
    assert not entry["ok"]
    assert "no such model" in entry["error"]


def test_what_differs_is_not_ok() -> None:
    assert not Found(rows=3, equal=2).ok
    assert not Found(rows=0, equal=0).ok
