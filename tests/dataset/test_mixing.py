"""How real and augmented samples are mixed: values that check themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from diffaug.dataset.mixing import Mixing
from diffaug.errors import ConfigError

DEFAULT = Mixing(p=None, ratio=None, samples=None, shuffle=1000, seed=0, train=True)


@pytest.mark.parametrize(
    ("fields", "given", "share"),
    [
        ({}, False, 0.5),
        ({"p": 0.0}, True, 0.0),
        ({"p": 1.0}, True, 1.0),
        ({"ratio": (1, 3)}, True, 0.75),
        ({"ratio": (0, 2)}, True, 1.0),
    ],
)
def test_a_share_of_augmented_samples(fields: dict[str, Any], given: bool, share: float) -> None:
    mixing = replace(DEFAULT, **fields)
    assert (mixing.is_given, mixing.share) == (given, share)


@pytest.mark.parametrize(
    "fields",
    [
        {"p": float("nan")},
        {"p": -0.1},
        {"ratio": (1, 2, 3)},
        {"ratio": (1, -2)},
        {"ratio": (0.5, 0.5)},
        {"p": 0.5, "ratio": (1, 1)},
        {"samples": -3},
        {"samples": 3, "train": False},
        {"shuffle": -1},
        {"p": "0.5"},
        {"ratio": 2},
        {"ratio": "1:2"},
        {"samples": "3"},
        {"samples": 2.5},
        {"shuffle": None},
        {"seed": "0"},
    ],
)
def test_values_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        replace(DEFAULT, **fields)
