"""One image's edit: everything between a picture and the lanes, the same for every way in."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.diffusion.lanes import Edit, Lanes
from diffaug.diffusion.latents import LatentLanes
from diffaug.diffusion.noise import NOISE_VERSION, SampleRandom
from diffaug.diffusion.samplers import trajectory
from diffaug.diffusion.schedule import timesteps
from diffaug.errors import ConfigError, DefectError
from diffaug.execution import Execution
from diffaug.models import Checkpoint, Pretrained, load_model
from diffaug.pictures.codec import pixel_sha256
from diffaug.pictures.fit import Frame
from diffaug.recipe import Recipe

__all__ = ["Draft", "Editor", "Finish", "SampleFields", "sample_id"]


class SampleFields(TypedDict, total=False):
    """What of a sample, beside its picture, can condition the model; None where it is not there.

    Attributes:
        label: its class.
        label_text: its class or caption in words.
        key: its webdataset key.
    """

    label: int | None
    label_text: str | None
    key: str | None


@dataclass(frozen=True, slots=True)
class Finish:
    """What becomes of the lanes' result: all of a draft that is needed once its edit is under way.

    Attributes:
        frame: how the result comes back to the picture's size.
        mask: where the picture may change (white); None: everywhere.
    """

    frame: Frame
    mask: Image.Image | None

    def picture(self, x_0: NDArray[np.float32], source: Image.Image) -> Image.Image:
        """What the lanes made of `source`, as a picture in which what was to be kept is kept.

        Raises:
            DefectError: the model gave values that are not finite.
        """
        result = self.frame.from_model(x_0)
        return result if self.mask is None else self.frame.keep(result, source, self.mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One planned copy of a picture.

    Attributes:
        edit: what goes into the lanes.
        finish: what becomes of what comes out.
        sample_id: see the function of this name.
        copy: which copy.
        strength: in (0, 1].
        log_snr: at the time the copy starts from, in nats.
        prompt: what the model is told; None without a prompt.
    """

    edit: Edit
    finish: Finish
    sample_id: str
    copy: int
    strength: float
    log_snr: float
    prompt: str | None


class Editor:
    """A recipe bound to a loaded model: it plans edits and turns results back into pictures.

    Raises:
        ConfigError: the recipe asks for what the model cannot do.
    """

    def __init__(self, recipe: Recipe, checkpoint: Checkpoint, execution: Execution) -> None:
        self.recipe = recipe
        self.execution = execution
        self.model = load_model(checkpoint, execution)
        self.recipe_digest = recipe.digest(checkpoint.digest, NOISE_VERSION)
        _refuse(recipe, self.model)

    def drafts(
        self,
        image: Image.Image,
        fields: SampleFields,
        copies: Iterable[int],
        mask: Image.Image | None = None,
    ) -> list[Draft]:
        """Plan the copies of one picture (see `codec.picture`).

        Args:
            image: mode L or RGB, upright.
            fields: of its sample, as far as they are there.
            copies: which copies; a loader's epochs move them.
            mask: of the picture's size, white where it may change; None: everywhere.

        Raises:
            DefectError: the picture cannot meet the model, or what is to condition it is missing.
        """
        label = self._label(fields)
        prompts = [(copy, self.recipe.prompt_of(copy, fields)) for copy in copies]
        frame = Frame.of(image, self.model.shape, self.recipe.fit, self.recipe.result)
        x_0, pixels = frame.to_model(image), pixel_sha256(image)
        changes = None if mask is None else frame.mask_to_model(mask).astype(np.bool_)
        drafts = [self._draft(x_0, frame, pixels, copy, label, prompt) for copy, prompt in prompts]
        if mask is None or changes is None:
            return drafts
        return [_masked(draft, mask, changes) for draft in drafts]

    def refused(self, fields: SampleFields, copies: Iterable[int]) -> dict[int, DefectError]:
        """Those of the copies whose prompt names what the sample does not have."""
        found = {}
        for copy in copies:
            try:
                self.recipe.prompt_of(copy, fields)
            except DefectError as defect:
                found[copy] = defect
        return found

    def lanes(self) -> Lanes[Any] | LatentLanes[Any]:
        """New lanes over the model, at the execution's batch size."""
        return self.model.lanes(self.execution.batch_size)

    def _label(self, fields: SampleFields) -> int | None:
        if self.recipe.condition == "none":
            return None
        label, classes = fields.get("label"), self.model.denoiser.classes
        if label is None:
            raise DefectError("no_label", "condition is label, and the sample has no integer class")
        if not 0 <= label < classes:
            raise DefectError(
                "unknown_label",
                f"class {label} is not one of the model's {classes} (0 to {classes - 1})",
            )
        return label

    def _draft(
        self,
        x_0: NDArray[np.float32],
        frame: Frame,
        pixels: str,
        copy: int,
        label: int | None,
        prompt: str | None,
    ) -> Draft:
        recipe, denoiser = self.recipe, self.model.denoiser
        random = SampleRandom(recipe.seed, pixels, copy)
        u = random.uniform() if recipe.draws_strength else 0.0
        strength = recipe.strength_of(copy, u)
        total = denoiser.schedule.num_train_timesteps
        times = timesteps(strength, recipe.steps, recipe.sampler, total)
        way = trajectory(recipe.sampler, denoiser.schedule, times, recipe.eta)
        edit = Edit(
            x_0=x_0,
            noise=random.noise(denoiser.shape, way.draws),
            trajectory=way,
            condition=self.model.condition(label, prompt),
        )
        return Draft(
            edit=self._guided(edit, total),
            finish=Finish(frame, None),
            sample_id=sample_id(self.recipe_digest, pixels, copy, label, prompt),
            copy=copy,
            strength=strength,
            log_snr=denoiser.schedule.log_snr(times[0]),
            prompt=prompt,
        )

    def _guided(self, edit: Edit, total: int) -> Edit:
        """The edit with its guidance: a scale for each call, or one that the network is given."""
        recipe, model = self.recipe, self.model
        if model.embed_guidance is not None:
            scale = model.embed_guidance(recipe.guidance)
            return replace(edit, condition=(*edit.condition, scale))
        if recipe.guidance == 1:
            return edit
        scales = [recipe.scale_of(time / (total - 1)) for time in edit.trajectory.timesteps]
        away = model.condition(None, recipe.negative_prompt)
        return replace(edit, away=away, scales=np.array(scales, dtype=np.float32))


