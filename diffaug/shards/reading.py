"""Which members of a sample are its image, mask, class and text: decided here for all readers."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from operator import index
from typing import Any, Protocol

from diffaug.errors import DefectError
from diffaug.extensions import CLIPS, is_picture, is_read
from diffaug.manifest.columns import LONGEST_TEXT
from diffaug.shards.stream import MOST_NAMES, Member, Sample, integer

__all__ = ["TEXT", "Label", "Reading", "label_of", "listed", "printable"]

TEXT = "txt"
"""The member that holds a sample's class or caption in words."""

_USUAL_LABEL = "cls"
"""The member that holds a class unless a recipe says otherwise: samples may be without it."""


class _Keys(Protocol):
    """Fields of a recipe that name members."""

    @property
    def sample_keys(self) -> tuple[str, ...]: ...
    @property
    def label_key(self) -> str: ...
    @property
    def mask_key(self) -> str | None: ...
    @property
    def carry(self) -> tuple[str, ...]: ...
    @property
    def medium(self) -> str | None: ...


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
        needs_label: whether a shard in which no sample has the class is reported by `missing`, even
            if the class has its usual name.
        text_key: the member that has the class or a caption in words; None: no member has.
    """

    image_keys: tuple[str, ...]
    label_key: str
    mask_key: str | None = None
    carry: tuple[str, ...] = ()
    needs_label: bool = False
    text_key: str | None = TEXT

    @classmethod
    def of(cls, recipe: _Keys) -> Reading:
        """The reading that a recipe's fields ask for; the mask's member is never the image."""
        images = tuple(key for key in recipe.sample_keys if key != recipe.mask_key)
        text = None if recipe.medium == "text" else TEXT  # of a text, only the class says its class
        return cls(images, recipe.label_key, recipe.mask_key, recipe.carry, text_key=text)

    def reads(self, extension: str) -> bool:
        """Whether members with this extension are read."""
        named = (*self.image_keys, *self.carry, self.label_key, self.mask_key, self.text_key)
        return extension in named

    def is_sample(self, names: Collection[str]) -> bool:
        """Whether members with these extensions are a sample, which a job owes a row.

        They are if one of them is an image, class, mask or carried, or a picture that none of the
        fields names. Otherwise they are a file that happens to lie in a tar, such as README.txt.
        """
        fields = {*self.image_keys, *self.carry, self.label_key, self.mask_key}
        return len(names) >= MOST_NAMES or any(name in fields or is_picture(name) for name in names)

    def missing(self, names: Collection[str]) -> Iterator[tuple[str, str, str]]:
        """The members that a field asks for and that none of a shard's samples has.

        Args:
            names: the extensions of all members of the shard.

        Yields:
            the field, what is missing, and what that means.
        """
        if self._image_key(names) is None:
            is_text = self.text_key is None
            field, what = ("text_key", "a text") if is_text else ("image_key", "an image")
            looked_for = listed(self.image_keys)
            yield field, f"{what} member (looked for {looked_for})", "none can be used"
        if self.mask_key is not None and self.mask_key not in names:
            meaning = "no part of its images is kept by a mask"
            yield "mask_key", f"the member {self.mask_key}", meaning
        is_told = self.needs_label or self.label_key != _USUAL_LABEL
        if is_told and self.label_key not in names:
            yield "label_key", f"the member {self.label_key}", "its images have no class"
        for name in self.carry:
            if name not in names:
                yield "carry", f"the member {name}", "nothing is carried under that name"

    def image_key(self, names: Collection[str]) -> str:
        """Which of these members is the image.

        Raises:
            DefectError: none of them is; the reason names what was found, and the cure.
        """
        if (key := self._image_key(names)) is not None:
            return key
        found = f": it has {listed(names)}{_cure(names)}" if names else ""
        code, what = ("no_text", "text") if self.text_key is None else ("no_image", "image")
        raise DefectError(
            code, f"the sample has no {what} member (looked for {listed(self.image_keys)}){found}"
        )

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
        member = self.image_member(sample)
        return member or sample.members[self.image_key(sample.names)]

    def mask(self, sample: Sample) -> Member | None:
        """The member that holds the mask."""
        return sample.members.get(self.mask_key or "")

    def label(self, sample: Sample) -> Label:
        """The sample's class."""
        found = (sample.members.get(key) for key in (self.label_key, self.text_key or ""))
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

    def _image_key(self, names: Collection[str]) -> str | None:
        return next((key for key in self.image_keys if key in names), None)


def listed(names: Collection[str]) -> str:
    """Names for people: the first few, and how many more there are."""
    few = islice(names, _SHOWN)
    shown = list(map(printable, few))
    if len(names) > _SHOWN:
        shown.append(f"{len(names) - _SHOWN} more")
    *first, last = shown
    return f"{', '.join(first)} and {last}" if first else last


def printable(name: str) -> str:
    """A name with a question mark for what cannot be printed."""
    return "".join(one if one.isprintable() else "?" for one in name)


_SHOWN = 5


def _cure(names: Collection[str]) -> str:
    """What to do about a sample whose pictures no field names; nothing if it has no picture."""
    if any(name in CLIPS for name in names):
        return ". If its clip is meant, give medium=clip (in a training, frames)"
    pictures = [name for name in names if is_picture(name)]
    read = [name for name in pictures if is_read(name)]
    if not pictures:
        return ""
    if not read:
        return f". The format of {listed(pictures[:1])} is not read: convert it to PNG or JPEG"
    if all("." in name for name in read):
        return (
            ". A key ends at the first dot of a file's name: rename the files so that theirs have "
            f"no further dot, or name a member in image_key ({listed(read[:1])})"
        )
    return ". If one of them is the image, name it in image_key"


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
