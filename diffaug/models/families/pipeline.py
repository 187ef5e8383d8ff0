"""A diffusers pipeline loaded for inference, with a recipe's add-ons."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffaug.errors import ConfigError, require_extra
from diffaug.execution import Execution
from diffaug.models.checkpoint import Checkpoint
from diffaug.models.families.attach import attach_embeddings, attach_lora
from diffaug.models.families.parts import activate_in_place
from diffaug.models.layout import UNUSED
from diffaug.models.quiet import quiet

__all__ = ["pipeline"]

_MAY_LACK = ("text_encoder_3", "tokenizer_3")  # Stable Diffusion 3's, which is large


def pipeline(checkpoint: Checkpoint, execution: Execution) -> Any:
    """The diffusers pipeline that a checkpoint names, for inference, its add-ons merged in.

    Raises:
        ConfigError: a part or a package is missing, or something is broken.
    """
    from diffusers import DiffusionPipeline

    if any(library == "transformers" for library, _ in _parts(checkpoint).values()):
        require_extra(f"model {checkpoint.reference}", "text", "transformers")
    try:
        with quiet():
            pipe: Any = DiffusionPipeline.from_pretrained(
                checkpoint.folder,
                local_files_only=True,
                **dict.fromkeys(_left_out(checkpoint)),
                **_networks(checkpoint, execution),
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
    """The parts not to load: unused ones, and those that the index calls absent, which diffusers
    requires to be named."""
    absent = [name for name in _MAY_LACK if checkpoint.index.get(name) == [None, None]]
    return [*absent, *(name for name in UNUSED if name in checkpoint.index)]


def _add(checkpoint: Checkpoint, pipe: Any, execution: Execution) -> None:
    """Put a recipe's autoencoder, LoRA and embeddings on the model."""
    import diffusers

    name = f"model {checkpoint.reference}"
    if checkpoint.autoencoder is not None and getattr(pipe, "vae", None) is not None:
        config = json.loads((checkpoint.autoencoder / "config.json").read_text("utf-8"))
        kind = getattr(diffusers, config["_class_name"], None)
        if kind is None:
            raise ConfigError(
                f"autoencoder: it is a {config['_class_name']}, and {name} takes those of diffusers"
            )
        vae = _network(checkpoint, "autoencoder", kind, checkpoint.autoencoder, execution)
        own, other = pipe.vae.config.latent_channels, vae.config.latent_channels
        if own != other:
            raise ConfigError(
                f"autoencoder: its latents have {other} channels and those of {name} {own}: it was "
                "made for another model"
            )
        pipe.vae = vae
    if checkpoint.lora is not None:
        attach_lora(pipe, name, checkpoint.lora, checkpoint.lora_scale)
    for path in checkpoint.embeddings:
        attach_embeddings(pipe, name, path)


def _parts(checkpoint: Checkpoint) -> dict[str, tuple[str, str]]:
    """(library, class) of every part that is used, by its name."""
    return {
        name: (one[0], one[1])
        for name, one in checkpoint.index.items()
        if isinstance(one, list) and len(one) == 2 and all(one) and name not in UNUSED
    }


def _networks(checkpoint: Checkpoint, execution: Execution) -> dict[str, Any]:
    """The networks among the parts; a pipeline would not report weights that they lack."""
    found = {}
    for name, (library, kind) in _parts(checkpoint).items():
        if library in ("diffusers", "transformers"):
            known = getattr(importlib.import_module(library), kind, None)
            if isinstance(known, type) and issubclass(known, nn.Module):
                found[name] = _network(checkpoint, name, known, checkpoint.part(name), execution)
    return found


def _network(
    checkpoint: Checkpoint, name: str, kind: Any, folder: Path, execution: Execution
) -> Any:
    """A network with all its weights; those missing from a file would be random."""
    of_diffusers = kind.__module__.startswith("diffusers.")
    network, loading = kind.from_pretrained(
        folder,
        dtype=getattr(torch, execution.dtype),
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        **({"low_cpu_mem_usage": False} if of_diffusers else {}),
    )
    if missing := sorted(loading["missing_keys"]):
        raise ConfigError(
            f"model {checkpoint.reference}: the weights of its {name} do not fit its config.json: "
            f"{len(missing)} missing keys, such as {missing[0]}"
        )
    return network


def _cannot(checkpoint: Checkpoint, error: Exception) -> str:
    first_line = str(error).strip().partition("\n")[0]
    return f"model {checkpoint.reference} cannot be loaded: {first_line}"
