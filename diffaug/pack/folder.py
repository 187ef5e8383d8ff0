"""Folders of images, clips or texts: one folder for each class, or all without classes."""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Callable, Collection, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from diffaug import storage
from diffaug.errors import ConfigError
from diffaug.extensions import CLIPS, READ, TEXTS, is_picture
from diffaug.output.evaluation import PLAN_JSON
from diffaug.output.layout import RUN_JSON, SHARDS
from diffaug.pack.source import Listed, class_numbers, file_system, order, printable, renumbered
from diffaug.pack.splits import refuse_folders
from diffaug.shards.reading import listed

__all__ = ["FolderSource"]


class FolderSource:
    """The images at any depth below a folder's class folders, or those directly in the folder.

    In a folder without any image, what is said of images here holds of clips; without a clip,
    picture of another format or table, too, it holds of the texts in class folders.

    A class folder counts as a class even if it holds no image, so that two sources with the same
    folders number them the same way. Names that begin with a dot are skipped. Memory holds the
    names of the images.

    Attributes:
        tables: the Parquet files below the folder, by their paths relative to it.
        noun: what one of its files is called: a picture, as a clip is too, or a text.
    """

    def __init__(self, url: str, classes: tuple[str, ...] | None) -> None:
        """List `url`; `classes` gives the order of its class folders, sorted by default.

        An empty folder that `classes` lacks is no class.

        Raises:
            ConfigError: images lie both outside and inside class folders, `classes` lacks one that
                holds images, or the folders are the parts of a dataset, such as train and test.
        """
        self.url = url
        self._where = storage.public_url(url)
        self._fs, root = file_system(url)
        self._root = root.rstrip("/")
        outputs: list[str] = []
        files = _scan(self._fs, self._root, outputs)
        taken = _kind_of(files)
        self.noun = "text" if taken is _is_text else "picture"
        images = {folder: list(filter(taken, paths)) for folder, paths in files.items()}
        if self._root in outputs:
            raise ConfigError(
                f"{self._where} is an output of diffaug: its shards are packed already"
            )
        others = [path for path in chain(*files.values()) if not taken(path)]
        self.notes = _count_others(others)
        self.tables = list(filter(_is_table, others))
        self.notes += [f"left out {printable(path)}, an output of diffaug" for path in outputs]
        loose = images.pop("")
        self.classes: tuple[str, ...] | None = None
        self._images: list[tuple[str, int | None]] = [(path, None) for path in loose]
        if loose:
            self._refuse_classes(loose, [path for paths in images.values() for path in paths])
            if classes is not None:
                raise ConfigError(f"{self._where} has no class folders for --classes to name")
        elif any(images.values()) or not self.tables:
            if classes is None:
                refuse_folders(self._where, images)
            self._take_classes(images, classes)

    def __len__(self) -> int:
        return len(self._images)

    def pictures(self, shuffle: int | None) -> Iterator[Listed]:
        """Every image once, unless shuffled class by class and sorted by name."""
        for index in order(len(self), shuffle):
            path, label = self._images[index]
            load = partial(self._fs.cat_file, f"{self._root}/{path}")
            yield Listed(printable(path), load, _extension(path), label)

    @property
    def filled(self) -> list[str]:
        """The names of the class folders that hold an image."""
        labels = {label for _, label in self._images}
        return [name for number, name in enumerate(self.classes or ()) if number in labels]

    @property
    def paths(self) -> list[str]:
        """The images' paths below the folder, in the source's order."""
        return [path for path, _ in self._images]

    def only(self, paths: Collection[str]) -> FolderSource:
        """The same source with the images at these paths alone."""
        some = copy.copy(self)
        some._images = [image for image in self._images if image[0] in paths]
        return some

    def _take_classes(self, images: dict[str, list[str]], given: tuple[str, ...] | None) -> None:
        if given is not None:  # an empty folder has no picture to number
            images = {name: some for name, some in images.items() if some or name in given}
        numbers = class_numbers(images, given, self._where)
        self.classes = tuple(numbers)
        self.notes += [*renumbered(numbers), *_count_deep(images)]
        for name, number in numbers.items():
            if printable(name) != name:
                raise ConfigError(f"the class folder {printable(name)} is not UTF-8: rename it")
            self._images += [(path, number) for path in images.get(name, ())]
        empty = [name for name in self.classes if not images.get(name)]
        if empty:
            self.notes.append(f"classes without an image: {', '.join(empty)}")

    def _refuse_classes(self, loose: list[str], in_folders: list[str]) -> None:
        if in_folders:
            raise ConfigError(
                f"{self._where} holds images both outside class folders "
                f"({printable(loose[0])}) and in them ({printable(in_folders[0])}): move the "
                "former into a class folder, or pack the two separately"
            )


