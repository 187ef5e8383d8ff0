"""The recipes that a server answers for: all of one model, which is loaded once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from diffaug.diffusion.edit import calls_of_both
from diffaug.diffusion.samplers import timesteps
from diffaug.editor import PictureEditor
from diffaug.errors import ConfigError, DiffaugError
from diffaug.execution import Execution
from diffaug.job.plan import run_of
from diffaug.judges import load_panel
from diffaug.media import as_model_takes, require_medium
from diffaug.models import checkpoint_of, with_suggestions
from diffaug.output.run import Run
from diffaug.recipe import Recipe
from diffaug.recipe.strength import highest

__all__ = ["Recipes", "Registered", "UnknownRecipeError"]


class UnknownRecipeError(DiffaugError, LookupError):
    """No recipe has the name or digest that was asked for, or several are there and none was.

    Attributes:
        was_named: whether one was asked for.
    """

    def __init__(self, message: str, *, was_named: bool) -> None:
        super().__init__(message)
        self.was_named = was_named


@dataclass(frozen=True, slots=True, eq=False)
class Registered:
    """A recipe bound to the model.

    Attributes:
        name: the stem of its file; `default` without one.
        run: everything frozen about it, as a job's run.json has it.
        editor: plans its copies.
        rows: network rows that a copy takes, or a frame of one, at the highest strength.
    """

    name: str
    run: Run
    editor: PictureEditor
    rows: int

    @property
    def digest(self) -> str:
        """The recipe's digest, in hex."""
        return self.run.recipe_digest


class Recipes:
    """Recipes by name and by digest.

    Args:
        recipes: by name, at least one.
        execution: batch size, dtype and device.

    Attributes:
        registered: in their order.

    Raises:
        ConfigError: the model is not there, a recipe asks for what it cannot do, or the recipes
            are of several models.
    """

    def __init__(self, recipes: Mapping[str, Recipe], execution: Execution) -> None:
        self.registered = tuple(
            _registered(name, recipe, execution) for name, recipe in recipes.items()
        )
        first = self.registered[0]
        for other in self.registered:
            if other.run.model.digest != first.run.model.digest:
                raise ConfigError(
                    f"recipe {other.name}: its model is {other.run.model.name}, and that of "
                    f"{first.name} is {first.run.model.name}: a server has one model; "
                    "start one for each"
                )
        digests = [one.digest for one in self.registered]
        for one in self.registered:
            if digests.count(one.digest) > 1:
                raise ConfigError(
                    f"recipe {one.name}: another one has the same digest, since they differ at "
                    "most in detail, or in which frames of a clip are taken: start a server for "
                    "each"
                )

    def find(self, asked: str | None) -> Registered:
        """The recipe of this name or digest; without either, the only one there is.

        Raises:
            UnknownRecipeError: see there.
        """
        names = ", ".join(one.name for one in self.registered)
        if asked is None:
            if len(self.registered) > 1:
                message = f"recipe: name one of {names}, or its digest"
                raise UnknownRecipeError(message, was_named=False)
            return self.registered[0]
        for one in self.registered:
            if asked in (one.name, one.digest):
                return one
        message = f"recipe: there is no {asked!r} here; there is {names}"
        raise UnknownRecipeError(message, was_named=True)


def _registered(name: str, recipe: Recipe, execution: Execution) -> Registered:
    recipe.refuse_outside_jobs()
    checkpoint = checkpoint_of(recipe)
    recipe = as_model_takes(recipe, checkpoint)
    if recipe.medium == "text":
        raise ConfigError("medium=text: texts are not served: run diffaug augment, or a loader")
    require_medium(recipe)
    recipe = with_suggestions(recipe, checkpoint)
    editor = PictureEditor(recipe, checkpoint, execution)
    if recipe.turns_away:  # the judges of shards are loaded here, so that they exist
        load_panel(recipe.judges, execution)
    return Registered(name, run_of(editor, checkpoint), editor, _rows(editor))


def _rows(editor: PictureEditor) -> int:
    """Network rows of a copy, or of its frame, at the highest strength (see `Edit.rows`)."""
    recipe, model = editor.recipe, editor.model
    total = model.denoiser.schedule.num_train_timesteps
    strength = highest(recipe.strength)
    times = timesteps(strength, recipe.steps, recipe.sampler, total, model.grid)
    has_own = model.embed_guidance is not None or model.folded is not None
    if recipe.guidance == 1 or has_own:
        return len(times)
    return len(times) + calls_of_both(*editor.guidance_at(times))
