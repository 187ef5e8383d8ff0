"""Where a job runs: batch size, dtype and device, frozen when it is planned, and in every row."""

from __future__ import annotations

import platform
import re
from functools import cache
from importlib.metadata import version as installed
from importlib.util import find_spec
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from diffaug.errors import ConfigError
from diffaug.version import __version__

__all__ = [
    "CHANGES_CLIPS",
    "CHANGES_PIXELS",
    "CHANGES_TEXTS",
    "DEFAULT_BATCH_SIZE",
    "Execution",
    "device_class",
    "versions",
]

CHANGES_PIXELS = ("diffaug", "torch", "diffusers", "pillow", "libjpeg", "numpy", "scipy")
"""What can change a pixel with its version; with a prompt, transformers is another."""

CHANGES_CLIPS = ("av", "libavcodec")
"""What else can change a clip."""

CHANGES_TEXTS = ("transformers", "tokenizers")
"""What else can change a text."""

DEFAULT_BATCH_SIZE = 32

_DEVICE = re.compile(r"^(cpu|cuda(:\d+)?)$")

Dtype = Literal["float32", "bfloat16"]


class Execution(BaseModel):
    """The settings that affect a result and are not part of the recipe.

    Attributes:
        batch_size: lanes in the one fixed batch shape.
        dtype: number type in which the network computes.
        device: `cpu`, `cuda` or `cuda:N`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch_size: int = Field(DEFAULT_BATCH_SIZE, ge=1, le=65536)
    dtype: Dtype = "float32"
    device: str = Field("cpu", pattern=_DEVICE.pattern)

    @classmethod
    def choose(
        cls, batch_size: int | None = None, dtype: str | None = None, device: str | None = None
    ) -> Execution:
        """Fill in missing settings from what this machine's flags report, never from timing.

        Raises:
            ConfigError: a value is invalid, or this machine lacks the device.
        """
        import torch

        device = str(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        _require(device)
        if dtype is None:
            if device.startswith("cuda"):
                fast = torch.cuda.get_device_capability(_index(device)) >= (8, 0)
            else:
                fast = "bf16" in device_class("cpu")
            dtype = "bfloat16" if fast else "float32"
        try:
            return cls.model_validate(
                {
                    "batch_size": DEFAULT_BATCH_SIZE if batch_size is None else batch_size,
                    "dtype": dtype,
                    "device": device,
                }
            )
        except ValueError:
            raise ConfigError(
                f"execution: batch_size={batch_size}, dtype={dtype}, device={device}: batch_size "
                "must be at least 1, dtype float32 or bfloat16, device cpu, cuda or cuda:N"
            ) from None

    @classmethod
    def like(cls, device_class: str, batch_size: int, dtype: str) -> Execution:
        """The execution on this machine that comes closest to one recorded in a row.

        Args:
            device_class: such as `cuda/H100`; for a CUDA class, CUDA is used if it is available.
            batch_size: as recorded.
            dtype: as recorded.

        Raises:
            ConfigError: batch_size or dtype is invalid.
        """
        import torch

        cuda = device_class.startswith("cuda") and torch.cuda.is_available()
        return cls.choose(batch_size, dtype, "cuda" if cuda else "cpu")

    def require_device(self) -> None:
        """Check that this machine has the device.

        Raises:
            ConfigError: it does not.
        """
        _require(self.device)


def _index(device: str) -> int:
    return int(device.partition(":")[2] or 0) if _DEVICE.fullmatch(device) else 0


def _require(device: str) -> None:
    import torch

    if device.startswith("cuda") and _index(device) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {device}: this machine has {torch.cuda.device_count()} CUDA devices; "
            "use device=cpu"
        )


@cache
def device_class(device: str) -> str:
    """What decides a result's last bits on a device: `cpu/avx512_bf16`, `cuda/H100` and so on."""
    import torch

    if device.startswith("cuda"):
        if not torch.cuda.is_available():
            return "cuda/absent"
        return f"cuda/{torch.cuda.get_device_name(device).removeprefix('NVIDIA ').split()[0]}"
    if torch.cpu._is_avx512_bf16_supported():
        return "cpu/avx512_bf16"
    return f"cpu/{torch.backends.cpu.get_cpu_capability().lower()}"


def _libjpeg() -> str:
    """The version of the library by which Pillow reads and writes JPEGs."""
    from PIL import features

    turbo = features.version("libjpeg_turbo")
    return f"turbo {turbo}" if turbo else str(features.version("jpg"))


@cache
def versions(medium: str | None = None) -> dict[str, str]:
    """The versions that can change a pixel or a byte, by package or library.

    Args:
        medium: of clips, FFmpeg reads and writes them through PyAV; of texts, tokenizers takes them
            apart.
    """
    packages = ["torch", "diffusers", "pillow", "numpy", "scipy", "pyarrow"]
    if find_spec("transformers") is not None:
        packages.append("transformers")
        packages += ["tokenizers"] if medium == "text" else []
    return {
        "diffaug": __version__,
        **{package: installed(package) for package in packages},
        "libjpeg": _libjpeg(),
        "python": platform.python_version(),
        **(_ffmpeg() if medium == "clip" else {}),
    }


def _ffmpeg() -> dict[str, str]:
    """The versions of what reads and writes clips; none where it is not installed."""
    if find_spec("av") is None:
        return {}
    import av

    codecs = ".".join(map(str, av.library_versions["libavcodec"]))
    return {"av": installed("av"), "libavcodec": codecs}
