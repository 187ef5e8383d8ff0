"""The parts of a dataset, such as train and test: they are neither classes nor to be mixed."""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Collection, Mapping

from diffaug.errors import ConfigError
from diffaug.pack.source import class_order, printable

__all__ = ["refuse_files", "refuse_folders"]

_PART = "train|training|test|testing|val|valid|validation|dev|eval|evaluation|held[-_ ]?out|holdout"
_FOLDER = re.compile(rf"({_PART})([-_ ]?(set|split|data|images|[0-9]+))?", re.IGNORECASE)
_FILE = re.compile(rf"({_PART})(?![^\W_])", re.IGNORECASE)


def refuse_folders(where: str, images: Mapping[str, Collection[str]]) -> None:
    """Refuse a folder whose class folders are all parts of a dataset by their names.

    Args:
        where: the folder.
        images: the images below each class folder, by their paths relative to `where`; class
            folders without images do not matter.

    Raises:
        ConfigError: they are; the message gives the commands that pack them one by one.
    """
    parts = sorted(name for name, paths in images.items() if paths)
    if not parts or not all(map(_FOLDER.fullmatch, parts)):
        return
    classes = [
        {path.split("/")[1] for path in images[part] if path.count("/") > 1} for part in parts
    ]
    every = class_order(set[str]().union(*classes))
    differ = any(found != {*every} for found in classes)
    flag = ""
    if differ and not any("," in name for name in every):
        flag = f" --classes {shlex.quote(','.join(every))}"  # else each would number its own
    commands = [_command(f"{where.rstrip('/')}/{part}") + flag for part in parts]
    raise ConfigError(
        f"{where}: {', '.join(parts)} are parts of a dataset rather than classes: pack each of "
        f"them, with {' and '.join(commands)}; if they are the classes, pack it with "
        f"--classes {','.join(sorted(images))}"
    )


def refuse_files(where: str, folder: str, paths: Collection[str]) -> None:
    """Refuse a dataset of several files of which some belong to one part and some to another.

    Args:
        where: what the user named.
        folder: the URL of the folder that they are in.
        paths: of the files, relative to `folder`.

    Raises:
        ConfigError: they do; the message gives the commands that pack the parts one by one.
    """
    parts: dict[str, list[str]] = {}
    for path in paths:
        first, below, _ = path.partition("/")
        if below and _FOLDER.fullmatch(first):
            parts.setdefault(first, []).append(f"{first}/")
        elif found := _FILE.match(posixpath.basename(path)):
            parts.setdefault(found[1], []).append(path)
    if len(parts) < 2:
        return
    commands = []
    for files in parts.values():
        start = posixpath.commonprefix(files)
        several = "" if start.endswith(("/", ".parquet")) else "*.parquet"
        commands.append(_command(f"{folder.rstrip('/')}/{start.rstrip('/')}{several}"))
    raise ConfigError(
        f"{where} holds the parts {', '.join(sorted(parts))} of a dataset, which would be mixed: "
        f"pack each of them, with {' and '.join(commands)}"
    )


def _command(source: str) -> str:
    return f"diffaug pack {shlex.quote(printable(source))} OUTPUT"
