"""`diffaug export`."""

from __future__ import annotations

from typing import Literal

from diffaug.cli.app import OK, app, out
from diffaug.cli.steps import advise

__all__ = ["export"]


@app.command
def export(output: str, *, format: Literal["croissant"] = "croissant") -> int:
    """Describe a finished output for catalogues and other loaders.

    Parameters
    ----------
    output
        folder or URL of a finished output
    format
        croissant: MLCommons Croissant metadata, OUTPUT/croissant.json, as mlcroissant loads it
    """
    from diffaug.output.croissant import export_croissant

    written = export_croissant(output)
    out.print(f"wrote {written}")
    out.print("add its licence and citation yourself: the fields license and citeAs")
    advise(f"next: mlcroissant.Dataset({written!r}) loads it, in Python")
    return OK
