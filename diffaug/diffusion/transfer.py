"""Copies between numpy and the device: asynchronous on CUDA, through pinned memory; none on a CPU.

The lanes start the next network call while results of the last one are still on their way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["Arrival", "Download", "upload"]


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """The array as a tensor on `device`; on the CPU the tensor shares the array's memory."""
    tensor = torch.from_numpy(array)
    if device.type == "cpu":
        return tensor
    # torch keeps pinned memory until the copy is over
    return tensor.pin_memory().to(device, non_blocking=True)


class Download:
    """A copy of a tensor to the CPU, started at once and waited for when its values are needed.

    Args:
        tensor: on any device; not written to again.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._event: Any = None
        self._host = tensor
        if tensor.device.type == "cuda":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._event = cast(Any, torch.cuda.Event)()
            self._event.record(torch.cuda.current_stream(tensor.device))

    @property
    def landed(self) -> bool:
        """Whether `numpy` would not wait."""
        return self._event is None or bool(self._event.query())

    def numpy(self) -> NDArray[np.float32]:
        """The values; waits until they have arrived."""
        if self._event is not None:
            self._event.synchronize()
        values: NDArray[np.float32] = self._host.numpy()
        return values


@dataclass(frozen=True, slots=True)
class Arrival:
    """One row of a download.

    Attributes:
        download: of a tensor (n, *).
        row: which of the n.
    """

    download: Download
    row: int

    @property
    def landed(self) -> bool:
        """Whether `numpy` would not wait."""
        return self.download.landed

    def numpy(self) -> NDArray[np.float32]:
        """The row's values (*); waits until they have arrived."""
        row: NDArray[np.float32] = self.download.numpy()[self.row]
        return row
