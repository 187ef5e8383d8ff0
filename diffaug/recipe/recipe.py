"""What to do to each image: the Recipe, frozen, validated, with a digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from diffaug.diffusion.samplers import SamplerName, TextSamplerName
from diffaug.errors import ConfigError
from diffaug.recipe.checks import check_interval, check_judges, names_of
from diffaug.recipe.conflicts import conflicts
from diffaug.recipe.fields import Names, as_list, as_name
from diffaug.recipe.filters import Bound, Filters, Ranking
from diffaug.recipe.prompts import Templates, prompt_of
from diffaug.recipe.strength import Strength, strength_of
from diffaug.recipe.texts import TEXT_FIELDS, TextFields

__all__ = ["CHANGES_IMAGES", "Recipe"]

CHANGES_IMAGES = {
    *("strength", "steps", "sampler", "eta", "seed", "condition", "fit", "format"),
    *("prompt", "negative_prompt", "guidance", "guidance_interval", "lora_scale"),
    *("mask_key", "result"),
}
"""The fields that the digest covers.

A field added after 0.1.0 enters the digest only if its value makes a difference to what 0.1.0
did, so that the digests of 0.1.0 stay valid.
"""

_FORMER_MODEL = "fashion-mnist-32"
"""The default model of 0.1.0."""


_CONTINUED = ("detail", "format")
"""Fields whose defaults changed after 0.1.0: what has begun goes on as it was."""

_DECIDED = ("medium", "noise_time")
"""Fields that are none until a job is planned: what has begun goes on as was decided then."""


def _scoring(info: ValidationInfo) -> tuple[str, ...]:
    """What adds scores: any medium may, until `conflicts` is asked of the one that it is."""
    return ("medium", "text", *names_of(info.data.get("judges", ())))


def _without_defaults(schema: dict[str, Any], recipe: type[Recipe]) -> None:
    """Drop the defaults of fields of which it matters whether the user set them: a form would send
    them as if."""
    for name in ("model", *recipe.suggested, *_CONTINUED):
        del schema["properties"][name]["default"]


class Recipe(TextFields):
    """What diffaug does to each image. Immutable; a wrong value raises, with a message.

    If strength, steps or sampler is not set, jobs and loaders take what the model's card suggests,
    and the default here only without a suggestion (see `models.with_suggestions`).

    Example:
        >>> Recipe(strength=0.4, copies=2).strength_of(copy=1, u=0.5)
        0.4
    """

    model_config = ConfigDict(json_schema_extra=_without_defaults)

    what: ClassVar[str] = "recipe"
    suggested: ClassVar[tuple[str, ...]] = ("strength", "steps", "sampler")

    model: str = Field(
        "cifar10-32",
        min_length=1,
        description="a shipped name, a local diffusers folder, or org/name[@revision] on the hub",
    )
    strength: Strength = Field(
        0.4,
        description="how far along the noising process, in (0, 1]: a number, "
        "a list cycled over copies (0.2,0.4), or a range drawn per copy (0.2:0.6)",
    )
    steps: int = Field(
        20,
        ge=1,
        le=1000,
        description="network calls of a whole trajectory; strength scales their number",
    )
    sampler: SamplerName | TextSamplerName = Field(
        "dpmsolver++",
        description="ddim, ddpm, dpmsolver++, lcm (for models distilled to few calls) or one-step; "
        "of texts random or confident: in which order hidden words come back",
    )
    eta: float = Field(
        0.0,
        ge=0,
        le=1,
        description="fresh noise in a step of ddim, from 0 (none) to 1 (as ddpm)",
    )
    copies: int = Field(1, ge=1, le=10_000, description="augmented images per source image")
    balance: Literal["none", "classes"] = Field(
        "none",
        description="classes: in a job, images of rarer classes have more copies, so that each "
        "class comes out about as often as the most frequent one; none: the same number of copies "
        "of every image",
    )
    max_copies: int = Field(
        100, ge=1, le=10_000, description="most copies of an image where classes are balanced"
    )
    seed: int = Field(0, ge=0, lt=2**63, description="the seed of all randomness")
    condition: Literal["none", "label"] = Field(
        "none", description="none, or label: the sample's class conditions the model"
    )
    to_class: Literal["own", "rarer"] | Annotated[int, Field(ge=0)] = Field(
        "own",
        description="in a job with condition=label and detail=none, the class that copies are "
        "edited towards and given: own, a class's number, or rarer, which is drawn anew for each "
        "copy of the classes with fewer images than its own, the rarer the likelier",
    )
    prompt: Templates = Field(
        (),
        description="the prompt for a text-to-image model: a template over {label}, {label_text} "
        "and {key}; several are cycled over copies",
    )
    negative_prompt: str | None = Field(
        None, description="the prompt that guidance leads away from; by default, no prompt"
    )
    guidance: float = Field(
        1.0, ge=0, le=100, description="classifier-free guidance scale; 1 turns guidance off"
    )
    guidance_interval: Annotated[str, BeforeValidator(check_interval)] = Field(
        "0.0:1.0", description="the times between which guidance acts, given as strengths: lo:hi"
    )
    guidance_every: int = Field(
        1,
        ge=1,
        le=1000,
        description="K: call the network without the condition only at the first of every K guided "
        "calls, and reuse the difference in between",
    )
    lora: str | None = Field(
        None,
        min_length=1,
        description="LoRA weights: a safetensors file, a folder, or org/name@revision",
    )
    lora_scale: float = Field(1.0, ge=-10, le=10, description="weight of the LoRA")
    autoencoder: str | None = Field(
        None,
        min_length=1,
        description="an autoencoder that replaces the model's, such as a tiny one: a folder or "
        "org/name@revision",
    )
    embeddings: Annotated[
        tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(as_list)
    ] = Field(
        (),
        description="files of textual inversions, whose tokens prompts can use",
    )
    mask_key: Annotated[str | None, BeforeValidator(as_name)] = Field(
        None,
        min_length=1,
        description="the member that marks what may change (white; the rest is kept), such as "
        "mask.png; a sample without it may change everywhere",
    )
    result: Literal["source", "model"] = Field(
        "source", description="the size of the result: the source's, or the model's"
    )
    detail: Literal["keep", "none"] = Field(
        "keep",
        description="keep: where the model is smaller than the picture or has other channels, only "
        "its change is carried to the picture; none: its result is enlarged",
    )
    format: Literal["auto", "png", "jpg", "webp", "mp4", "apng", "webm", "txt"] = Field(
        "auto",
        description="auto (jpg where the source is a JPEG, else png; of clips mp4), png, jpg "
        "(quality 95, 4:4:4) or webp (lossless); of clips mp4 (lossless), apng (lossless) or webm "
        "(not lossless); of texts txt",
    )
    carry: Names = Field((), description="members copied to the output unchanged (txt,json)")
    judges: Annotated[tuple[str, ...], BeforeValidator(check_judges)] = Field(
        (),
        description="what scores each image, besides SSIM and PSNR: phash, label=CLASSIFIER (a "
        "transformers folder or module:callable), clip=MODEL (a folder or org/name@revision); of "
        "texts, besides the edit distance, label=CLASSIFIER, meaning=ENCODER (a sentence encoder) "
        "and fluency",
    )
    filters: Annotated[tuple[str, ...], BeforeValidator(as_list)] = Field(
        (), description="bounds that an image's scores must pass, such as score_ssim >= 0.4"
    )
    keep_best: int | None = Field(
        None,
        ge=1,
        description="how many copies of a source are kept, of those that pass the filters",
    )
    keep_best_by: str | None = Field(
        None,
        description="the score that ranks copies: larger is better, or smaller with a leading -",
    )
    keep_rejects: bool = Field(
        True, description="whether images that filters reject are kept, in OUTPUT/rejects"
    )
    layout: Literal["each", "paired"] = Field(
        "each",
        description="each: every image is its own sample; paired: a source and its copies are one",
    )

    @field_validator("filters")
    @classmethod
    def _check_filters(cls, bounds: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return tuple(str(Bound.parse(bound, _scoring(info))) for bound in bounds)

    @field_validator("keep_best_by")
    @classmethod
    def _check_keep_best_by(cls, score: str | None, info: ValidationInfo) -> str | None:
        return None if score is None else str(Ranking.parse(score, _scoring(info)))

    @model_validator(mode="after")
    def _check_conflicts(self) -> Recipe:
        for conflict in conflicts(self):
            raise ValueError(conflict)
        return self

    def strength_of(self, copy: int, u: float) -> float:
        """The strength of one copy, in (0, 1].

        Args:
            copy: which copy, from 0; a list of strengths is cycled over it.
            u: the sample's own uniform draw in [0, 1): the position in a range.
        """
        return strength_of(self.strength, copy, u)

    def prompt_of(self, copy: int, fields: Mapping[str, Any]) -> str | None:
        """The prompt of one copy, None without one; see `prompts.prompt_of`."""
        return prompt_of(self.prompt, copy, fields)

    def scale_of(self, time: float) -> float:
        """The guidance scale at a time, given as a strength in [0, 1]."""
        low, high = (float(part) for part in self.guidance_interval.split(":"))
        return self.guidance if low <= time <= high else 1.0

    def continuing(self, begun: Recipe) -> Recipe:
        """This recipe with the detail, the format and the medium of one that has begun, and its
        model if that is a former default, where the user named none."""
        kept: dict[str, str] = {name: getattr(begun, name) for name in _CONTINUED}
        if begun.model == _FORMER_MODEL:
            kept["model"] = begun.model
        update: dict[str, Any] = {
            name: kept[name] for name in kept if name not in self.model_fields_set
        }
        update |= {name: getattr(begun, name) for name in _DECIDED if getattr(self, name) is None}
        if begun.medium is None and self.medium == "image":
            update["medium"] = None  # which is how jobs of images say it
        return self.model_copy(update=update)

    def format_for(self, jpeg: bool) -> str:
        """How a result is stored, as an extension; `jpeg` is whether its source is a JPEG."""
        if self.format == "auto" and self.medium == "clip":
            return "mp4"
        if self.format == "auto" and self.medium == "text":
            return "txt"
        if self.format == "auto":
            return "jpg" if jpeg else "png"
        return self.format

    @classmethod
    def recorded(cls, fields: Any) -> Any:
        """The fields of a recipe on record, with what 0.1.0 did where it recorded nothing."""
        then = {"model": _FORMER_MODEL, "detail": "none"}
        return then | fields if isinstance(fields, dict) else fields

    @property
    def judge_names(self) -> tuple[str, ...]:
        """The judges' names, without their references."""
        return names_of(self.judges)

    @property
    def adds_columns(self) -> tuple[str, ...]:
        """What of it adds columns to the manifest (see `manifest.columns.ADDED`)."""
        added = {
            "medium": self.medium == "clip",
            "text": self.medium == "text",
            "to_class": self.to_class != "own",
        }
        return (*(name for name, adds in added.items() if adds), *self.judge_names)

    @property
    def counts_classes(self) -> bool:
        """Whether a job counts the images of each class when it is planned."""
        return self.balance == "classes" or self.to_class == "rarer"

    def refuse_outside_jobs(self) -> None:
        """Refuse what only a job can do.

        Raises:
            ConfigError: the recipe asks for it; the text names the field.
        """
        if self.to_class != "own":
            raise ConfigError(
                "to_class gives copies a class of their own, which only a job does: run diffaug "
                "augment, or leave it out"
            )

    @property
    def from_key(self) -> str:
        """The member that holds the source's class next to a copy of another one."""
        return f"from.{self.label_key}"

    @property
    def turns_away(self) -> bool:
        """Whether an image can be filtered out."""
        return bool(self.filters) or self.keep_best is not None

    def filtering(self) -> Filters:
        """The filters of this recipe."""
        by = self.keep_best_by
        return Filters(
            bounds=tuple(Bound.parse(bound, self.adds_columns) for bound in self.filters),
            keep_best=self.keep_best,
            by=None if by is None else Ranking.parse(by, self.adds_columns),
        )

    @property
    def draws_strength(self) -> bool:
        """Whether each copy's strength is drawn from a range."""
        return isinstance(self.strength, str)

    def digest(self, model_digest: str, noise_version: str) -> str:
        """A sha256 in hex over everything that changes an image.

        `copies` is left out, so that raising it keeps the earlier images. So are the fields that
        only state how shards are read, or what happens to an image once it is made. The model
        enters by the digest of its weights, not by its name. The format `auto` counts as png; where
        it is jpg, `sample_id` is another.
        """
        fields = self.model_dump(mode="json", include=CHANGES_IMAGES)
        fields["format"] = self.format_for(jpeg=False)
        if self.medium == "clip":
            fields |= {"medium": "clip", "noise_time": self.noise_time}
        if self.medium == "text":
            fields["medium"] = "text"
            fields |= {name: getattr(self, name) for name in TEXT_FIELDS}
        for name in ("background", "guidance_every"):
            if (value := getattr(self, name)) != type(self).model_fields[name].default:
                fields[name] = value
        fields |= {"model_digest": model_digest, "noise": noise_version}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
