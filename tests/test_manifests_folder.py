"""The column dictionary that people read is the schema that rows are written against."""

from __future__ import annotations

import runpy
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "manifests"


def test_column_dictionary_is_current() -> None:
    script = runpy.run_path(str(FOLDER / "write_readme.py"))
    assert (FOLDER / "README.md").read_text(encoding="utf-8") == script["dictionary"]()
