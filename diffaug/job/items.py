"""What travels beside an edit through the lanes: a planned row and its source, or a shard's end."""

from __future__ import annotations

from dataclasses import dataclass, field

from PIL import Image

from diffaug.editor import Finish
from diffaug.manifest.part import Row
from diffaug.output.run import SourceShard
from diffaug.shards import Member
from diffaug.storage import Fingerprint

__all__ = ["Item", "Origin", "Planned", "ShardEnd"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Origin:
    """A source's sample: one object, which its copies share.

    Attributes:
        image: the decoded picture.
        extension: of the picture's member.
        picture: that member.
        carried: the members that go with each image, by extension.
    """

    image: Image.Image
    extension: str
    picture: Member
    carried: dict[str, Member] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """One row on its way: an image in the lanes, or (without a finish) a failure passing by."""

    shard: SourceShard
    row: Row
    finish: Finish | None = None
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, eq=False)
class ShardEnd:
    """After a shard's last row: what the shard is, or why it was not read to its end."""

    shard: SourceShard
    outcome: Fingerprint | OSError


Item = Planned | ShardEnd
