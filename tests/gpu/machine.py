"""What a run is on: device, driver, processor and versions; the last line printed is JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any, cast

import torch

from diffaug.execution import Execution, device_class, versions

__all__ = ["machine"]


def machine(device: str) -> dict[str, Any]:
    """Of the machine that runs this, what a number depends on."""
    execution = Execution.choose(device=device)
    found: dict[str, Any] = {
        "device": device,
        "device_class": device_class(device),
        "dtype": execution.dtype,
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "versions": versions(),
    }
    if device.startswith("cuda"):
        card = torch.cuda.get_device_properties(device)
        found["card"] = {
            "name": card.name,
            "memory_gib": round(card.total_memory / 2**30, 1),
            "capability": f"{card.major}.{card.minor}",
            "cuda": torch.version.cuda,
            "cudnn": cast(Any, torch.backends.cudnn).version(),
            "driver": _driver(),
        }
    return found


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _driver() -> str | None:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return said.stdout.partition("\n")[0].strip() or None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", required=True)
    print(json.dumps(machine(parser.parse_args().device)))
