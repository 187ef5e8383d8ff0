"""The reports of a large output on this machine, kept so that no footer has to be read again.

A job of a hundred thousand shards reads as many footers when it is resumed, which takes most of its
start. So next to the parts lies a file with a line for each: its stem, what its report depends on
(this version of diffaug, and that of the file, see `storage.versions`), and its report. A report
counts only while neither is another. The lines are a copy of what the parts say: without the file,
or where it cannot be written, they are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from diffaug import storage
from diffaug.output.layout import Output
from diffaug.version import __version__

__all__ = ["add_report", "add_reports", "are_kept", "kept_lines", "report_in"]

MANY = 1000
"""Parts from which on their reports are kept."""


def are_kept(output: str, parts: int) -> bool:
    """Whether the reports of an output with so many parts are kept."""
    return parts >= MANY and storage.is_local(output)


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
        if of == [__version__, version] and isinstance(report, dict):
            return report
    return None


def add_report(output: str, stem: str, report: dict[str, Any]) -> None:
    """Keep the report of a part that has just been written."""
    with suppress(OSError):
        add_reports(output, [(stem, storage.version(Output(output).part(stem)), report)])


def add_reports(
    output: str, reports: Iterable[tuple[str, object, dict[str, Any]]], *, anew: bool = False
) -> None:
    """Keep reports of parts: the stem of each, the version of its file, and its report.

    Args:
        output: of the job.
        reports: in any order.
        anew: keep no other, since most lines are of former versions.
    """
    # each begins a line of its own, whatever a killed process left
    lines = [
        "\n" + "\t".join(map(json.dumps, (stem, [__version__, version], report)))
        for stem, version, report in reports
    ]
    with suppress(OSError), _file(output).open("wb" if anew else "ab", buffering=0) as stream:
        stream.write("".join([*lines, "\n"]).encode())


def _file(output: str) -> Path:
    return storage.local_path(Output(output).manifest) / ".reports.jsonl"
