"""A recipe run in this process: images in, copies out, from the lanes or from a cache."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any, Generic, TypeVar

from PIL import Image

from diffaug.diffusion.edit import Edit
from diffaug.diffusion.noise import NOISE_VERSION, SampleRandom
from diffaug.editor import Draft, Editor, Finish, Source, editor_of, sample_id
from diffaug.errors import ConfigError, DefectError
from diffaug.execution import Execution
from diffaug.media import as_model_takes, medium_of, require_medium
from diffaug.models import checkpoint_of, with_suggestions
from diffaug.models.classes import Named, compare
from diffaug.online.cache import Cache
from diffaug.online.forms import form_of
from diffaug.online.images import to_pil
from diffaug.pictures.codec import picture
from diffaug.pictures.detail import LIFT
from diffaug.pictures.losses import warn
from diffaug.recipe import Recipe
from diffaug.shards.reading import Label

__all__ = ["Engine", "Given", "cache_key", "is_drawn", "naming"]

T = TypeVar("T")

_NAMED = 100
"""After how many images with a class and a text their names are compared with the model's."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Given(Generic[T]):
    """One image, clip or text, as the caller gave it.

    Attributes:
        tag: returned with each of its results.
        name: what errors call it.
        image: PIL or a tensor; of other media see `forms`.
        label: its class, which can condition the model.
        key: its webdataset key, which a prompt can name.
        mask: where it may change, PIL or a tensor; None means everywhere.
    """

    tag: T
    name: str
    image: Any
    label: Label = field(default_factory=Label)
    key: str | None = None
    mask: Any = None


@dataclass(frozen=True, slots=True)
class _Copy(Generic[T]):
    """A planned copy: either found in the cache, or with how to finish the lanes' result.

    It holds the given image until the result is there, and nothing that the lanes hold.
    """

    of: Given[T]
    number: int
    key: str
    found: Image.Image | None = None
    finish: Finish | None = None


