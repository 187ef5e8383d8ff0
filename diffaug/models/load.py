"""From checkpoint to model, by the pipeline class that the checkpoint names."""

from __future__ import annotations

import importlib
from dataclasses import replace
from functools import lru_cache

from diffaug.diffusion.denoiser import Denoiser
from diffaug.errors import ConfigError
from diffaug.execution import Execution
from diffaug.models.card import is_shipped
from diffaug.models.checkpoint import OF_CLIPS, Addons, Checkpoint, find_checkpoint
from diffaug.models.masked import MaskedModel
from diffaug.models.pretrained import Pretrained
from diffaug.recipe import Recipe
from diffaug.recipe.filters import judge_of
from diffaug.storage import local_path

__all__ = [
    "at_revision",
    "checkpoint_of",
    "load_masked_model",
    "load_model",
    "placed",
    "read_denoiser",
]

_UNET2D = ("DDPMPipeline", "DDIMPipeline")
_FAMILIES = (
    dict.fromkeys(_UNET2D, "unet2d")
    | dict.fromkeys(
        (
            "StableDiffusionPipeline",
            "StableDiffusionImg2ImgPipeline",
            "StableDiffusionXLPipeline",
            "StableDiffusionXLImg2ImgPipeline",
            "LatentConsistencyModelPipeline",
            "LatentConsistencyModelImg2ImgPipeline",
        ),
        "stable_diffusion",
    )
    | dict.fromkeys(
        ("StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline"), "stable_diffusion_3"
    )
    | dict.fromkeys(("FluxPipeline", "FluxImg2ImgPipeline"), "flux")
    | dict.fromkeys(OF_CLIPS, "animatediff")
    | {
        "DiTPipeline": "dit",
        "ConsistencyModelPipeline": "consistency",
        "LDMPipeline": "latent_unet2d",
    }
)
"""Each pipeline's adapter: a module in families/, imported when needed."""


def checkpoint_of(recipe: Recipe) -> Checkpoint:
    """The model of a recipe, with the recipe's add-ons.

    Raises:
        ConfigError: as for `find_checkpoint`.
    """
    return find_checkpoint(
        recipe.model,
        Addons(
            lora=recipe.lora,
            autoencoder=recipe.autoencoder,
            embeddings=recipe.embeddings,
            lora_scale=recipe.lora_scale,
        ),
    )


def at_revision(recipe: Recipe, revision: str | None) -> Recipe:
    """The recipe with its model pinned to a commit on the hub; unchanged for None."""
    if revision is None:
        return recipe
    name = recipe.model.partition("@")[0]
    return recipe.model_copy(update={"model": f"{name}@{revision}"})


def placed(recipe: Recipe) -> Recipe:
    """The recipe with local paths made absolute: a worker runs in another folder."""
    found = {
        "model": _unless_shipped(recipe.model),
        "lora": recipe.lora and _absolute(recipe.lora),
        "autoencoder": recipe.autoencoder and _unless_shipped(recipe.autoencoder),
        "embeddings": tuple(map(_absolute, recipe.embeddings)),
        "judges": tuple(
            name if reference is None else f"{name}={_absolute(reference)}"
            for name, reference in map(judge_of, recipe.judges)
        ),
    }
    moved = {name: value for name, value in found.items() if value != getattr(recipe, name)}
    return recipe.model_copy(update=moved)  # which counts what it updates as named by the user


def _unless_shipped(reference: str) -> str:
    return reference if is_shipped(reference) else _absolute(reference)


def _absolute(reference: str) -> str:
    path = local_path(reference)
    return str(path.resolve()) if path.exists() else reference


@lru_cache(maxsize=2)
def load_masked_model(checkpoint: Checkpoint, execution: Execution) -> MaskedModel:
    """Load a masked language model to run it; the last two are kept for the next call.

    Raises:
        ConfigError: the checkpoint is no such model, or is broken.
    """
    from diffaug.models.families import masked_lm

    if not checkpoint.is_language_model:
        raise ConfigError(
            f"model {checkpoint.reference}: it edits pictures, and medium=text requires a masked "
            "language model: a transformers folder, or org/name[@revision] on the hub"
        )
    return masked_lm.load(checkpoint, execution)


@lru_cache(maxsize=2)
def load_model(checkpoint: Checkpoint, execution: Execution) -> Pretrained:
    """Load a checkpoint to run it; the last two are kept for the next call.

    Raises:
        ConfigError: the checkpoint's family is not supported, or the checkpoint is broken.
    """
    if checkpoint.is_language_model:
        raise ConfigError(
            f"model {checkpoint.reference}: it is a language model, which edits texts: give "
            "medium=text"
        )
    family = _FAMILIES.get(checkpoint.pipeline)
    if family is None:
        raise ConfigError(
            f"model {checkpoint.reference}: {checkpoint.pipeline} is not supported; supported are "
            f"{', '.join(sorted(_FAMILIES))}"
        )
    adapter = importlib.import_module(f"diffaug.models.families.{family}")
    model: Pretrained = adapter.load(checkpoint, execution)
    if checkpoint.card is None or (taught := checkpoint.card.taught) is None:
        return model
    return replace(model, grid=taught.times, folded=taught.guidance)


def read_denoiser(checkpoint: Checkpoint, device: str, dtype: str) -> Denoiser:
    """Load a pixel-space UNet2D into a new network, which can be trained.

    Raises:
        ConfigError: the checkpoint is of another family, or broken.
    """
    from diffaug.models.families import unet2d

    if checkpoint.pipeline not in _UNET2D:
        raise ConfigError(
            f"model {checkpoint.reference}: {checkpoint.pipeline} cannot be trained or sampled "
            f"here; only {' and '.join(_UNET2D)} can. To augment with it, use diffaug.augment or "
            "`diffaug augment`"
        )
    return unet2d.read(checkpoint, device, dtype, unet2d.channels_of(checkpoint.frames))
