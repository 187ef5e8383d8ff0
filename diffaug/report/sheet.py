"""The contact sheet: sources and their augmentations in one PNG."""

from __future__ import annotations

import math
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from diffaug import storage
from diffaug.manifest.part import Row
from diffaug.media import picture_medium_of
from diffaug.output.layout import Output
from diffaug.output.run import the_run
from diffaug.recipe import Recipe
from diffaug.report.pictures import output_picture, source_picture
from diffaug.report.rows import Rows

__all__ = ["caption", "contact_sheet", "named", "stored_groups"]

_GAP = 10
_CAPTION = 16
_SMALLEST, _LARGEST = 140, 224
"""What the longest side of a picture is drawn at, in pixels."""

_INK, _PAPER, _FAINT, _REJECTED = "#1b1b1f", "#ffffff", "#6b6b76", "#b3261e"


def contact_sheet(output: str, path: Path, *, sources: int = 16, columns: int = 2) -> int:
    """Draw sources next to their augmentations, with class and strengths, into a PNG.

    The sources are spread evenly over the committed shards. Stored images that filters rejected are
    marked.

    Args:
        output: OUTPUT of a job.
        path: the PNG to write.
        sources: maximum number of source images.
        columns: number of them side by side.

    Returns:
        The number of sources shown; if 0, nothing is written. Texts are not drawn.

    Raises:
        OSError: storage failed.
    """
    groups = stored_groups(output, sources)
    if not groups or (recipe := the_run(output).recipe).medium == "text":
        return 0
    strips = [_strip(output, rows, recipe) for rows in groups]
    width, height = max(strip.width for strip in strips), max(strip.height for strip in strips)
    down = math.ceil(len(strips) / columns)
    sheet = Image.new(
        "RGB",
        (columns * (width + 2 * _GAP) + _GAP, down * (height + _GAP) + _GAP),
        _PAPER,
    )
    for place, strip in enumerate(strips):
        x, y = place // down, place % down
        sheet.paste(strip, (_GAP + x * (width + 2 * _GAP), _GAP + y * (height + _GAP)))
    path = storage.local_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet.save(path)
    return len(strips)


def stored_groups(output: str, sources: int) -> list[list[Row]]:
    """The stored rows of up to `sources` source images, copies in order."""
    if not Output(output).stems():
        return []
    rows = Rows(output)
    groups = rows.sources(sources)
    whole = rows.whole(place for group in groups for place in group)
    return [[whole[place] for place in group] for group in groups]


def _strip(output: str, rows: list[Row], recipe: Recipe) -> Image.Image:
    """One source and its copies, side by side, each with its caption."""
    first, source = rows[0], named(rows[0])
    still = picture_medium_of(recipe).still
    pictures = [(still(source_picture(first, recipe)), source, _INK)]
    pictures += [(still(output_picture(output, row, recipe)), *_captioned(row)) for row in rows]
    width, height = _shown_size(pictures[0][0].size)
    strip = Image.new("RGB", (len(pictures) * (width + _GAP), height + _CAPTION), _PAPER)
    draw, font = ImageDraw.Draw(strip), ImageFont.load_default(12)
    for place, (image, caption, colour) in enumerate(pictures):
        x = place * (width + _GAP)
        smooth = Image.Resampling.LANCZOS if image.width > width else Image.Resampling.NEAREST
        strip.paste(image.resize((width, height), smooth), (x, 0))
        draw.text((x, height + 1), caption, fill=colour, font=font)
    return strip


def _shown_size(size: tuple[int, int]) -> tuple[int, int]:
    """The size to draw pictures at: a small one a whole number of times enlarged."""
    longest = max(size)
    scale = _LARGEST / longest if longest > _LARGEST else max(1, _SMALLEST // longest)
    width, height = (max(1, round(side * scale)) for side in size)
    return width, height


def named(row: Row) -> str:
    """What to write beside a source: its class, if it has one."""
    label = row["label_text"] if row["label_text"] is not None else row["label"]
    return "source" if label is None else f"source: {label}"


def caption(row: Row) -> str:
    """What to write beside a copy."""
    kind = "filtered:" if row["status"] == "filtered" else "strength"
    return f"{kind} {row['strength']:.2f}"


def _captioned(row: Row) -> tuple[str, str]:
    return caption(row), _REJECTED if row["status"] == "filtered" else _FAINT
