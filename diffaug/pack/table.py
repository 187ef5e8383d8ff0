"""Tables of images, in a column of paths or bytes, or of texts; perhaps with one of labels."""

from __future__ import annotations

import math
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from diffaug import storage
from diffaug.errors import ConfigError, DefectError
from diffaug.extensions import TEXTS
from diffaug.pack.records import CsvRecords, ParquetRecords, Records
from diffaug.pack.source import (
    Listed,
    class_numbers,
    cover,
    file_system,
    order,
    renumbered,
)
from diffaug.shards import integer

__all__ = ["TableSource"]

_IMAGE_COLUMNS = ("image", "path", "file", "filename", "file_name")
_LABEL_COLUMNS = ("label", "class", "cls")
_POINT_ZERO = re.compile(r"\.0*$")


class TableSource:
    """A CSV or Parquet table with a column of images or texts and, optionally, one of labels.

    A Parquet table may consist of several files, read in the order of their names. Images are
    paths, absolute or relative to the table. In Parquet they may also be bytes, alone or in
    Hugging Face's struct (bytes, path). Integer labels are the classes; text labels name the
    classes, which are numbered in sorted order. In a CSV the labels are integers if all of them
    are. Opening the table reads it once from start to end. Memory holds its distinct labels, and
    the rows if they are shuffled.
    """

    def __init__(
        self,
        url: str,
        image_column: str | None,
        label_column: str | None,
        classes: tuple[str, ...] | None,
        files: Sequence[str],
        text_column: str | None = None,
    ) -> None:
        """Open `url`.

        Args:
            url: a file, or a folder or pattern of several.
            image_column: by default image, path, file, filename or file_name.
            label_column: by default label, class or cls; "" for no labels.
            classes: the names of integer labels, or the order of text labels.
            files: the URLs of the files that `url` stands for: one .csv, or .parquet files.
            text_column: holds texts, which are packed instead of images.

        Raises:
            ConfigError: the table is broken or has no such column, or `classes` does not cover its
                labels.
        """
        self.url = url
        self.notes: list[str] = []
        self._where = storage.public_url(url)
        self._fs, path = file_system(url)
        is_folder = self._fs.isdir(path)
        folders = [url.rstrip("/")] if is_folder else [posixpath.dirname(file) for file in files]
        shared = posixpath.commonprefix([folder.split("/") for folder in folders])
        self._folder = posixpath.dirname(path)
        if is_folder or len(files) > 1:
            self._folder = file_system("/".join(shared))[1]
        is_csv = files[0].lower().endswith(".csv")
        self._records: Records = (
            CsvRecords(files[0]) if is_csv else ParquetRecords(files, len(shared))
        )
        self._is_of_texts = text_column is not None
        self._image = (
            self._image_column(image_column)
            if text_column is None
            else self._text_column(text_column)
        )
        self._label = self._label_column(label_column)
        self._count = self._records.count()
        self._numbers: dict[str, int] | None = None
        self.classes = self._name_classes(classes)

    def __len__(self) -> int:
        return self._count

    def pictures(self, shuffle: int | None) -> Iterator[Listed]:
        """Every row's image once.

        Raises:
            ConfigError: `shuffle` is given, but the table holds the bytes of its images.
        """
        if shuffle is not None and self._records.kind(self._image) == "bytes":
            raise ConfigError(
                f"{self._where} holds the images themselves, which can only be read in its order: "
                "pack it without --shuffle, or shuffle the table"
            )
        return self._pictures(shuffle)

    def _pictures(self, shuffle: int | None) -> Iterator[Listed]:
        columns = [self._image] if self._label is None else [self._image, self._label]
        rows: Iterable[tuple[int, tuple[Any, ...]]] = enumerate(self._records.read(columns), 1)
        if shuffle is not None:
            table = list(rows)
            rows = (table[index] for index in order(len(table), shuffle))
        for number, values in rows:
            yield self._picture(number, *values)

    def _picture(self, number: int, image: Any, label: Any = None) -> Listed:
        data, path = _text_parts(image) if self._is_of_texts else _parts(image)
        name = f"row {number} ({storage.public_url(path)})" if path else f"row {number}"
        try:
            found = None if self._label is None else self._class(label)
            if data is None and not path:
                noun = "text" if self._is_of_texts else "image"
                raise DefectError(f"no_{noun}", f"its row has no {noun}")
        except DefectError as defect:
            return Listed(name, bytes, defect=defect)
        if data is not None:
            of_bytes = TEXTS[0] if self._is_of_texts else None
            return Listed(name, partial(bytes, data), of_bytes, found)
        named = posixpath.basename(path).rpartition(".")[2].lower()
        extension = None if named in TEXTS else named  # an image all the same
        return Listed(name, self._reader(path), extension, found)

    def _reader(self, path: str) -> Callable[[], bytes]:
        if "://" in path:
            return partial(storage.read_bytes, path)
        return partial(self._fs.cat_file, posixpath.join(self._folder, path.removeprefix("./")))

    def _class(self, label: Any) -> int:
        if _is_missing(label):
            raise DefectError("no_label", "its row has no label")
        number = self._numbers.get(label) if self._numbers is not None else _integer(label)
        if number is None or not 0 <= number < 2**63:
            raise DefectError("invalid_label", f"its label, {label}, is not a class from 0 on")
        return number

    def _image_column(self, asked: str | None) -> str:
        column = self._column(asked, _IMAGE_COLUMNS)
        if column is None:
            raise ConfigError(
                f"{self._where} has no column {', '.join(_IMAGE_COLUMNS)}: name the column of "
                f"images with --image-column; {self._columns}"
            )
        if self._records.kind(column) not in ("text", "bytes"):
            raise ConfigError(
                f"{self._where}: the column {column} holds neither paths nor images: name another "
                f"with --image-column; {self._columns}"
            )
        return column

    def _text_column(self, asked: str) -> str:
        column = str(self._column(asked, ()))
        if self._records.kind(column) != "text":
            raise ConfigError(
                f"{self._where}: the column {column} holds no texts: name another with "
                f"--text-column; {self._columns}"
            )
        return column

    def _label_column(self, asked: str | None) -> str | None:
        column = None if asked == "" else self._column(asked, _LABEL_COLUMNS)
        if column is not None and self._records.kind(column) not in ("integer", "text"):
            raise ConfigError(
                f"{self._where}: the column {column} holds neither integers nor text: name another "
                f"with --label-column; {self._columns}"
            )
        return column

    def _column(self, asked: str | None, usual: tuple[str, ...]) -> str | None:
        if asked is None:
            return next((name for name in usual if name in self._records.columns), None)
        if asked not in self._records.columns:
            raise ConfigError(f"{self._where} has no column {asked}: {self._columns}")
        return asked

    @property
    def _columns(self) -> str:
        return f"its columns are {', '.join(self._records.columns) or '(none)'}"

    def _name_classes(self, given: tuple[str, ...] | None) -> tuple[str, ...] | None:
        """The names of the classes; for text labels, also set the number of each."""
        if self._label is None:
            if given is not None:
                raise ConfigError(f"{self._where} has no labels for --classes to name")
            return None
        values = (value for (value,) in self._records.read([self._label]))
        labels = {value for value in values if not _is_missing(value)}
        integers = [number for number in map(_integer, labels) if number is not None]
        if self._records.kind(self._label) == "text" and (
            self._records.typed or len(integers) < len(labels)
        ):
            if integers and not self._records.typed:
                word = next(label for label in sorted(labels) if _integer(label) is None)
                self.notes.append(f"the labels are read as text, since {word} is not an integer")
            self._numbers = class_numbers(labels, given, self._where)
            self.notes += renumbered(self._numbers)
            return tuple(self._numbers)
        names = given or self._records.class_names(self._label)
        cover(names, max(integers, default=0), self._where)
        return names


def _parts(image: Any) -> tuple[bytes | None, str]:
    """An image's bytes, None if there are none, and its path, "" if there is none."""
    if isinstance(image, dict):
        return image["bytes"], image["path"] or ""
    return (image, "") if isinstance(image, bytes) else (None, image or "")


def _text_parts(text: str | None) -> tuple[bytes | None, str]:
    """A text's bytes, None if there is none, and no path."""
    return text.encode() if text else None, ""


def _is_missing(label: Any) -> bool:
    return label is None or label == "" or (isinstance(label, float) and math.isnan(label))


def _integer(label: Any) -> int | None:
    """The integer that a label is or spells out; None if it is not an integer."""
    if isinstance(label, str):
        return integer(_POINT_ZERO.sub("", label))  # pandas writes 1.0 where a label is missing
    return int(label) if label == label // 1 else None
