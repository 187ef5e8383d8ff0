"""Opening a source by the kind of its URL, and naming its dataset."""

from __future__ import annotations

import re

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.pack.folder import FolderSource
from diffaug.pack.idx import IdxSource
from diffaug.pack.source import PictureSource, base_name, file_system
from diffaug.pack.splits import refuse_files
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
    text_column: str | None = None,
) -> PictureSource:
    """Open the source to pack, reading everything except the images.

    Args:
        url: a folder of images; a .csv or .parquet table; a folder, glob or brace pattern of
            .parquet files that are one table; or an idx file of images; on any fsspec URL.
        classes: names of the classes, in order. By default folders and text labels get the names
            found, sorted (as numbers if all are whole numbers), and integer labels get none.
        labels: idx file of the labels; by default the file of the usual name next to the images.
        image_column: of a table; by default the first column with a usual name.
        label_column: likewise, but a table may have none; "" for no labels.
        text_column: of a table of texts, in place of `image_column`.

    Raises:
        ConfigError: the source does not exist, holds no image or is broken, or an argument does
            not apply to it.
    """
    _check_classes(classes)
    storage.refuse_nowhere(url, "SOURCE")
    if labels is not None:
        storage.refuse_nowhere(labels, "--labels")
    url = known_scheme(url)
    storage.forget_listings(url)
    folder, tables = _looked_up(url, classes)
    if labels is not None and (folder is not None or tables):
        raise ConfigError(f"--labels is for idx files, but {storage.public_url(url)} is not one")
    if not tables and (image_column, label_column, text_column) != (None, None, None):
        raise ConfigError(
            "--image-column, --text-column and --label-column are for .csv and .parquet tables, "
            f"but {storage.public_url(url)} is not one"
        )
    if None not in (image_column, text_column):
        raise ConfigError("--image-column, --text-column: a table is of one of the two")
    source: PictureSource
    if tables:
        source = TableSource(url, image_column, label_column, classes, tables, text_column)
    elif folder is not None:
        source = folder
    else:
        source = IdxSource(url, labels, classes)
    if not len(source):
        notes = "".join(f"; {note}" for note in source.notes)
        raise ConfigError(f"{storage.public_url(url)} holds no image{notes}")
    return source


def _looked_up(url: str, classes: tuple[str, ...] | None) -> tuple[FolderSource | None, list[str]]:
    """The folder of images that `url` is, or the files of the table that it is, or neither."""
    public, endings = storage.public_url(url), (".csv", ".parquet")
    fs, path = file_system(url)
    try:
        is_folder, exists = fs.isdir(path), fs.exists(path)
    except OSError as error:
        raise ConfigError(f"cannot look for {public}: {error}") from error
    if is_folder:
        folder = FolderSource(url, classes)
        if len(folder) or not folder.tables:
            return folder, []
        refuse_files(public, public, folder.tables)
        return None, [storage.join(url, path) for path in folder.tables]
    if exists:
        return None, [url] if url.lower().endswith(endings) else []
    if not any(letter in path for letter in "*?[{"):
        raise ConfigError(f"no such source: {public}")
    try:
        files = storage.expand([url])
    except ConfigError:
        raise ConfigError(f"no such source: {public}") from None
    if not all(file.lower().endswith(".parquet") for file in files):
        raise ConfigError(f"{public}: only .parquet files make one table: name another source")
    names = [storage.public_url(file).rpartition("/") for file in files]
    if len({folder for folder, _, _ in names}) == 1:
        refuse_files(public, names[0][0], [name for _, _, name in names])
    return None, files


def safe_name(url: str) -> str:
    """A dataset's name made from its source's: no extension, only letters, digits and ``._-``."""
    base = re.sub(r"(\.csv|\.parquet|\.gz)$", "", base_name(url), flags=re.IGNORECASE)
    return re.sub(r"[^\w.-]+", "-", base).strip("-._") or "dataset"


def _check_classes(classes: tuple[str, ...] | None) -> None:
    for name in classes or ():
        if not name:
            raise ConfigError("--classes contains an empty name: separate names by one comma")
        if (classes or ()).count(name) > 1:
            raise ConfigError(f"--classes names {name} twice: a class has one number")