def _scan(fs: Any, root: str, outputs: list[str]) -> dict[str, list[str]]:
    """The files below each folder of `root`, by folder, and under "" those directly in `root`.

    All paths are relative to `root`. Outputs of diffaug are left out, and added to `outputs`.
    """
    found: dict[str, list[str]] = {"": []}
    entries = list(_entries(fs, root))
    if _is_output(entries):
        outputs.append(root)
        return found
    for path, is_folder in entries:
        name = posixpath.basename(path)
        if is_folder:
            below = list(_files(fs, path, outputs))
            if path not in outputs:
                found[name] = [file.removeprefix(f"{root}/") for file in below]
        else:
            found[""].append(name)
    return found


def _files(fs: Any, folder: str, outputs: list[str]) -> Iterator[str]:
    entries = list(_entries(fs, folder))
    if _is_output(entries):
        outputs.append(folder)
        return
    for path, is_folder in entries:
        if is_folder:
            yield from _files(fs, path, outputs)
        else:
            yield path


def _is_output(entries: list[tuple[str, bool]]) -> bool:
    """Whether a folder with these entries was written by a job or an evaluation."""
    names = {posixpath.basename(path) for path, _ in entries}
    return {RUN_JSON, SHARDS} <= names or PLAN_JSON in names


def _entries(fs: Any, folder: str) -> Iterator[tuple[str, bool]]:
    """The path of each file and folder in a folder, sorted, and whether it is a folder.

    Links are followed. What is neither file nor folder, such as a socket, is skipped.
    """
    for info in sorted(fs.ls(folder or "/", detail=True), key=lambda info: str(info["name"])):
        path, link = str(info["name"]).rstrip("/"), bool(info.get("islink"))
        if path == folder or posixpath.basename(path).startswith("."):
            continue
        if link and fs.isdir(path):
            _refuse_loop(Path(path))
            yield path, True
        elif link or info["type"] != "other":
            yield path, info["type"] == "directory"


def _refuse_loop(link: Path) -> None:
    if link.parent.resolve().is_relative_to(link.resolve()):
        raise ConfigError(f"{printable(str(link))} links to a folder that contains it: remove it")


def _is_image(path: str) -> bool:
    return _extension(path) in READ


def _is_clip(path: str) -> bool:
    return _extension(path) in CLIPS


def _is_text(path: str) -> bool:
    return "/" in path and _extension(path) in TEXTS


def _kind_of(files: dict[str, list[str]]) -> Callable[[str], bool]:
    """Which files are packed of those found: images, or of others one kind."""
    paths = list(chain(*files.values()))
    if any(map(_is_image, paths)):
        return _is_image
    others = any(_is_clip(path) or _is_table(path) or is_picture(path) for path in paths)
    return _is_text if any(map(_is_text, paths)) and not others else _is_clip


def _is_table(path: str) -> bool:
    """Whether a file is a part of a Parquet table; names that begin with _ are of its metadata."""
    return _extension(path) == "parquet" and not posixpath.basename(path).startswith("_")


def _extension(path: str) -> str:
    return posixpath.basename(path).rpartition(".")[2].lower()


def _count_others(paths: list[str]) -> list[str]:
    """A sentence on the files that are not packed; none if there are none."""
    if not paths:
        return []
    names = {f".{_extension(path)}" if "." in posixpath.basename(path) else path for path in paths}
    found = listed([printable(name) for name in sorted(names)])
    if len(paths) == 1:
        return [f"1 file does not have an image's extension: {found}"]
    return [f"{len(paths)} files do not have an image's extension: {found}"]


def _count_deep(images: dict[str, list[str]]) -> list[str]:
    """A sentence if every image lies in a folder of a class folder, and those are several."""
    paths = [path.split("/") for some in images.values() for path in some]
    below = {path[1] for path in paths if len(path) > 2}
    if len(below) < 2 or any(len(path) == 2 for path in paths):
        return []
    first = printable("/".join(paths[0][:2]))
    return [f"every image lies deeper than a class folder, as in {first}: are those the classes?"]
