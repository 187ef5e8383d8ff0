"""A recipe bound to a model: from a sample to edits for the lanes, and from their results back."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from diffaug.clips.medium import medium_of
from diffaug.diffusion.edit import Edit
from diffaug.diffusion.frames import FrameByFrame, clip_noise, correlation_of
from diffaug.diffusion.guidance import reused_calls
from diffaug.diffusion.noise import NOISE_VERSION, SampleRandom
from diffaug.diffusion.samplers import timesteps, trajectory
from diffaug.diffusion.steps import Steps
from diffaug.errors import DefectError
from diffaug.execution import Execution
from diffaug.models import Checkpoint, load_model
from diffaug.models.unfit import refuse_unfit
from diffaug.pictures.colour import Transparency
from diffaug.pictures.fit import Loss
from diffaug.pictures.medium import IMAGE, Fitted, Value
from diffaug.recipe import Recipe
from diffaug.shards.reading import Label, Reading
from diffaug.shards.stream import Sample

__all__ = ["Draft", "Editor", "Finish", "Source", "sample_id"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Source:
    """A picture or clip that copies are made of, and the parts of its sample that matter.

    Attributes:
        image: what the model sees of it: mode L or RGB, upright (see `codec.picture`).
        stored: what its file stores, which identifies it; the same object unless a colour profile
            or transparency makes a difference.
        label: its class, which can condition the model.
        key: its webdataset key, which a prompt can name.
        transparency: how its copies are transparent; None: they are opaque.
        mask: of the picture's size, white where it may change; None: everywhere.
        jpeg: whether its file is a JPEG, which can decide how results are stored.
        sample: the members it was read from; None outside shards.
        defect: why nothing can be made of it, if that is known already.
    """

    image: Value
    stored: Value
    label: Label = field(default_factory=Label)
    key: str | None = None
    transparency: Transparency | None = None
    mask: Image.Image | None = None
    jpeg: bool = False
    sample: Sample | None = None
    defect: DefectError | None = None

    @property
    def fields(self) -> dict[str, int | str | None]:
        """What a prompt can name."""
        return {"label": self.label.number, "label_text": self.label.text, "key": self.key}


@dataclass(frozen=True, slots=True, eq=False)
class Finish:
    """How a lane's result becomes a picture again: what is kept of a Draft while its Edit runs.

    Attributes:
        source: the picture that was edited.
        fit: how the result returns to the picture's size.
    """

    source: Source
    fit: Fitted[Value]

    def picture(self, x_0: NDArray[np.float32]) -> Value:
        """The result as a picture; outside the mask it is the source, unchanged.

        Raises:
            DefectError: the model gave values that are not finite.
        """
        mask = self.source.mask
        result = self.fit.from_model(x_0, mask)
        return result if mask is None else self.fit.keep(result, self.source.image, mask)

    def losses(self) -> tuple[Loss, ...]:
        """What the result loses of the source, since its detail is not kept."""
        return self.fit.losses(self.source.image)

    def seen(self) -> Value:
        """The source as the result should be compared with it."""
        return self.fit.seen(self.source.image)

    def shown(self, picture: Value) -> Value:
        """The result as it should be compared with the source."""
        return self.fit.shown(picture)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """One planned copy of a picture.

    Attributes:
        edit: what goes into the lanes.
        finish: how what comes out becomes a picture.
        sample_id: see the function of this name.
        copy: which copy.
        strength: in (0, 1].
        log_snr: at the time the copy starts from, in nats.
        prompt: what the text encoders are given; None without a prompt.
        to_label: the class that it is edited towards and is given, if the recipe has one so.
    """

    edit: Edit
    finish: Finish
    sample_id: str
    copy: int
    strength: float
    log_snr: float
    prompt: str | None
    to_label: int | None = None


class Editor:
    """Plans the edits of a recipe on a loaded model; each draft can turn its result into a picture.

    Raises:
        ConfigError: the recipe asks for what the model cannot do.
    """

    def __init__(self, recipe: Recipe, checkpoint: Checkpoint, execution: Execution) -> None:
        self.recipe = recipe
        self.reading = Reading.of(recipe)
        self.medium = medium_of(recipe)
        self.execution = execution
        self.model = load_model(checkpoint, execution)
        self.recipe_digest = recipe.digest(checkpoint.digest, NOISE_VERSION)
        refuse_unfit(recipe, self.model)

    def read(self, sample: Sample) -> Source:
        """Decode a sample's picture and mask.

        A mask that cannot be used becomes the source's `defect`, so that the row still records the
        picture's size.

        Raises:
            DefectError: there is no picture that can be decoded.
        """
        reading = self.reading
        source = self.read_file(reading.image(sample).data, reading.label(sample), sample.key)
        source = replace(source, sample=sample)
        member = reading.mask(sample)
        if member is None:
            return source
        try:
            mask = self.medium.read_mask(member.data, self.recipe.max_pixels)
            return replace(source, mask=mask)
        except DefectError as defect:
            return replace(source, defect=defect)

    def read_file(self, data: bytes, label: Label, key: str | None) -> Source:
        """Decode a picture's file.

        Raises:
            DefectError: it cannot be decoded.
        """
        found = self.medium.read(data, self.recipe.max_pixels, self.recipe.background)
        return Source(
            image=found.shown,
            stored=found.stored,
            transparency=found.transparency_in(self.recipe.format),
            label=label,
            key=key,
            jpeg=found.jpeg,
        )

    def plan(
        self, source: Source, copies: Iterable[int], towards: Sequence[int | None] | None = None
    ) -> Iterator[Draft | DefectError]:
        """Plan copies of a picture: for each, in order, what to do or why it cannot be done.

        Args:
            source: the picture.
            copies: which copies; a loader's epochs move them.
            towards: the class that each is edited towards; by default the picture's own.
        """
        copies = list(copies)
        try:
            if source.defect is not None:
                raise source.defect
            label = None if towards is not None else self._label(source.label.number)
            recipe, shape = self.recipe, self.model.shape
            fit = self.medium.fit(
                source.image,
                shape,
                recipe.fit,
                recipe.result,
                recipe.detail,
                source.transparency,
            )
            self.medium.refuse_length(source.image, self._values_of_frame(), self.model.frames)
            x_0, pixels = fit.to_model(source.image), self.medium.digest(source.stored)
            if self.model.frames is not None:
                x_0 = x_0.reshape(-1, *x_0.shape[2:])
            mask = None
            if source.mask is not None:
                mask = fit.mask_to_model(source.mask).astype(np.bool_)
        except DefectError as defect:
            yield from (defect for _ in copies)
            return
        for place, copy in enumerate(copies):
            try:
                prompt = self.recipe.prompt_of(copy, source.fields)
                if towards is not None:
                    label = self._label(towards[place])
            except DefectError as defect:
                yield defect
            else:
                draft = self._draft(Finish(source, fit), x_0, mask, pixels, copy, label, prompt)
                yield draft if towards is None else replace(draft, to_label=label)

    def steps(self) -> Steps[Any]:
        """New lanes over the model at the execution's batch size, whose results come in order."""
        steps = self.model.steps(self.execution.batch_size)
        by_frame = self.recipe.medium == "clip" and self.model.frames is None
        return FrameByFrame(steps) if by_frame else steps

    def _label(self, label: int | None) -> int | None:
        """The class that conditions the model; None where none does."""
        if self.recipe.condition == "none":
            return None
        classes = self.model.denoiser.classes
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
        finish: Finish,
        x_0: NDArray[np.float32],
        mask: NDArray[np.bool_] | None,
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
        times = timesteps(strength, recipe.steps, recipe.sampler, total, self.model.grid)
        way = trajectory(recipe.sampler, denoiser.schedule, times, recipe.eta)
        whole = self.model.frames is not None
        frames = None if whole else self.medium.frames(finish.source.image)
        edit = Edit(
            x_0=x_0,
            noise=self._noise(random, way.draws, frames),
            trajectory=way,
            condition=self.model.condition(label, prompt),
            mask=mask,
            frames=frames,
        )
        source, detail = finish.source, finish.fit.detail
        lossy = recipe.format == "auto" and source.jpeg
        return Draft(
            edit=self._guided(edit),
            finish=finish,
            sample_id=sample_id(
                self.recipe_digest, source, pixels, copy, label, prompt, detail, lossy
            ),
            copy=copy,
            strength=strength,
            log_snr=denoiser.schedule.log_snr(times[0]),
            prompt=prompt,
        )

    def _values_of_frame(self) -> int:
        """How many values a clip's frame and its own noise have, at most."""
        recipe = self.recipe
        draws = recipe.steps if recipe.eta or recipe.sampler in ("ddpm", "lcm") else 0
        own = 0 if recipe.noise_time == "shared" else 1 + draws
        return math.prod(self.model.shape) * (1 + own)

    def _noise(self, random: SampleRandom, draws: int, frames: int | None) -> NDArray[np.float32]:
        shape = self.model.denoiser.shape
        if frames is None:
            return random.noise(shape, draws)
        correlation = correlation_of(str(self.recipe.noise_time))
        return clip_noise(random, shape, draws, frames, correlation)

    def _guided(self, edit: Edit) -> Edit:
        """The edit with its guidance: a scale for each call, or one that the network is given."""
        recipe, model = self.recipe, self.model
        if model.embed_guidance is not None:
            scale = model.embed_guidance(recipe.guidance)
            return replace(edit, condition=(*edit.condition, scale))
        if recipe.guidance == 1 or model.folded is not None:
            return edit
        away = model.condition(None, recipe.negative_prompt)
        scales, reused = self.guidance_at(edit.trajectory.timesteps)
        return replace(edit, away=away, scales=scales, reused=reused)

    def guidance_at(
        self, times: Sequence[int]
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_] | None]:
        """The guidance scale of calls at these times, and which of them reuse a difference."""
        last = self.model.denoiser.schedule.num_train_timesteps - 1
        scales = [self.recipe.scale_of(time / last) for time in times]
        return np.array(scales, np.float32), reused_calls(scales, self.recipe.guidance_every)


