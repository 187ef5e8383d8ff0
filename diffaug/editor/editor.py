"""A recipe bound to a model, whatever its medium: from a sample to edits for the lanes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch

from diffaug.diffusion.noise import NOISE_VERSION, SampleRandom
from diffaug.diffusion.steps import Steps
from diffaug.editor.draft import Draft, Source
from diffaug.errors import DefectError
from diffaug.execution import Execution
from diffaug.models import Checkpoint
from diffaug.pictures.medium import Medium, Value
from diffaug.recipe import Recipe
from diffaug.shards.reading import Label, Reading
from diffaug.shards.stream import Sample

__all__ = ["Editor"]


class Editor(ABC):
    """Plans the edits of a recipe on a loaded model; each draft can turn its result into a sample.

    Attributes:
        recipe: what is asked.
        reading: which members of a sample are read.
        medium: what kind of samples they are.
        execution: batch size, dtype and device.
        model: the loaded model, of the kind that the medium requires.
        recipe_digest: of recipe and weights, in hex.
    """

    medium: Medium[Value]
    model: Any

    def __init__(self, recipe: Recipe, checkpoint: Checkpoint, execution: Execution) -> None:
        self.recipe = recipe
        self.reading = Reading.of(recipe)
        self.execution = execution
        self.recipe_digest = recipe.digest(checkpoint.digest, NOISE_VERSION)

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the network runs."""

    @property
    @abstractmethod
    def classes(self) -> int:
        """How many classes can condition the model."""

    @abstractmethod
    def steps(self) -> Steps[Any, Any]:
        """New lanes over the model at the execution's batch size, whose results come in order."""

    @abstractmethod
    def _ready(self, source: Source) -> Any:
        """What the copies of a source share.

        Raises:
            DefectError: none of them can be made.
        """

    @abstractmethod
    def _draft(
        self, source: Source, ready: Any, copy: int, label: int | None, prompt: str | None
    ) -> Draft:
        """One copy of a source."""

    def read(self, sample: Sample) -> Source:
        """Decode a sample.

        Raises:
            DefectError: it has nothing that can be decoded.
        """
        reading = self.reading
        source = self.read_file(reading.image(sample).data, reading.label(sample), sample.key)
        return replace(source, sample=sample)

    def read_file(self, data: bytes, label: Label, key: str | None) -> Source:
        """Decode a sample's file.

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
        """Plan copies of a sample: for each, in order, what to do or why it cannot be done.

        Args:
            source: what was read.
            copies: which copies; a loader's epochs move them.
            towards: the class that each is edited towards; by default the sample's own.
        """
        copies = list(copies)
        try:
            if source.defect is not None:
                raise source.defect
            label = None if towards is not None else self._label(source.label.number)
            ready = self._ready(source)
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
                draft = self._draft(source, ready, copy, label, prompt)
                yield draft if towards is None else replace(draft, to_label=label)

    def _strength(self, random: SampleRandom) -> float:
        """How far a copy is taken."""
        u = random.uniform() if self.recipe.draws_strength else 0.0
        return self.recipe.strength_of(random.copy, u)

    def _label(self, label: int | None) -> int | None:
        """The class that conditions the model; None where none does."""
        if self.recipe.condition == "none":
            return None
        if label is None:
            raise DefectError("no_label", "condition is label, and the sample has no integer class")
        if not 0 <= label < self.classes:
            raise DefectError(
                "unknown_label",
                f"class {label} is not one of the model's {self.classes} (0 to {self.classes - 1})",
            )
        return label
