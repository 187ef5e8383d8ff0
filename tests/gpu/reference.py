"""How far diffaug is from diffusers' own pipeline: the same picture, noise, condition and times.

As in `tests/models/test_families.py`: diffusers' grids of times are others, so its pipeline is
given the list of times and `DPMSolverMultistepScheduler(solver_order=1)`, whose step is that of
DDIM; and the most likely latents, where it would draw them. Both compute in float32, without TF32.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from diffaug.diffusion.edit import Edit
from diffaug.editor import PictureEditor
from diffaug.execution import Execution
from diffaug.models import checkpoint_of
from diffaug.recipe import Recipe
from tests.support.drafts import draft_copies
from tests.support.pipelines import edited, first_order

__all__ = ["REFERENCES", "difference"]

_LIKE: dict[str, dict[str, Any]] = {
    "StableDiffusionImg2ImgPipeline": {"safety_checker": None},
    "StableDiffusionXLImg2ImgPipeline": {"add_watermarker": False},
}
"""Pipelines that edit a picture by a prompt, and what they are loaded with."""

REFERENCES = {
    "StableDiffusionPipeline": "StableDiffusionImg2ImgPipeline",
    "StableDiffusionXLPipeline": "StableDiffusionXLImg2ImgPipeline",
    "DiTPipeline": "DiTPipeline",
} | {name: name for name in _LIKE}
"""The pipeline to compare with, by that which a checkpoint names."""


def difference(
    folder: Path, kind: str, device: str, photographs: Sequence[Image.Image], **fields: Any
) -> dict[str, Any]:
    """The largest and the mean difference of the pictures in [0, 1].

    Args:
        folder: the checkpoint.
        kind: the pipeline that it names.
        device: where both run.
        photographs: to edit; their middle is.
        fields: of the recipe.
    """
    if kind not in REFERENCES:
        return {"reason": f"there is no comparison for {kind}"}
    fields |= {"model": str(folder), "sampler": "ddim", "detail": "none"}
    with _exactly():
        ours, edits = _ours(Recipe(**fields), device, photographs)
        pipeline = _pipeline(folder, REFERENCES[kind], device)
        guidance = float(fields.get("guidance", 1.0))
        if kind == "DiTPipeline":
            theirs = _generated(pipeline, edits, guidance)
        else:
            theirs = _edited(pipeline, edits, guidance, fields["prompt"])
    apart = (ours - theirs.float().cpu()).abs()
    return {
        "reference": REFERENCES[kind],
        "pictures": len(edits),
        "calls": edits[0].calls,
        "largest": float(apart.max()),
        "mean": float(apart.mean()),
    }


def _ours(
    recipe: Recipe, device: str, photographs: Sequence[Image.Image]
) -> tuple[Tensor, list[Edit]]:
    """Pictures (n, 3, H, W) in [0, 1] as the lanes make them, and their edits."""
    execution = Execution(batch_size=len(photographs), dtype="float32", device=device)
    editor = PictureEditor(recipe, checkpoint_of(recipe), execution)
    _, height, width = editor.model.shape
    edits = []
    for number, photograph in enumerate(photographs):
        image = ImageOps.fit(photograph, (width, height))
        told = {"label": number} if recipe.condition == "label" else {}
        (draft,) = draft_copies(editor, image, told, [0])
        edits.append(draft.edit)
    made = [x_0 for _, x_0 in editor.steps().run((None, edit) for edit in edits)]
    found = torch.from_numpy(np.stack([one for one in made if one is not None]))
    return (found.float() / 2 + 0.5).clamp(0, 1), edits


def _pipeline(folder: Path, name: str, device: str) -> Any:
    import diffusers

    pipeline: Any = getattr(diffusers, name).from_pretrained(
        folder, dtype=torch.float32, **_LIKE.get(name, {})
    )
    return first_order(pipeline).to(device)


def _edited(pipeline: Any, edits: Sequence[Edit], guidance: float, prompt: str) -> Tensor:
    """What an image-to-image pipeline makes of the same pictures and noise."""
    from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution

    noise = _noise(edits).to(pipeline.device)
    module = sys.modules[type(pipeline).__module__]
    with (
        patch.object(module, "randn_tensor", lambda *_, **__: noise),
        patch.object(DiagonalGaussianDistribution, "sample", lambda own, *_, **__: own.mode()),
    ):
        return edited(pipeline, _clean(edits), edits, guidance, [prompt] * len(edits))


@torch.inference_mode()
def _generated(pipeline: Any, edits: Sequence[Edit], guidance: float) -> Tensor:
    """What a pipeline that only generates makes of our noised latents, at our times."""
    device, scheduler = pipeline.device, pipeline.scheduler
    times = list(edits[0].trajectory.timesteps)
    scheduler.set_timesteps(timesteps=times, device=device)
    posterior = pipeline.vae.encode(_clean(edits).to(device)).latent_dist
    latents = posterior.mode() * pipeline.vae.config.scaling_factor
    first = torch.tensor(times[:1], device=device)
    x_t = scheduler.add_noise(latents, _noise(edits).to(device), first)
    module = sys.modules[type(pipeline).__module__]
    with (
        patch.object(scheduler, "set_timesteps", lambda *_, **__: None),
        patch.object(module, "randn_tensor", lambda *_, **__: x_t),
    ):
        labels = list(range(len(edits)))
        images: Tensor = pipeline(labels, guidance_scale=guidance, output_type="pt").images
    return images


def _clean(edits: Sequence[Edit]) -> Tensor:
    return torch.from_numpy(np.stack([edit.x_0 for edit in edits if edit.x_0 is not None]))


def _noise(edits: Sequence[Edit]) -> Tensor:
    return torch.from_numpy(np.stack([edit.noise[0] for edit in edits]))


@contextmanager
def _exactly() -> Iterator[None]:
    """Without TF32, whose ten bits would be most of the difference."""
    cudnn, cuda = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, cuda.allow_tf32
    cudnn.allow_tf32 = cuda.allow_tf32 = False
    try:
        yield
    finally:
        cudnn.allow_tf32, cuda.allow_tf32 = before
