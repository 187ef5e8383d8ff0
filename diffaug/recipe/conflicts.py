"""What fields of a recipe contradict each other, or do nothing beside each other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, get_args

from diffaug.diffusion.samplers import TextSamplerName
from diffaug.extensions import MADE_CLIPS
from diffaug.manifest.columns import PICTURE_SCORES
from diffaug.recipe.texts import TEXT_FIELDS

if TYPE_CHECKING:
    from diffaug.recipe.recipe import Recipe

__all__ = ["conflicts"]

_OF_TEXTS = get_args(TextSamplerName)

_OF_PICTURES = (
    *("eta", "to_class", "prompt", "negative_prompt", "guidance", "guidance_interval"),
    *("guidance_every", "lora", "lora_scale", "autoencoder", "embeddings", "mask_key", "result"),
    *("detail", "fit", "image_key", "background", "noise_time", "frames", "fps", "window"),
)
"""Fields that are nothing to texts."""

_JUDGES = {"images": ("phash", "label", "clip"), "texts": ("meaning", "fluency", "label")}
"""The judges that there are; those of images also judge clips, by one frame."""

_SCORES_OF_TEXTS = (
    "use score_edit, or score_meaning, score_fluency or score_label, which judges compute"
)

_COPY = re.compile(r"aug[0-9]+\..+")
"""The extensions of copies in the paired layout."""


def conflicts(recipe: Recipe) -> Iterator[str]:
    """Sentences that each name a field, what is wrong, and the cure; none if all is well."""
    for check in (_eta, _medium, _balance, _to_class, _keeping, _layout, _what_does_nothing):
        yield from check(recipe)


def _eta(recipe: Recipe) -> Iterator[str]:
    if recipe.eta and recipe.sampler != "ddim":
        yield f"eta belongs to the sampler ddim: leave it out for {recipe.sampler}"


def _medium(recipe: Recipe) -> Iterator[str]:
    of_clips = recipe.format in MADE_CLIPS
    if recipe.medium is not None:
        yield from _judges(recipe)
    if recipe.medium == "text":
        yield from _text(recipe)
        return
    if recipe.medium == "clip" and not of_clips and recipe.format != "auto":
        of = "texts" if recipe.format == "txt" else "images"
        yield f"format={recipe.format} is for {of}: clips are stored as mp4, apng or webm"
    for field in _given(recipe, TEXT_FIELDS) if recipe.medium is not None else ():
        yield f"{field} is for texts, and these are {recipe.medium}s: leave it out"
    if recipe.sampler in _OF_TEXTS and recipe.medium is not None:
        yield f"sampler={recipe.sampler} is for texts, and these are {recipe.medium}s"
    if recipe.medium != "image":
        return
    if of_clips or recipe.format == "txt":
        of = "clips" if of_clips else "texts"
        yield f"format={recipe.format} is for {of}: images are stored as png, jpg or webp"
    for field in ("noise_time", "frames", "fps", "window"):
        if getattr(recipe, field) is not None:
            yield f"{field} is for clips, and these are images: leave it out, or give medium=clip"


def _text(recipe: Recipe) -> Iterator[str]:
    if recipe.format not in ("auto", "txt"):
        yield f"format={recipe.format} is no format of texts: they are stored as txt"
    for field in _given(recipe, _OF_PICTURES):
        yield f"{field} does nothing to texts: leave it out"
    if "sampler" in recipe.model_fields_set and recipe.sampler not in _OF_TEXTS:
        yield (
            f"sampler={recipe.sampler} is for images: of texts it is random or confident: in which "
            "order hidden words come back"
        )
    if recipe.layout == "paired":
        yield "layout=paired is for images and clips: use layout=each"


def _judges(recipe: Recipe) -> Iterator[str]:
    """Judges and scores of another medium."""
    own, others = ("texts", "images") if recipe.medium == "text" else ("images", "texts")
    for name in recipe.judge_names:
        if name not in _JUDGES[own]:
            *some, last = _JUDGES[own]
            yield (
                f"judges: {name} is for {others}, and these are {recipe.medium}s: use "
                f"{', '.join(some)} or {last}"
            )
    foreign = {
        "image": {"score_flicker": "clips", "score_edit": "texts"},
        "clip": {"score_edit": "texts"},
        "text": dict.fromkeys(PICTURE_SCORES, "images") | {"score_flicker": "clips"},
    }[str(recipe.medium)]
    for score, of in foreign.items():
        if any(score in field for field in (*recipe.filters, recipe.keep_best_by or "")):
            cure = "leave it out" if recipe.medium != "text" else _SCORES_OF_TEXTS
            yield f"{score} is a score of {of}, and these are {recipe.medium}s: {cure}"


def _given(recipe: Recipe, fields: Iterable[str]) -> Iterator[str]:
    """Which of these fields the recipe sets to something."""
    for field in fields:
        if getattr(recipe, field) != type(recipe).model_fields[field].default:
            yield field


def _balance(recipe: Recipe) -> Iterator[str]:
    if recipe.balance == "none" and recipe.max_copies != 100:
        yield "max_copies does nothing without balance=classes: leave it out"
    if recipe.balance == "classes" and recipe.max_copies < recipe.copies:
        yield (
            f"max_copies is {recipe.max_copies}, and an image of the most frequent class has "
            f"{recipe.copies} copies: raise it, or lower copies"
        )
    if recipe.balance == "classes" and recipe.keep_best is not None:
        yield (
            "keep_best keeps as many copies of every source, which undoes balance=classes: "
            "leave one of them out"
        )


def _to_class(recipe: Recipe) -> Iterator[str]:
    if recipe.to_class == "own":
        return
    if recipe.condition != "label":
        yield "to_class requires condition=label: give both, or neither"
    if recipe.detail == "keep":
        yield (
            "to_class requires detail=none: a picture whose detail is kept still shows what it "
            "showed, and would be given another class"
        )
    if recipe.layout == "paired":
        yield (
            "to_class gives a copy another class than its source, and layout=paired stores "
            "both with one class: use layout=each"
        )
    if recipe.from_key in recipe.carry:
        yield (
            f"carry: {recipe.from_key} is where to_class stores the class of the source: rename "
            "the member"
        )


def _keeping(recipe: Recipe) -> Iterator[str]:
    if (recipe.keep_best is None) != (recipe.keep_best_by is None):
        yield "keep_best and keep_best_by require each other: give both or neither"
    if recipe.keep_best is not None and recipe.keep_best >= recipe.copies:
        yield (
            f"keep_best does nothing: {recipe.keep_best} of {recipe.copies} copies are all of "
            "them; raise copies or leave it out"
        )
    if not recipe.keep_rejects and not recipe.turns_away:
        yield "keep_rejects does nothing without filters or keep_best: leave it out"


def _layout(recipe: Recipe) -> Iterator[str]:
    if recipe.layout == "paired":
        for name in (*recipe.image_key, *recipe.carry, recipe.label_key):
            if _COPY.fullmatch(name):
                yield (
                    f"layout: the member {name} has a name that paired gives to copies: "
                    "rename it in the source, or use layout=each"
                )


def _what_does_nothing(recipe: Recipe) -> Iterator[str]:
    if set(recipe.image_key) == {recipe.mask_key}:
        yield f"mask_key: {recipe.mask_key} is the only member that image_key names"
    if recipe.guidance == 1:
        for field in ("negative_prompt", "guidance_interval", "guidance_every"):
            if getattr(recipe, field) != type(recipe).model_fields[field].default:
                yield f"{field} does nothing at guidance 1: raise it or leave it out"
    if recipe.lora is None and recipe.lora_scale != 1:
        yield "lora_scale does nothing without lora: leave it out"
