"""What a job runs on, against the machine's own word for it."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import pytest
import torch

from diffaug.errors import ConfigError
from diffaug.execution import DEFAULT_BATCH_SIZE, Execution, device_class, versions


def cpu_flags() -> set[str]:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return {flag for line in lines if line.startswith("flags") for flag in line.split()[2:]}


def test_the_default_device_is_the_one_there() -> None:
    found = Execution.choose()
    assert found.device == ("cuda" if torch.cuda.is_available() else "cpu")
    assert found.batch_size == DEFAULT_BATCH_SIZE


def test_bfloat16_is_chosen_by_the_processors_flags() -> None:
    fast = "avx512_bf16" in cpu_flags()
    assert Execution.choose(device="cpu").dtype == ("bfloat16" if fast else "float32")
    assert (device_class("cpu") == "cpu/avx512_bf16") == fast
    assert device_class("cpu").startswith("cpu/")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_given_is_kept(dtype: str) -> None:
    found = Execution.choose(batch_size=7, dtype=dtype, device="cpu")
    assert found.model_dump() == {"batch_size": 7, "dtype": dtype, "device": "cpu"}
    assert Execution.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    "given",
    [
        {"batch_size": -1},
        {"batch_size": 0},
        {"batch_size": 10**6},
        {"dtype": "float16"},
        {"dtype": "bf16"},
        {"device": "gpu"},
        {"device": "cpu:0"},
        {"device": "tpu"},
    ],
)
def test_a_wrong_value_is_named(given: dict[str, object]) -> None:
    ((field, value),) = given.items()
    with pytest.raises(ConfigError, match=f"{field}={value}"):
        Execution.choose(**{"device": "cpu", **given})  # type: ignore[arg-type]


@pytest.mark.parametrize("device", ["cuda", "cuda:0"])
def test_cuda_is_taken_only_where_it_is(device: str) -> None:
    if torch.cuda.is_available():
        assert Execution.choose(device=device).device == device
        assert device_class(device).startswith("cuda/")
    else:
        with pytest.raises(
            ConfigError, match=f"device {device}: .* 0 CUDA devices; use device=cpu"
        ):
            Execution.choose(device=device)


def test_versions_are_those_installed() -> None:
    found = versions()
    assert found["torch"] == version("torch")
    assert found["diffusers"] == version("diffusers")
    assert found["pillow"] == version("pillow")
    assert found["diffaug"] == version("diffaug")
