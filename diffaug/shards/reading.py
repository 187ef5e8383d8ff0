"""Which members of a sample are its image, mask, class and text: decided here for all readers."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass
from operator import index
from typing import Any, Protocol

from diffaug.errors import DefectError
from diffaug.manifest.columns import LONGEST_TEXT
from diffaug.shards.stream import Member, Sample, integer

__all__ = ["TEXT", "Label", "Reading", "label_of"]

TEXT = "txt"
"""The member that holds a sample's class or caption in words."""


class _Keys(Protocol):
    """Fields of a recipe that name members."""

    @property
    def image_key(self) -> tuple[str, ...]: ...
    @property
    def label_key(self) -> str: ...
    @property
    def mask_key(self) -> str | None: ...
    @property
    def carry(self) -> tuple[str, ...]: ...


@dataclass(frozen=True, slots=True)
class Label:
    """A sample's class.

    Attributes:
        number: the class; None if the label member is missing or is not an integer.
        text: the class or caption in words: a label member that is not an integer, else the text
            member; None if the sample has neither.
    """

    number: int | None = None
    text: str | None = None

    @property
    def value(self) -> int | str | None:
        """The number, else the text."""
        return self.text if self.number is None else self.number


@dataclass(frozen=True, slots=True)
class Reading:
    """Which members of a sample are read, and as what.

    Attributes:
        image_keys: members that hold the image, by preference.
        label_key: the member that holds the class.
        mask_key: the member that marks where the image may change; None for no mask.
        carry: members that are copied to the output.
    """

    image_keys: tuple[str, ...]
    label_key: str
    mask_key: str | None = None
    carry: tuple[str, ...] = ()

    @classmethod
    def of(cls, recipe: _Keys) -> Reading:
        """The reading that a recipe's fields ask for; the mask's member is never the image."""
        images = tuple(key for key in recipe.image_key if key != recipe.mask_key)
        return cls(images, recipe.label_key, recipe.mask_key, recipe.carry)

    def reads(self, extension: str) -> bool:
        """Whether members with this extension are read."""
        named = (*self.image_keys, *self.carry, self.label_key, self.mask_key, TEXT)
        return extension in named

    def image_key(self, members: Container[str]) -> str:
        """Which of these members is the image.

        Raises:
            DefectError: none of them is.
        """
        if (key := self._image_key(members)) is not None:
            return key
        known = ", ".join(self.image_keys)
        raise DefectError("no_image", f"the sample has no image member (looked for {known})")

    def image_member(self, sample: Sample) -> Member | None:
        """The member that holds the image, even of a sample with a defect; None without one."""
        key = self._image_key(sample.members)
        return None if key is None else sample.members[key]

    def image(self, sample: Sample) -> Member:
        """The member that holds the image.

        Raises:
            DefectError: there is none, or the sample is itself a defect.
        """
        if sample.defect is not None:
            raise sample.defect
        return sample.members[self.image_key(sample.members)]

    def mask(self, sample: Sample) -> Member | None:
        """The member that holds the mask."""
        return sample.members.get(self.mask_key or "")

    def label(self, sample: Sample) -> Label:
        """The sample's class."""
        found = (sample.members.get(key) for key in (self.label_key, TEXT))
        return label_of(*(member and member.data for member in found))

    def class_number(self, sample: Sample) -> int:
        """The sample's class as an integer.

        Raises:
            DefectError: the sample has no integer class.
        """
        number = self.label(sample).number
        if number is None:
            raise DefectError("no_label", f"the sample has no integer class in .{self.label_key}")
        return number

    def carried(self, sample: Sample) -> dict[str, Member]:
        """The members to copy next to each image made from the sample, by extension."""
        names = dict.fromkeys((self.label_key, *self.carry))
        return {name: sample.members[name] for name in names if name in sample.members}

    def _image_key(self, members: Container[str]) -> str | None:
        return next((key for key in self.image_keys if key in members), None)


def label_of(label: Any, text: Any = None) -> Label:
    """The class given by a label member and a text member.

    Args:
        label: bytes, a string, or an integer, which is how loaders decode it; None if missing.
        text: bytes or a string; None if missing.

    Raises:
        TypeError: the label is of another type.
    """
    words = None if text is None else _words(text)
    if label is None:
        return Label(None, words)
    if not isinstance(label, (bytes, str)):
        return Label(index(label), words)
    written = _words(label)
    number = integer(written)
    return Label(None, written) if number is None else Label(number, words)


def _words(value: Any) -> str:
    data = value if isinstance(value, bytes) else str(value).encode()
    return data[:LONGEST_TEXT].decode("utf-8", "replace").strip()
