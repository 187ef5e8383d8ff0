"""What a command holds in memory while it runs a network, measured from within.

An entry for `tests.support.forks`: `sys.argv` is that of the command line. The last line printed is
JSON: the megabytes held at each call of the network, all that is free having been given back.
"""

from __future__ import annotations

import atexit
import ctypes
import json
import sys
from pathlib import Path
from typing import Any

from torch.nn.modules.module import register_module_forward_pre_hook

UNETS = {"LeanUNet2D", "UNet2DModel"}
"""The classes of networks over pictures: ours, and diffusers' in a training."""

EVERY = 4
"""Calls of the network between two looks."""


def main() -> None:
    """Run the command line, then print what it held."""
    from diffaug.cli import main as command

    held: list[float] = []
    calls = 0
    allocator = ctypes.CDLL(None)

    def look(module: Any, _: Any) -> None:
        nonlocal calls
        if type(module).__name__ not in UNETS:
            return
        calls += 1
        if calls % EVERY == 0:
            allocator.malloc_trim(0)
            held.append(_megabytes("RssAnon"))

    register_module_forward_pre_hook(look)
    atexit.register(lambda: print(json.dumps(held), flush=True))
    sys.argv[0] = "diffaug"
    command()


def _megabytes(name: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{name}:")[2].split()[0]) / 1024
