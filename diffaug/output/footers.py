"""The reports of a large output on this machine, kept so that no footer has to be read again.

A job of a hundred thousand shards reads as many footers when it is resumed, which takes most of its
start. So next to the parts lies a file with a line for each: its stem, the version of its file (see
`storage.versions`) and its report. A report counts only while the part is the same file. The lines
are a copy of what the parts say: without the file, or where it cannot be written, they are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffaug import storage
from diffaug.output.layout import Output

__all__ = ["MANY", "add_reports", "kept_lines", "report_in"]

MANY = 1000
"""Parts from which on their reports are kept."""


def kept_lines(output: str) -> dict[str, bytes]:
    """The line of each part whose report was kept, by its stem."""
    lines = {}
    with suppress(OSError), _file(output).open("rb") as stream:
        for line in stream:
            with suppress(ValueError):  # one that a killed process has not finished
                lines[str(json.loads(line[: line.index(b"\t")]))] = line
    return lines


def report_in(line: bytes, version: object) -> dict[str, Any] | None:
    """The report of a part in its line; None unless it is that of this version of its file."""
    with suppress(ValueError):
        _, of, report = map(json.loads, line.split(b"\t"))
        if of == version and isinstance(report, dict):
            return report
    return None


def add_reports(output: str, reports: Iterable[tuple[str, object, dict[str, Any]]]) -> None:
    """Keep reports of parts: the stem of each, the version of its file, and its report."""
    # each begins a line of its own, whatever a killed process left
    lines = ["\n" + "\t".join(map(json.dumps, parts)) for parts in reports]
    with suppress(OSError), _file(output).open("ab", buffering=0) as stream:
        stream.write("".join([*lines, "\n"]).encode())


def _file(output: str) -> Path:
    return storage.local_path(Output(output).manifest) / ".reports.jsonl"
