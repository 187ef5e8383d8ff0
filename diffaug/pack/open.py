"""Opening a source by the kind of its URL, and naming its dataset."""

from __future__ import annotations

import re

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.pack.folder import FolderSource
from diffaug.pack.idx import IdxSource
from diffaug.pack.source import PictureSource, base_name, file_system
from diffaug.pack.table import TableSource
from diffaug.storage.names import known_scheme

__all__ = ["open_source", "safe_name"]


def open_source(
    url: str,
    *,
    classes: tuple[str, ...] | None = None,
    labels: str | None = None,
    image_column: str | None = None,
    label_column: str | None = None,
) -> PictureSource:
    """Open the source to pack, reading everything except the images.

    Args:
        url: a folder, a .csv or .parquet table, or an idx file of images; on any fsspec URL.
        classes: names of the classes, in order. By default folders and text labels get the names
            found, sorted, and integer labels get none.
        labels: idx file of the labels; by default the file of the usual name next to the images.
        image_column: of a table; by default the first column with a usual name.
        label_column: likewise, but a table may have none; "" for no labels.

    Raises:
        ConfigError: the source does not exist, holds no image or is broken, or an argument does
            not apply to it.
    """
    storage.refuse_nowhere(url, "SOURCE")
    if labels is not None:
        storage.refuse_nowhere(labels, "--labels")
    url = known_scheme(url)
    storage.forget_listings(url)
    is_folder = _is_folder(url)
    is_table = not is_folder and url.lower().endswith((".csv", ".parquet"))
    if labels is not None and (is_folder or is_table):
        raise ConfigError(f"--labels is for idx files, but {storage.public_url(url)} is not one")
    if not is_table and (image_column, label_column) != (None, None):
        raise ConfigError(
            "--image-column and --label-column are for .csv and .parquet tables, but "
            f"{storage.public_url(url)} is not one"
        )
    _check_classes(classes)
    source: PictureSource
    if is_folder:
        source = FolderSource(url, classes)
    elif is_table:
        source = TableSource(url, image_column, label_column, classes)
    else:
        source = IdxSource(url, labels, classes)
    if not len(source):
        notes = "".join(f"; {note}" for note in source.notes)
        raise ConfigError(f"{storage.public_url(url)} holds no image{notes}")
    return source


def safe_name(url: str) -> str:
    """A dataset's name made from its source's: no extension, only letters, digits and ``._-``."""
    base = re.sub(r"(\.csv|\.parquet|\.gz)$", "", base_name(url), flags=re.IGNORECASE)
    return re.sub(r"[^\w.-]+", "-", base).strip("-._") or "dataset"


def _is_folder(url: str) -> bool:
    fs, path = file_system(url)
    try:
        is_folder, exists = fs.isdir(path), fs.exists(path)
    except OSError as error:
        raise ConfigError(f"cannot look for {storage.public_url(url)}: {error}") from error
    if not exists:
        raise ConfigError(f"no such source: {storage.public_url(url)}")
    return bool(is_folder)


def _check_classes(classes: tuple[str, ...] | None) -> None:
    for name in classes or ():
        if not name:
            raise ConfigError("--classes contains an empty name: separate names by one comma")
        if (classes or ()).count(name) > 1:
            raise ConfigError(f"--classes names {name} twice: a class has one number")
