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
        images: of each class folder that has images, their paths relative to `where`.

    Raises:
        ConfigError: they are; the message gives the commands that pack them one by one.
    """
    if not all(map(_FOLDER.fullmatch, images)):
        return
    classes = {
        part: {path.split("/")[1] for path in paths if path.count("/") > 1}
        for part, paths in images.items()
    }
    every = class_order(set[str]().union(*classes.values()))
    same = all(found == set(every) for found in classes.values()) or any("," in n for n in every)
    flag = "" if same else f" --classes {shlex.quote(','.join(every))}"
    commands = [_command(f"{where.rstrip('/')}/{part}") + flag for part in sorted(images)]
    names = ",".join(sorted(images))
    raise ConfigError(
        f"{where}: {names} are the parts of a dataset rather than classes: pack each of them, with "
        f"{' and '.join(commands)}; if they are the classes, give --classes {names}"
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