class Engine:
    """A recipe bound to its model, which is loaded when it is first needed, if at all.

    Args:
        recipe: what to do to each image.
        execution: batch shape, dtype and device.
        cache: where results are kept; None to keep none.

    Attributes:
        recipe: with its medium decided, and its model's suggestions.
        form: in which callers have its samples.

    Raises:
        ConfigError: the recipe's model is not available here.
    """

    def __init__(self, recipe: Recipe, execution: Execution, cache: Cache | None = None) -> None:
        recipe.refuse_outside_jobs()
        self._checkpoint = checkpoint_of(recipe)
        recipe = as_model_takes(recipe, self._checkpoint)
        if recipe.medium in ("clip", "text") and cache is not None:
            raise ConfigError(f"medium={recipe.medium}: a cache takes images only: leave it out")
        require_medium(recipe)
        self.recipe = with_suggestions(recipe, self._checkpoint)
        self.form = form_of(self.recipe)
        self._execution = execution
        self._cache = cache
        self._named = Named() if recipe.condition == "label" else None

    def run(self, images: Iterable[Given[T]], copies: range) -> Iterator[tuple[T, int, Any]]:
        """Yield (tag, copy, result) for each copy of each image, in order, in the image's form.

        Raises:
            ConfigError: the recipe requires something that the model cannot do.
            DefectError: an image or its condition is unusable; the message names it.
        """
        return self.run_each((one, copies) for one in images)

    def run_each(
        self, images: Iterable[tuple[Given[T], Sequence[int]]]
    ) -> Iterator[tuple[T, int, Any]]:
        """Yield what `run` does, for images each with its copies."""
        planned = self._planned(images)
        for copy, edit in planned:
            if edit is not None:
                lanes = self._editor.steps()
                for one, x_0 in lanes.run(chain([(copy, edit)], planned)):
                    yield one.of.tag, one.number, self._result(one, x_0)
                return
            yield copy.of.tag, copy.number, self._result(copy, None)

    def one(self, image: Given[T], copy: int) -> Any:
        """One copy of one image; raises what `run` does."""
        ((_, _, result),) = self.run([image], range(copy, copy + 1))
        return result

    @cached_property
    def _editor(self) -> Editor:
        return editor_of(self.recipe, self._checkpoint, self._execution)

    @cached_property
    def recipe_digest(self) -> str:
        """Of recipe and weights, in hex."""
        return self.recipe.digest(self._checkpoint.digest, NOISE_VERSION)

    def _planned(
        self, images: Iterable[tuple[Given[T], Sequence[int]]]
    ) -> Iterator[tuple[_Copy[T], Edit | None]]:
        for one, copies in images:
            self._look_at_class(one.label)
            with naming(one.name):
                source = self._source(one)
                keys = {copy: self._key(source, copy) for copy in copies}
                cached = {copy: self._read(key) for copy, key in keys.items()}
                missing = [copy for copy in copies if cached[copy] is None]
                drafts = self._drafts(source, missing) if missing else {}
            for copy in copies:
                draft = drafts.pop(copy, None)
                finish, edit = (draft.finish, draft.edit) if draft else (None, None)
                yield _Copy(one, copy, keys[copy], cached[copy], finish), edit

    def _source(self, one: Given[T]) -> Source:
        mask = None if one.mask is None else picture(to_pil(one.mask, "masks")).stored
        found = self.form.decoded(one.image)
        return Source(
            image=found.shown,
            stored=found.stored,
            transparency=found.transparency_in(self.recipe.format),
            label=one.label,
            key=one.key,
            mask=mask,
        )

    def _look_at_class(self, label: Label) -> None:
        """Compare the classes of the first images with the model's, where their texts name them."""
        if self._named is None:
            return
        self._named.add(label)
        if self._named.samples == _NAMED:
            compared = compare(self._checkpoint.card, self._named.names)
            self._named = None
            if compared.differ:
                _log.warning(
                    "condition: classes of the samples have other names than those of model %s of "
                    "the same number: %s",
                    self.recipe.model,
                    compared,
                )

    def _drafts(self, source: Source, copies: list[int]) -> dict[int, Draft]:
        drafts = {}
        for copy, draft in zip(copies, self._editor.plan(source, copies), strict=True):
            if isinstance(draft, DefectError):
                raise draft
            if lost := draft.finish.losses():
                warn(lost, self.recipe, self._editor.model.shape)
            drafts[copy] = draft
        return drafts

    def _key(self, source: Source, copy: int) -> str:
        """The name of a copy's file in the cache."""
        if self._cache is None:
            return ""
        return cache_key(self.recipe, self.recipe_digest, source, copy, self._execution)

    def _read(self, key: str) -> Image.Image | None:
        return None if self._cache is None else self._cache.read(key)

    def _result(self, copy: _Copy[T], x_0: Any) -> Any:
        with naming(copy.of.name):
            result: Any = copy.found
            if copy.finish is not None:
                result = copy.finish.picture(x_0)
                if self._cache is not None:
                    self._cache.write(copy.key, result)
            return self.form.like(result, copy.of.image)


def is_drawn(image: Given[T], recipe: Recipe, copy: int, p: float) -> bool:
    """Whether to augment an image, drawn with probability p from its pixels and the copy."""
    if p in (0, 1):
        return p == 1
    with naming(image.name):
        pixels = medium_of(recipe).digest(form_of(recipe).decoded(image.image).stored)
    return SampleRandom(recipe.seed, pixels, copy).chance() < p


def cache_key(
    recipe: Recipe, recipe_digest: str, source: Source, copy: int, execution: Execution
) -> str:
    """The name of a copy's file in a cache, which is found without loading the model.

    Args:
        recipe: with its model's suggestions.
        recipe_digest: of recipe and weights, in hex.
        source: the picture or clip.
        copy: which copy.
        execution: where it is made.
    """
    label = source.label.number if recipe.condition == "label" else None
    prompt = recipe.prompt_of(copy, source.fields)
    pixels = medium_of(recipe).digest(source.stored)
    detail = LIFT if recipe.detail == "keep" else None  # whether it acts, the model decides
    identity = sample_id(recipe_digest, source, pixels, copy, label, prompt, detail)
    return Cache.key(identity, execution)


@contextmanager
def naming(name: str) -> Iterator[None]:
    """Prefix the image's name to an error about it."""
    try:
        yield
    except DefectError as defect:
        raise DefectError(defect.code, f"{name}: {defect.reason}") from None
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from None
