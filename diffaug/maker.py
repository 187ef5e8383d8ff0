"""What made a manifest row's image, and how like it this machine is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from diffaug.edit import Editor
from diffaug.errors import ConfigError
from diffaug.execution import CHANGES_PIXELS, Execution, device_class, versions
from diffaug.manifest import Row
from diffaug.models import Checkpoint, at_revision, checkpoint_of
from diffaug.recipe import Recipe
from diffaug.rng import NOISE_VERSION

__all__ = ["Maker", "PartMaker"]


@dataclass(frozen=True, slots=True)
class Maker:
    """What can make a row's image again; rows of one maker can share the lanes.

    Attributes:
        recipe: the part's, its model at the row's revision.
        noise: version of the generator that drew the noise.
        model_digest: of the weights, in hex.
        recipe_digest: of recipe and weights, in hex.
        execution: batch size and dtype of the row, on a device of its kind if there is one here.
    """

    recipe: Recipe
    noise: str
    model_digest: str
    recipe_digest: str
    execution: Execution

    def editor(self) -> Editor:
        """Load the model and bind the recipe to it; the last one stays loaded.

        Raises:
            ConfigError: noise, model or recipe are not here as they were.
        """
        if self.noise != NOISE_VERSION:
            raise ConfigError(
                f"its noise was drawn by {self.noise}, this diffaug draws by {NOISE_VERSION}: use "
                "the diffaug_version of the row"
            )
        checkpoint = checkpoint_of(self.recipe)
        if checkpoint.digest != self.model_digest:
            raise ConfigError(
                f"the weights of {self.recipe.model} here are not the row's: model_digest is "
                f"{checkpoint.digest[:8]}… here and {self.model_digest[:8]}… in the row"
            )
        editor = _editor(self.recipe, checkpoint, self.execution)
        if editor.recipe_digest != self.recipe_digest:
            raise ConfigError(
                f"the part's diffaug.recipe has the digest {editor.recipe_digest[:8]}… here and "
                f"recipe_digest is {self.recipe_digest[:8]}… in the row"
            )
        return editor


class PartMaker:
    """What a manifest part's metadata says of the making of its rows.

    Args:
        metadata: its `diffaug.*` metadata.

    Raises:
        ConfigError: the metadata is not such as this diffaug reads.
    """

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        try:
            self._recipe = Recipe.of(metadata["recipe"], where="the part's diffaug.recipe")
            self._noise = str(metadata["environment"]["noise"])
            self._versions = dict(metadata["environment"]["versions"])
        except (KeyError, TypeError) as error:
            raise ConfigError(
                f"the part's metadata says too little: {type(error).__name__}: {error}"
            ) from None

    def maker(self, row: Row) -> Maker:
        """What can make this row's image again.

        Raises:
            ConfigError: the row's batch_size or dtype is none.
        """
        import torch

        cuda = str(row["device"]).startswith("cuda") and torch.cuda.is_available()
        named = self._recipe.model_copy(update={"model": str(row["model"])})
        return Maker(
            recipe=at_revision(named, row["model_revision"]),
            noise=self._noise,
            model_digest=str(row["model_digest"]),
            recipe_digest=str(row["recipe_digest"]),
            execution=Execution.choose(
                row["batch_size"], str(row["dtype"]), "cuda" if cuda else "cpu"
            ),
        )

    def elsewhere(self, row: Row, execution: Execution) -> str:
        """What of device class and versions is not here as it was, in words; empty if nothing."""
        here: dict[str, str] = versions()
        device = device_class(execution.device)
        differ = []
        if row["device"] != device:
            differ.append(f"{row['device']} ({device} here)")
        prompted = () if row["prompt"] is None else ("transformers",)
        for name in (*CHANGES_PIXELS, *prompted):
            of_part = self._versions.get(name)
            for said in sorted({str(row.get(f"{name}_version", of_part)), str(of_part)}):
                if said != here.get(name):
                    differ.append(f"{name} {said} ({here.get(name)} here)")
        return ", ".join(differ)


@lru_cache(maxsize=1)
def _editor(recipe: Recipe, checkpoint: Checkpoint, execution: Execution) -> Editor:
    return Editor(recipe, checkpoint, execution)
