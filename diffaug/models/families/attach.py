"""A recipe's add-ons to a loaded pipeline: LoRA weights merged in, learned tokens.

https://arxiv.org/abs/2106.09685, https://arxiv.org/abs/2208.01618
"""

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
"""Names of the first of a LoRA's two matrices, of which each layer that it changes has one."""


def attach_lora(pipe: Any, name: str, path: Path, scale: float) -> None:
    """Merge LoRA weights into a pipeline's networks (Hu et al. 2022).

    Args:
        pipe: a diffusers pipeline.
        name: the model's name in errors.
        path: a safetensors file.
        scale: the weight of the LoRA.

    Raises:
        ConfigError: the model takes no LoRA, or the weights are not all for this model.
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
    if not found or found < wanted:  # diffusers ignores those it does not know
        raise ConfigError(
            f"lora: {path.name} changes {wanted} layers, and {name} has {found} of them: it was "
            "made for another model"
        )
    pipe.fuse_lora(lora_scale=scale)
    pipe.unload_lora_weights()


def attach_embeddings(pipe: Any, name: str, path: Path) -> None:
    """Make the tokens of a file of textual inversions known to prompts (Gal et al. 2023).

    Args:
        pipe: a diffusers pipeline.
        name: the model's name in errors.
        path: a safetensors file: for each token, a tensor (width,) or (vectors, width).

    Raises:
        ConfigError: the model takes no embeddings, or they are not for this model.
    """
    takes = hasattr(pipe, "load_textual_inversion") and not hasattr(pipe, "text_encoder_2")
    if not takes:
        raise ConfigError(f"embeddings: {name} takes none; Stable Diffusion 1 and 2 do")
    width = pipe.text_encoder.config.hidden_size
    for token, vector in load_file(path).items():
        if token == "emb_params":
            raise ConfigError(
                f"embeddings: {path.name} does not name its token: save it again as a tensor under "
                "the token that prompts are to use"
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
