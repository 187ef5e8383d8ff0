"""A recipe bound to a model: from a sample to edits for the lanes, and from their results back."""

from diffaug.editor.draft import Draft, Finish, Source, sample_id
from diffaug.editor.editor import Editor
from diffaug.editor.pictures import PictureEditor
from diffaug.editor.texts import TextEditor
from diffaug.execution import Execution
from diffaug.models import Checkpoint
from diffaug.recipe import Recipe

__all__ = [
    "Draft",
    "Editor",
    "Finish",
    "PictureEditor",
    "Source",
    "TextEditor",
    "editor_of",
    "sample_id",
]


def editor_of(recipe: Recipe, checkpoint: Checkpoint, execution: Execution) -> Editor:
    """Bind a recipe to a model, as its medium requires.

    Args:
        recipe: with everything decided.
        checkpoint: its model.
        execution: batch size, dtype and device.

    Raises:
        ConfigError: the model cannot be loaded, or the recipe asks for what it cannot do.
    """
    kind = TextEditor if recipe.medium == "text" else PictureEditor
    return kind(recipe, checkpoint, execution)
