"""Sources and their augmentations in one file of text, as a contact sheet shows pictures."""

from __future__ import annotations

from pathlib import Path

from diffaug import storage
from diffaug.output.run import the_run
from diffaug.report.pictures import output_picture, source_picture
from diffaug.report.sheet import caption, named, stored_groups

__all__ = ["text_sheet"]


def text_sheet(output: str, path: Path, *, sources: int = 16) -> int:
    """Write texts below their sources, with class and strengths, into a file.

    Args:
        output: OUTPUT of a job of texts.
        path: the file to write.
        sources: maximum number of source texts, which are spread evenly over the shards.

    Returns:
        The number of sources shown; if 0, nothing is written.

    Raises:
        OSError: storage failed.
    """
    groups = stored_groups(output, sources)
    if not groups:
        return 0
    recipe, shown = the_run(output).recipe, []
    for rows in groups:
        lines = [_line(named(rows[0]), source_picture(rows[0], recipe).text)]
        lines += [_line(caption(row), output_picture(output, row, recipe).text) for row in rows]
        shown.append("".join(lines))
    path = storage.local_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(shown), encoding="utf-8")
    return len(groups)


def _line(what: str, text: str) -> str:
    """A text behind what it is; its further lines are indented."""
    further = "\n    ".join(text.splitlines())
    return f"{what}\n    {further}\n"
