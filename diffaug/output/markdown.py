"""Names in Markdown: shown as they are, whatever characters they hold."""

from __future__ import annotations

import re

__all__ = ["code", "text"]

_MARKS = re.compile(r"[\\`*_\[\]<>|&~$]|:(?=[\w+-]+:)|^ *(?:[#+=-]|\d+(?=[.)]))")
"""What Markdown and its usual extensions read as markup in a line."""


def text(name: object) -> str:
    """A name within a sentence, a heading or a table's cell; its lines become one."""
    return _MARKS.sub(_escaped, _line(name))


def code(name: object) -> str:
    """A name as code, such as `s3://bucket/out`; its lines become one. Not for a table's cell."""
    line = _line(name)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    pad = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{pad}{line}{pad}{fence}"


def _line(name: object) -> str:
    return re.sub(r"[\r\n\v\f\x85\u2028\u2029]+", " ", str(name))


def _escaped(match: re.Match[str]) -> str:
    mark = match[0]
    if mark[-1].isdigit():  # 1. or 1) would begin a list
        return f"{mark}\\"
    return f"{mark[:-1]}\\{mark[-1]}"
