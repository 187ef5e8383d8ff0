"""From checkpoint to Denoiser, by the pipeline class the checkpoint names."""

from __future__ import annotations

from functools import lru_cache

from diffaug.denoiser import Denoiser
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models import unet2d
from diffaug.models.checkpoint import Checkpoint

__all__ = ["load_denoiser"]

_ADAPTERS = {"DDPMPipeline": unet2d.load, "DDIMPipeline": unet2d.load}


@lru_cache(maxsize=2)
def load_denoiser(checkpoint: Checkpoint, execution: Execution) -> Denoiser:
    """Load a checkpoint's weights; the same model is kept for the next call.

    Raises:
        ConfigError: the checkpoint is of a family diffaug does not know, or is broken.
    """
    adapter = _ADAPTERS.get(checkpoint.pipeline)
    if adapter is None:
        raise ConfigError(
            f"model {checkpoint.reference}: {checkpoint.pipeline} is not supported yet; "
            f"supported are {', '.join(sorted(_ADAPTERS))}"
        )
    return adapter(checkpoint, execution)
