"""What the adapters of diffusers' networks share: pipelines loaded, autoencoders, activations."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.latents import Autoencoder
from diffaug.models.checkpoint import Checkpoint

__all__ = ["activate_in_place", "autoencoder", "pipeline"]

_UNUSED = ("safety_checker", "feature_extractor", "image_encoder")
_MAY_LACK = ("text_encoder_3", "tokenizer_3")  # Stable Diffusion 3's, which is large


def pipeline(checkpoint: Checkpoint, execution: Execution) -> Any:
    """The diffusers pipeline that a checkpoint names, for inference, its add-ons merged in.

    Raises:
        ConfigError: a part or a package is missing, or something is broken.
    """
    from diffusers import DiffusionPipeline

    if any(library == "transformers" for library, _ in _components(checkpoint)):
        _wants_transformers(checkpoint)
    try:
        with _quiet():
            pipe: Any = DiffusionPipeline.from_pretrained(
                checkpoint.folder,
                dtype=getattr(torch, execution.dtype),
                use_safetensors=True,
                low_cpu_mem_usage=False,
                local_files_only=True,
                **dict.fromkeys(_left_out(checkpoint)),
            )
            _add(checkpoint, pipe, execution)
        for part in pipe.components.values():
            if isinstance(part, nn.Module):
                part.eval().requires_grad_(False).to(execution.device)
                activate_in_place(part)
    except ConfigError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError) as error:
        raise ConfigError(_cannot(checkpoint, error)) from error
    return pipe


def _left_out(checkpoint: Checkpoint) -> list[str]:
    """The parts that are not loaded, or that the index says are not there, which diffusers asks
    to be told."""
    absent = [name for name in _MAY_LACK if checkpoint.index.get(name) == [None, None]]
    return [*absent, *(name for name in _UNUSED if name in checkpoint.index)]


def _add(checkpoint: Checkpoint, pipe: Any, execution: Execution) -> None:
    """Put on the model what is to be put on it; a LoRA is merged into the weights."""
    import diffusers

    name = f"model {checkpoint.reference}"
    if checkpoint.embeddings and not isinstance(pipe, diffusers.StableDiffusionPipeline):
        raise ConfigError(f"embeddings: {name} takes none; Stable Diffusion 1 and 2 do")
    try:
        if checkpoint.autoencoder is not None:
            config = json.loads((checkpoint.autoencoder / "config.json").read_text("utf-8"))
            kind = getattr(diffusers, config["_class_name"])
            pipe.vae = kind.from_pretrained(
                checkpoint.autoencoder,
                dtype=getattr(torch, execution.dtype),
                use_safetensors=True,
                low_cpu_mem_usage=False,
                local_files_only=True,
            )
        if checkpoint.lora is not None:
            if find_spec("peft") is None:
                raise ConfigError("lora: this wants the package peft: pip install 'diffaug[text]'")
            pipe.load_lora_weights(checkpoint.lora.parent, weight_name=checkpoint.lora.name)
            pipe.fuse_lora(lora_scale=checkpoint.lora_scale)
            pipe.unload_lora_weights()
        for path in checkpoint.embeddings:
            for token, vector in load_file(path).items():
                pipe.load_textual_inversion({token: vector})
    except ConfigError:
        raise
    except Exception as error:  # diffusers and peft raise nearly anything on what does not fit
        first_line = str(error).strip().partition("\n")[0]
        raise ConfigError(
            f"{name}: its LoRA, autoencoder or embeddings do not fit it: {first_line}"
        ) from error


def _components(checkpoint: Checkpoint) -> list[tuple[str | None, str | None]]:
    """(library, class) of every part that is used."""
    return [
        (one[0], one[1])
        for name, one in checkpoint.index.items()
        if isinstance(one, list) and len(one) == 2 and name not in _UNUSED
    ]


def _wants_transformers(checkpoint: Checkpoint) -> None:
    if find_spec("transformers") is None:
        raise ConfigError(
            f"model {checkpoint.reference} takes prompts, which wants the package transformers: "
            "pip install 'diffaug[text]'"
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """No bars and hints of other libraries on the way, which are of no use to people here."""
    from diffusers.utils import logging as diffusers_logging

    found = [diffusers_logging]
    if find_spec("transformers") is not None:
        from transformers.utils import logging as transformers_logging

        found.append(transformers_logging)
    levels = [logging.get_verbosity() for logging in found]
    for logging in found:
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    try:
        yield
    finally:
        for logging, level in zip(found, levels, strict=True):
            logging.set_verbosity(level)
            logging.enable_progress_bar()


def _cannot(checkpoint: Checkpoint, error: Exception) -> str:
    first_line = str(error).strip().partition("\n")[0]
    return f"model {checkpoint.reference} cannot be loaded: {first_line}"


def autoencoder(vae: Any, factor: int) -> Autoencoder:
    """diffusers' `AutoencoderKL` or `AutoencoderTiny`, its latents scaled and shifted.

    An image is encoded to its most likely latents, where diffusers' pipelines draw some.
    """
    vae = vae.to(memory_format=torch.channels_last)
    scale, shift = vae.config.scaling_factor, getattr(vae.config, "shift_factor", None) or 0.0

    def encode(pictures: Tensor) -> Tensor:
        found = vae.encode(pictures.to(vae.dtype, memory_format=torch.channels_last))
        latents = found.latent_dist.mode() if hasattr(found, "latent_dist") else found.latents
        scaled: Tensor = (latents.float() - shift) * scale
        return scaled

    def decode(latents: Tensor) -> Tensor:
        unscaled = latents / scale + shift
        pictures: Tensor = vae.decode(
            unscaled.to(vae.dtype, memory_format=torch.channels_last), return_dict=False
        )[0]
        return pictures.float()

    return Autoencoder(encode=encode, decode=decode, factor=factor)


def activate_in_place(network: nn.Module) -> None:
    """Let SiLU write over the feature maps it gets, each fresh from a group norm: the same bits.

    It keeps off what is no feature map, such as the time embedding, which every block reads.
    """
    for module in network.modules():
        for name in ("nonlinearity", "conv_act"):
            if isinstance(getattr(module, name, None), nn.SiLU):
                setattr(module, name, _FeatureSiLU())


class _FeatureSiLU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.silu(x, inplace=x.ndim == 4)
