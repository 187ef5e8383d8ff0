"""What a hostile input is: bytes, a sentence for people, and what must become of it."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.support.hostile import END, Files, blocks, png

Outcome = tuple[str | None, str | None]
"""A sample's key (None: the shard itself), and its reason code (None: a right image)."""

FIRST: list[tuple[str, bytes]] = [("a.png", png(0)), ("a.cls", b"9")]
LAST: list[tuple[str, bytes]] = [("z.png", png(2)), ("z.cls", b"2")]


@dataclass(frozen=True)
class Case:
    """One hostile shard.

    Attributes:
        name: also the shard's.
        what: one line for people.
        make: its bytes.
        outcome: what must become of it, in order, the good neighbours `a` and `z` included.
        like: of the picture (see `hostile_images.PICTURES`) that its right images show.
        exact: whether the file loses nothing of that picture, so that its output has the very
            bytes that the picture's own output has.
        label: the class and the label text that its row must have.
        ending: of the shard's name.
        shard: the name of its file and the stem that it must have; by default those of `name`.
    """

    name: str
    what: str
    make: Callable[[], bytes]
    outcome: tuple[Outcome, ...]
    like: str = "grey"
    exact: bool = True
    label: tuple[int | None, str | None] | None = None
    ending: str = ".tar"
    shard: tuple[str, str] | None = None

    @cached_property
    def data(self) -> bytes:
        return self.make()

    @property
    def stem(self) -> str:
        return self.shard[1] if self.shard else self.name

    def write(self, folder: Path) -> Path:
        path = folder / (self.shard[0] if self.shard else f"{self.name}{self.ending}")
        path.write_bytes(self.data)
        return path


@dataclass
class Group:
    """Hostile inputs of one kind.

    Attributes:
        name: of its folder.
        title: for people.
        cases: by name.
        fields: of the recipe that they are augmented with.
    """

    name: str
    title: str
    cases: dict[str, Case] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)

    def shard(
        self, *outcome: Outcome, **more: Any
    ) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
        """Take a function that makes a whole shard; its first line of words says what it is."""

        def add(make: Callable[[], bytes]) -> Callable[[], bytes]:
            self.add(Case(make.__name__, _words(make), make, outcome, **more))
            return make

        return add

    def between(
        self, *outcome: Outcome, lost: bool = False, **more: Any
    ) -> Callable[[Callable[[], bytes | Files]], Callable[[], bytes | Files]]:
        """Take a function that makes what stands between two good samples.

        Args:
            outcome: of what stands between.
            lost: whether the sample after it is lost.
            more: other attributes of the Case.
        """

        def add(make: Callable[[], bytes | Files]) -> Callable[[], bytes | Files]:
            whole = (("a", None), *outcome, *(() if lost else (("z", None),)))
            self.add(Case(make.__name__, _words(make), lambda: between(make()), whole, **more))
            return make

        return add

    def add(self, case: Case) -> None:
        assert case.name not in self.cases, case.name
        self.cases[case.name] = case


def between(middle: bytes | Files) -> bytes:
    """A shard of two good samples and something between them: blocks of a tar, or files."""
    middle = middle if isinstance(middle, bytes) else blocks(middle)
    return blocks(FIRST) + middle + blocks(LAST) + END


def header(name: str, data: bytes = b"", **fields: Any) -> bytes:
    """The blocks of one member, with any field of its header said otherwise."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    for field_name, value in fields.items():
        setattr(info, field_name, value)
    start = info.tobuf(tarfile.PAX_FORMAT if info.pax_headers else tarfile.GNU_FORMAT)
    return start + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def files(names: Iterable[str]) -> Files:
    """Files of these names, of one good picture."""
    return [(name, png(1)) for name in names]


def _words(make: Callable[..., Any]) -> str:
    assert make.__doc__, make.__name__
    return make.__doc__.strip().splitlines()[0].rstrip(".")