def sample_id(
    recipe_digest: str,
    source: Source,
    pixels: str,
    copy: int,
    label: int | None,
    prompt: str | None,
    detail: str | None,
    lossy: bool = False,
) -> str:
    """The identity of a copy: a hash of everything that decides its pixels, except the machine.

    Args:
        recipe_digest: of recipe and weights, in hex.
        source: the picture; where the model sees another one than is stored, that counts, and so
            do its mask and, where detail is kept, its transparency.
        pixels: digest of the source's stored pixels, in hex.
        copy: which copy.
        label: the class that conditions it; None: none does.
        prompt: what the text encoders are given; None without a prompt.
        detail: the version of what keeps the picture's detail; None: the model makes all of it.
        lossy: whether the format `auto` stores it as a JPEG.
    """
    identity = [recipe_digest, pixels, str(copy)]
    identity += [str(given) for given in (label, prompt) if given is not None]
    found = hashlib.sha256("|".join(identity).encode()).hexdigest()[:32]
    more = [] if source.image is source.stored else [f"shown {IMAGE.digest(source.image)}"]
    more += [] if detail is None else [f"detail {detail}"]
    if detail is not None and (kept := source.transparency) is not None:
        more += [f"transparent {IMAGE.digest(kept.of(kept.colours))}"]
    more += ["format jpg"] if lossy else []
    more += [] if source.mask is None else [IMAGE.digest(source.mask)]
    for other in more:
        found = hashlib.sha256(f"{found}|{other}".encode()).hexdigest()[:32]
    return found
