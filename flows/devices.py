"""Several devices of one machine: a worker process for each, over one OUTPUT.

A job is frozen with the kind of its devices, `cpu` or `cuda`, and each worker sees one card, which
CUDA then calls the first. So an image does not depend on which card made it, as long as they are of
one class.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from diffaug.errors import ConfigError

__all__ = ["VISIBLE", "cards_of", "devices_of", "kind_of", "take_a_card"]

VISIBLE = "CUDA_VISIBLE_DEVICES"
"""The variable by which CUDA shows a process only some cards, in this order."""


def devices_of(device: str | None) -> tuple[str, ...]:
    """The devices that a flow's parameter names: none if it is unset.

    Args:
        device: one device; several with commas, of one kind; or `all`, for every card.

    Raises:
        ConfigError: there is no card, or the devices are not of one kind.
    """
    if device is None:
        return ()
    if device.strip() == "all":
        import torch

        count = torch.cuda.device_count()
        if not count:
            raise ConfigError("device=all: this machine has no CUDA device; use device=cpu")
        return tuple(f"cuda:{number}" for number in range(count))
    devices = tuple(one.strip() for one in device.split(","))
    if len({one.partition(":")[0] for one in devices}) > 1:
        raise ConfigError(f"device={device}: the devices of a job are of one kind: cpu or cuda")
    return devices


def kind_of(devices: Sequence[str]) -> str | None:
    """The device that a job over these is frozen with; None if there is none.

    Raises:
        ConfigError: this machine lacks one of them.
    """
    from diffaug.execution import Execution

    for device in devices:
        Execution.choose(device=device)
    if len(devices) < 2:
        return next(iter(devices), None)
    return devices[0].partition(":")[0]


def cards_of(devices: Sequence[str]) -> list[str]:
    """What VISIBLE must be for each worker; nothing for a worker on the processor.

    Where this process itself sees only some cards, `cuda:N` is the N-th of those.
    """
    shown = os.environ.get(VISIBLE)
    names = shown.split(",") if shown else None
    numbers = [int(one.partition(":")[2] or 0) for one in devices if one.startswith("cuda")]
    return [names[number].strip() if names else str(number) for number in numbers]


def take_a_card(cards: Any) -> None:
    """Let this process see only the next card of a queue; call it before anything asks CUDA."""
    os.environ[VISIBLE] = cards.get()
