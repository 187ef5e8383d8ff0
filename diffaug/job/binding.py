"""A recorded recipe bound to the model, device and noise that carry it out.

A job's run.json and a manifest row both record what made an image. A `Binding` is that record
in one form; `editor` loads the model and refuses where it is not the recorded one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from diffaug.diffusion.noise import NOISE_VERSION
from diffaug.editor import Editor, editor_of
from diffaug.errors import ConfigError
from diffaug.execution import (
    CHANGES_CLIPS,
    CHANGES_PIXELS,
    CHANGES_TEXTS,
    Execution,
    device_class,
    versions,
)
from diffaug.judges import Panel, load_fluency_judge, load_panel
from diffaug.manifest.part import Row
from diffaug.media import medium_of
from diffaug.models import Checkpoint, at_revision, checkpoint_of
from diffaug.output.run import Run
from diffaug.recipe import Recipe

__all__ = ["Binding", "PartRecord", "different_judges", "panel_of"]


@dataclass(frozen=True, slots=True)
class Binding:
    """What makes an image: rows that share a binding can share the lanes.

    Attributes:
        recipe: the recorded recipe, its model pinned to the recorded revision.
        noise: version of the generator that draws the noise.
        model_digest: of the weights, in hex.
        recipe_digest: of recipe and weights, in hex.
        execution: batch size, dtype and device.
        record: where this is recorded, as an error names it: "run.json" or "the row".
    """

    recipe: Recipe
    noise: str
    model_digest: str
    recipe_digest: str
    execution: Execution
    record: str

    @classmethod
    def of_run(cls, run: Run) -> Binding:
        """The binding that a job's run.json records."""
        return cls(
            recipe=at_revision(run.recipe, run.model.revision),
            noise=run.noise,
            model_digest=run.model.digest,
            recipe_digest=run.recipe_digest,
            execution=run.execution,
            record="run.json",
        )

    @classmethod
    def of_row(cls, part: PartRecord, row: Row) -> Binding:
        """The binding that a manifest row and its part's metadata record.

        Its device is of the row's kind where this machine has one, else the CPU.

        Raises:
            ConfigError: the row's batch_size or dtype is not a valid one.
        """
        recipe = part.recipe.model_copy(update={"model": str(row["model"])})
        return cls(
            recipe=at_revision(recipe, row["model_revision"]),
            noise=part.noise,
            model_digest=str(row["model_digest"]),
            recipe_digest=str(row["recipe_digest"]),
            execution=Execution.like(str(row["device"]), row["batch_size"], str(row["dtype"])),
            record="the row",
        )

    def checkpoint(self) -> Checkpoint:
        """The model at the recorded revision, wherever the hub's branch has moved since.

        Raises:
            ConfigError: it cannot be found.
        """
        return checkpoint_of(self.recipe)

    def editor(self) -> Editor:
        """Load the model and bind the recipe to it; the last one stays loaded.

        Raises:
            ConfigError: the device is not here, or noise, weights or recipe are not as recorded.
        """
        self.execution.require_device()
        if self.noise != NOISE_VERSION:
            raise ConfigError(
                f"the noise of {self.record} was drawn by {self.noise}, and this diffaug draws by "
                f"{NOISE_VERSION}: use the version of diffaug that {self.record} names"
            )
        checkpoint = self.checkpoint()
        if checkpoint.digest != self.model_digest:
            raise ConfigError(
                f"the weights of {self.recipe.model} here are not those of {self.record}: their "
                f"digest is {checkpoint.digest[:8]}… here and {self.model_digest[:8]}… there"
            )
        editor = _editor(self.recipe, checkpoint, self.execution)
        if editor.recipe_digest != self.recipe_digest:
            raise ConfigError(
                f"recipe_digest of {self.record} is {self.recipe_digest[:8]}…, and the recipe "
                f"recorded next to it has the digest {editor.recipe_digest[:8]}…"
            )
        return editor


class PartRecord:
    """What a manifest part's metadata records of how its rows were made.

    Args:
        metadata: its `diffaug.*` metadata.
        where: what errors call its recipe.

    Attributes:
        recipe: of the job.
        noise: version of the generator that drew the noise.

    Raises:
        ConfigError: this diffaug cannot read the metadata.
    """

    def __init__(
        self, metadata: Mapping[str, Any], where: str = "the part's diffaug.recipe"
    ) -> None:
        try:
            self.recipe = Recipe.of(Recipe.recorded(metadata["recipe"]), where=where)
            self.noise = str(metadata["environment"]["noise"])
            self._versions = dict(metadata["environment"]["versions"])
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"the part's metadata is incomplete: {type(error).__name__}: {error}"
            ) from None

    def elsewhere(self, row: Row, execution: Execution) -> str:
        """How device class and versions here differ from the row's, in words; empty if equal."""
        here: dict[str, str] = versions(self.recipe.medium)
        device = device_class(execution.device)
        differ = []
        if row["device"] != device:
            differ.append(f"{row['device']} ({device} here)")
        of_medium = {"clip": CHANGES_CLIPS, "text": CHANGES_TEXTS}.get(str(self.recipe.medium), ())
        prompted = () if row["prompt"] is None else ("transformers",)
        for name in (*CHANGES_PIXELS, *of_medium, *prompted):
            of_part = self._versions.get(name)
            if of_part is None and f"{name}_version" not in row:
                continue  # 0.1.0 did not record it
            for said in sorted({str(row.get(f"{name}_version", of_part)), str(of_part)}):
                if said != here.get(name):
                    differ.append(f"{name} {said} ({here.get(name)} here)")
        return ", ".join(differ)


def panel_of(run: Run) -> Panel:
    """Load the judges of a job, which must be those it was planned with.

    Raises:
        ConfigError: one cannot be found, or is another one.
    """
    bound = Binding.of_run(run)
    medium, execution = medium_of(bound.recipe), bound.execution
    panel = load_panel(
        run.recipe.judges,
        execution,
        medium,
        lambda: load_fluency_judge(bound.recipe, bound.checkpoint(), execution),
    )
    if differ := different_judges(run, panel.digests):
        raise ConfigError(f"{', '.join(differ)}: a job ends with the judges it began with")
    return panel


def different_judges(run: Run, digests: Mapping[str, str]) -> list[str]:
    """Which judges are not those of the run, in words; `digests` are by their names."""
    return [
        f"the judge {judge} ({run.judges.get(name, 'none')[:8]} there, {digests[name][:8]} here)"
        for name, judge in zip(run.recipe.judge_names, run.recipe.judges, strict=True)
        if digests[name] != run.judges.get(name)
    ]


@lru_cache(maxsize=1)
def _editor(recipe: Recipe, checkpoint: Checkpoint, execution: Execution) -> Editor:
    return editor_of(recipe, checkpoint, execution)