def sample_id(
    recipe_digest: str,
    pixels: str,
    copy: int,
    label: int | None,
    prompt: str | None,
    mask: Image.Image | None = None,
) -> str:
    """What identifies an image that is made: all that decides its pixels but the machine.

    Args:
        recipe_digest: of recipe and weights, in hex.
        pixels: digest of the source's pixels, in hex.
        copy: which copy.
        label: the class that conditions it; None: none does.
        prompt: what the model is told; None without a prompt.
        mask: where the picture may change; None: everywhere.
    """
    identity = [recipe_digest, pixels, str(copy)]
    identity += [str(given) for given in (label, prompt) if given is not None]
    found = hashlib.sha256("|".join(identity).encode()).hexdigest()[:32]
    return found if mask is None else _of_mask(found, mask)


def _of_mask(unmasked: str, mask: Image.Image) -> str:
    return hashlib.sha256(f"{unmasked}|{pixel_sha256(mask)}".encode()).hexdigest()[:32]


def _masked(draft: Draft, mask: Image.Image, changes: NDArray[np.bool_]) -> Draft:
    """The draft of an image of which a part is kept: it is another one, with an id of its own."""
    return replace(
        draft,
        edit=replace(draft.edit, mask=changes),
        sample_id=_of_mask(draft.sample_id, mask),
        finish=replace(draft.finish, mask=mask),
    )


def _refuse(recipe: Recipe, model: Pretrained) -> None:
    """Refuse a recipe that asks for what the model cannot do."""
    name, denoiser = f"model {recipe.model}", model.denoiser
    if recipe.condition == "label" and not denoiser.classes:
        cure = "say it in a prompt" if model.prompts else "use condition=none"
        raise ConfigError(f"condition: {name} takes no class; {cure}")
    if model.prompts is None:
        for field in ("prompt", "negative_prompt", "lora", "embeddings"):
            if getattr(recipe, field):
                raise ConfigError(f"{field}: {name} is no text-to-image model; leave it out")
        denoiser.check_classes(recipe.condition == "label", recipe.guidance)
    if model.embed_guidance is not None:
        for field, default in (("negative_prompt", None), ("guidance_interval", "0.0:1.0")):
            if getattr(recipe, field) != default:
                raise ConfigError(
                    f"{field}: {name} takes guidance as an input, and leads away from nothing; "
                    "leave it out"
                )
    elif model.prompts and recipe.guidance != 1 and not (recipe.prompt or recipe.negative_prompt):
        raise ConfigError("guidance: there is no prompt to guide towards; give one, or guidance=1")
    if recipe.autoencoder and model.autoencoder is None:
        raise ConfigError(f"autoencoder: {name} has none to put another in the place of")
