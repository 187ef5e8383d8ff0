"""Finding and checking a model's add-ons: a LoRA, an autoencoder, textual inversions."""

from __future__ import annotations

import json
from pathlib import Path

from diffaug.errors import ConfigError
from diffaug.models import hub
from diffaug.models.card import SHIPPED, is_shipped
from diffaug.models.layout import (
    PICKLES,
    check_file,
    choose,
    is_autoencoder,
    is_variant,
    pickle_error,
)
from diffaug.storage import local_path

__all__ = ["autoencoder_files", "find_autoencoder", "find_embedding", "find_lora"]


def find_lora(reference: str) -> Path:
    """Find a LoRA's safetensors file, given itself, its folder, or org/name[@revision].

    Raises:
        ConfigError: there is no such file, or it is a pickle, broken, or not a LoRA.
    """
    path = _find_weights("lora", reference, "pytorch_lora_weights.safetensors")
    names = check_file("lora", reference, path)
    if not any("lora" in name.lower() for name in names):
        raise ConfigError(
            f"lora {reference}: {path} is not a LoRA: none of its {len(names)} tensors has lora in "
            "its name: give a whole model as model"
        )
    return _pinned("lora", reference, path)


def find_embedding(reference: str) -> Path:
    """Find a textual inversion's safetensors file, given as a LoRA is.

    Raises:
        ConfigError: there is no such file, or it is a pickle or broken.
    """
    path = _find_weights("embedding", reference, "learned_embeds.safetensors")
    check_file("embedding", reference, path)
    return _pinned("embedding", reference, path)


def find_autoencoder(reference: str) -> Path:
    """Find the folder of an autoencoder's config.json and weights: the one given, or one in it.

    In a pipeline this is vae/, in an `LDMPipeline` vqvae/. A shipped model is given by its name.

    Raises:
        ConfigError: there is no such folder, or it holds another kind of network, a pickle or a
            broken file.
    """
    folder = SHIPPED / reference if is_shipped(reference) else local_path(reference)
    if folder.is_dir():
        folder = folder.resolve()
        places = (folder, folder / "vqvae", folder / "vae")
        folder = next((one for one in places if (one / "config.json").is_file()), places[-1])
    elif hub.is_hub_name(reference):
        folder = hub.fetch_autoencoder(reference)
    else:
        raise ConfigError(
            f"no such autoencoder: {reference}. It is neither a shipped model, a local folder nor "
            "org/name[@revision] on the hub"
        )
    _check_autoencoder(reference, folder)
    return _pinned("autoencoder", reference, folder)


def autoencoder_files(folder: Path) -> list[Path]:
    """The files of an autoencoder: its config.json and its weights."""
    weights = (
        path
        for pattern in ("*.safetensors", "*.safetensors.index.json")
        for path in folder.glob(f"diffusion_pytorch_model{pattern}")
        if not is_variant(path.name)
    )
    return sorted([folder / "config.json", *weights])


def _check_autoencoder(reference: str, folder: Path) -> None:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind = str(config["_class_name"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(
            f"autoencoder {reference}: no readable config.json at its top, in vae/ or in vqvae/: "
            "give a folder written by a diffusers autoencoder's save_pretrained"
        ) from None
    if not is_autoencoder(kind):
        raise ConfigError(f"autoencoder {reference}: it is a {kind}, not an autoencoder")
    files = autoencoder_files(folder)
    if not any(path.suffix == ".safetensors" for path in files):
        raise ConfigError(
            f"autoencoder {reference}: {folder} has no diffusion_pytorch_model.safetensors, and "
            "diffaug never opens pickles: save it again with safe_serialization=True"
        )
    for path in files:
        check_file("autoencoder", reference, path)


def _find_weights(what: str, reference: str, usual: str) -> Path:
    path = local_path(reference)
    if path.is_dir():
        names = [file.name for file in path.iterdir() if file.is_file()]
        return path.resolve() / choose(what, reference, names, usual)
    if reference.endswith(PICKLES):
        raise pickle_error(what, reference, path.name)
    if path.is_file():
        if path.suffix != ".safetensors":
            raise ConfigError(f"{what} {reference}: it must be a .safetensors file")
        return path.resolve()
    if hub.is_hub_name(reference) and not reference.endswith(".safetensors"):
        return hub.fetch_file(what, reference, usual)
    raise ConfigError(
        f"no such {what}: {reference}. It is neither a safetensors file, nor a folder that holds "
        "one, nor org/name[@revision] on the hub"
    )


def _pinned(what: str, reference: str, path: Path) -> Path:
    """Refuse a hub reference that can move, since no manifest row records an add-on's commit."""
    if local_path(reference).exists():
        return path
    name, _, revision = reference.partition("@")
    commit = path.parts[path.parts.index("snapshots") + 1]
    if revision != commit:
        raise ConfigError(
            f"{what} {reference}: name its commit, so that images can be rebuilt: {name}@{commit}"
        )
    return path
