"""Planning a row's copy again from the bytes of its source, and finishing it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffaug.audit.verdicts import MismatchError, Replayed, judge
from diffaug.editor import Draft, Editor, Finish, PictureEditor
from diffaug.errors import DefectError
from diffaug.job.rows import draft_row
from diffaug.manifest.part import Row
from diffaug.shards.reading import Label

__all__ = ["DisagreeError", "plan_again", "rebuilt"]

_PREDICTED = ("sampler", "steps", "condition", "seed")


class DisagreeError(MismatchError):
    """The plan for this source is not the row's.

    Attributes:
        columns: those in which they differ.
    """

    def __init__(self, columns: list[str], remarks: str) -> None:
        names = ", ".join(columns)
        super().__init__(f"the row and its recipe disagree on {names} for this source{remarks}")
        self.columns = columns


def plan_again(
    row: Row, editor: Editor, picture: bytes, mask: bytes | None = None, elsewhere: str = ""
) -> Draft:
    """Plan a row's copy from its source.

    Args:
        row: the manifest row.
        editor: of its recipe and model.
        picture: the source's file.
        mask: the file of its mask; None if it has none.
        elsewhere: how the row's device class and versions differ from this machine's.

    Raises:
        DisagreeError: the plan is not the one that the row records.
        DefectError: the source or its class is unusable.
    """
    recipe = editor.recipe
    label = Label(row["label"], row["label_text"])
    source = editor.read_file(picture, label, row["source_key"])
    if mask is not None and isinstance(editor, PictureEditor):
        # whether it is still the same one shows in sample_id
        source = replace(source, mask=editor.medium.read_mask(mask, recipe.max_pixels))
    towards = None if recipe.to_class == "own" else [row["to_label"]]
    (draft,) = editor.plan(source, [row["copy"]], towards)
    if isinstance(draft, DefectError):
        raise draft
    made = {name: getattr(recipe, name) for name in _PREDICTED} | draft_row(draft)
    wrong = [name for name, value in made.items() if not _same(row[name], value)]
    if wrong:
        remarks = f" (it was made with {elsewhere})" if elsewhere else ""
        if "sample_id" in wrong and source.image is not source.stored:
            remarks += "; diffaug 0.1.0 did not apply its colour profile or transparency"
        raise DisagreeError(wrong, remarks)
    return draft


def rebuilt(
    row: Row,
    editor: Editor,
    finish: Finish,
    x_0: NDArray[np.float32],
    elsewhere: str,
    stored: Callable[[], bytes],
) -> Replayed:
    """Turn a lane's result into the row's image, and compare them.

    Args:
        row: the manifest row.
        editor: that planned it.
        finish: of its draft.
        x_0: what came out of the lanes.
        elsewhere: see `judge`.
        stored: see `judge`.
    """
    format = editor.recipe.format_for(finish.source.jpeg)
    try:
        image = finish.picture(x_0)
        data = editor.medium.write(image, format)
    except DefectError as defect:
        reason = f"it cannot be rebuilt: {defect.reason}"
        return Replayed(row=row, verdict="differs", reason=reason, elsewhere=elsewhere)
    return judge(row, image, data, format, elsewhere, stored, editor.medium)


def _same(recorded: Any, made: Any) -> bool:
    if isinstance(made, float) and isinstance(recorded, float):
        near = abs(recorded - made) <= 1e-9 * max(1.0, abs(made))  # last bits depend on the device
        return recorded == made or near  # the difference of two infinities is not a number
    return bool(recorded == made)
