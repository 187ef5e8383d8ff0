"""Shards: tars read as streams of samples, and written byte-stable."""

from diffaug.shards.stream import (
    MAX_BYTES,
    Member,
    Sample,
    ShardWriter,
    integer,
    read_member,
    read_samples,
    split_name,
)

__all__ = [
    "MAX_BYTES",
    "Member",
    "Sample",
    "ShardWriter",
    "integer",
    "read_member",
    "read_samples",
    "split_name",
]
