"""What a recipe puts on a loaded pipeline: LoRA weights merged in, tokens that were learned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from diffaug.diffusion.batched import is_out_of_memory
from diffaug.errors import ConfigError, require_extra

__all__ = ["attach_embeddings", "attach_lora"]

_DOWN = ("lora_A.", "lora_down.", "lora.down.", "lora_linear_layer.down.")
"""What the first of a LoRA's two matrices is called: one for each layer that it changes."""


def attach_lora(pipe: Any, name: str, path: Path, scale: float) -> None:
    """Merge LoRA weights into a pipeline's networks (Hu et al. 2022, "LoRA: low-rank adaptation").

    Args:
        pipe: a diffusers pipeline.
        name: what an error calls the model.
        path: a safetensors file.
        scale: how much they count.

    Raises:
        ConfigError: the model takes none, or they are not all for this model.
    """
    if not hasattr(pipe, "load_lora_weights"):
        raise ConfigError(f"lora: {name} is not a text-to-image model; leave it out")
    require_extra("lora", "text", "peft")
    try:
        pipe.load_lora_weights(path.parent, weight_name=path.name)
    except Exception as error:  # diffusers and peft raise nearly anything on what does not fit
        raise _does_not_fit("lora", name, path, error) from error
    with safe_open(path, framework="pt") as file:
        wanted = sum(any(down in key for down in _DOWN) for key in file.keys())  # noqa: SIM118
    found = _changed_layers(pipe)
    if not found or found < wanted:  # diffusers passes over those it does not know
        raise ConfigError(
            f"lora: {path.name} changes {wanted} layers, and {name} has {found} of them: it was "
            "made for another model"
        )
    pipe.fuse_lora(lora_scale=scale)
    pipe.unload_lora_weights()


def attach_embeddings(pipe: Any, name: str, path: Path) -> None:
    """Let prompts name the tokens of a file of textual inversions (Gal et al. 2023).

    Args:
        pipe: a diffusers pipeline.
        name: what an error calls the model.
        path: a safetensors file: a tensor (width,) or (vectors, width) by each token's name.

    Raises:
        ConfigError: the model takes none, or they are not for this model.
    """
    takes = hasattr(pipe, "load_textual_inversion") and not hasattr(pipe, "text_encoder_2")
    if not takes:
        raise ConfigError(f"embeddings: {name} takes none; Stable Diffusion 1 and 2 do")
    width = pipe.text_encoder.config.hidden_size
    for token, vector in load_file(path).items():
        if token == "emb_params":
            raise ConfigError(
                f"embeddings: {path.name} does not name its token: save it anew as a tensor under "
                "the token that prompts are to name"
            )
        if vector.shape[-1] != width:
            raise ConfigError(
                f"embeddings: {token} in {path.name} is {vector.shape[-1]} wide, the text encoder "
                f"of {name} {width}: it was made for another model"
            )
        try:
            pipe.load_textual_inversion({token: vector})
        except Exception as error:
            raise _does_not_fit("embeddings", name, path, error) from error


def _changed_layers(pipe: Any) -> int:
    networks = (part for part in pipe.components.values() if isinstance(part, nn.Module))
    return sum(
        bool(getattr(module, "lora_A", ())) for network in networks for module in network.modules()
    )


def _does_not_fit(what: str, name: str, path: Path, error: Exception) -> Exception:
    if is_out_of_memory(error):
        return error
    first_line = str(error).strip().partition("\n")[0]
    return ConfigError(f"{what}: {path.name} does not fit {name}: {first_line}")
