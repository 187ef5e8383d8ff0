"""From checkpoint to Denoiser, by the pipeline class the checkpoint names."""

from __future__ import annotations

from functools import lru_cache

from diffaug.denoiser import Denoiser
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint

__all__ = ["load_denoiser", "read_denoiser"]

_UNET2D = ("DDPMPipeline", "DDIMPipeline")


@lru_cache(maxsize=2)
def load_denoiser(checkpoint: Checkpoint, execution: Execution) -> Denoiser:
    """Load a checkpoint to run it; the same model is kept for the next call.

    Raises:
        ConfigError: the checkpoint is of a family diffaug does not know, or is broken.
    """
    from diffaug.models import unet2d

    return unet2d.freeze(read_denoiser(checkpoint, execution.device, execution.dtype))


def read_denoiser(checkpoint: Checkpoint, device: str, dtype: str) -> Denoiser:
    """Load a checkpoint into a network of the caller's own, which can be trained.

    Raises:
        ConfigError: as for `load_denoiser`.
    """
    from diffaug.models import unet2d

    if checkpoint.pipeline not in _UNET2D:
        raise ConfigError(
            f"model {checkpoint.reference}: {checkpoint.pipeline} is not supported yet; "
            f"supported are {', '.join(sorted(_UNET2D))}"
        )
    return unet2d.read(checkpoint, device, dtype)
