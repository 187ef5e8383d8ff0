"""The page of a run's results: nothing that went wrong is left out of it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gpu.report import NOT_A_GPU, page


def step(name: str, result: Any = None, status: str = "passed", *lines: str) -> dict[str, Any]:
    told = {"name": name, "status": status, "seconds": 1.0, "result": result}
    return told | {"last_lines": list(lines)}


def results(*steps: dict[str, Any], device: str = "cuda") -> dict[str, Any]:
    told = {"device": device, "started": "2026-12-02T07:00:00+00:00", "small": False}
    return told | {"commit": "0123456789abcdef", "steps": list(steps)}


MACHINE = step(
    "machine",
    {
        "processor": "A processor",
        "versions": {"diffaug": "0.2.0", "torch": "2.13.0"},
        "card": {"name": "A Card", "cuda": "13.0", "cudnn": 91000, "driver": None},
    },
)


def test_a_card_and_its_versions() -> None:
    text = page(results(MACHINE))
    assert text.startswith("## A run on A Card\n")
    for fact in ("torch 2.13.0", "CUDA 13.0", "cuDNN 91000", "commit 0123456789ab."):
        assert fact in text
    assert "driver" not in text
    assert NOT_A_GPU not in text


def test_a_processor_is_no_gpu() -> None:
    assert NOT_A_GPU in page(results(MACHINE, device="cpu"))


@pytest.mark.parametrize("status", ["failed", "skipped", "stopped after 90 s"])
def test_a_step_that_did_not_pass(status: str) -> None:
    text = page(results(step("latent", None, status, "```", "out of memory")))
    assert f"| `latent` | {status} | 1 |" in text
    assert "'''\nout of memory\n```" in text
    assert "unknown machine" in text


def test_checks() -> None:
    about = {"check": "slots", "model": "pixels", "dtype": "float32"}
    found = {"rows": 9, "equal": 8, "largest": 2, "more": {"tars": 3}, "ok": False, "error": ""}
    raised = {"ok": False, "error": "RuntimeError: no | kernel\nat all"}
    text = page(results(step("device", {"checks": [about | found, about | raised]}, "failed")))
    assert "| `slots` | pixels | float32 | **failed** | 8 of 9 | 2 | tars 3 |" in text
    assert "RuntimeError: no \\| kernel |" in text
    assert "at all" not in text


def test_ratios_of_lanes() -> None:
    ratios = {"c_over_a": 2.0, "c_over_d": 0.9, "c_over_b_range": 4.5}
    ranges = {name: [value - 0.5, value + 0.5] for name, value in ratios.items()}
    text = page(results(step("lanes-bfloat16", ratios | {"ranges": ranges})))
    assert "| bfloat16 | one | 2.00 (1.50 to 2.50) |  | 0.90 (0.40 to 1.40) |" in text
    assert "| bfloat16 | range |  | 4.50 (4.00 to 5.00) |  |" in text
    assert "mixed" not in text


def test_a_latent_model_and_a_checkpoint() -> None:
    latent = step("latent", {"small, guidance 1": {"diffaug/plain": 2.0, "eight/plain": 1.0}})
    checkpoint = {
        "checkpoint": {"folder": "sd", "pipeline": "StableDiffusionPipeline"},
        "execution": {"dtype": "bfloat16", "batch_size": 32},
        "made": 63,
        "photographs": 64,
        "images_a_second": 3.21,
        "peak_memory_mib": {"process": 900, "card_allocated": 7000},
        "replay": {"equal": 62, "near": 1, "differs": 0},
        "difference": {"largest": 1.5e-4, "reference": "StableDiffusionImg2ImgPipeline"},
    }
    text = page(results(latent, step("checkpoint", checkpoint)))
    assert "| small, guidance 1 | 2.00 | 1.00 |" in text
    for cell in ("63 of 64", "3.21", "7000 MiB", "62 of 63", "1.5e-04 (StableDiffusionImg2Img"):
        assert cell in text
    checkpoint["difference"] = {"reason": "there is no comparison for FluxPipeline"}
    assert "no comparison" in page(results(step("checkpoint", checkpoint)))
