"""Files on any fsspec URL: find them, read them, and publish them whole or not at all.

Whatever a remote store raises comes out as an OSError, after some patience (see `retry`).
"""

from diffaug.storage.find import (
    Stat,
    exists,
    expand,
    forget_listings,
    is_local,
    join,
    listing,
    public_url,
    stats,
)
from diffaug.storage.read import Fingerprint, Source, open_read, open_source, read_bytes, sha256
from diffaug.storage.scratch import leftovers, scratch
from diffaug.storage.write import create, publish, remove, replace

__all__ = [
    "Fingerprint",
    "Source",
    "Stat",
    "create",
    "exists",
    "expand",
    "forget_listings",
    "is_local",
    "join",
    "leftovers",
    "listing",
    "open_read",
    "open_source",
    "public_url",
    "publish",
    "read_bytes",
    "remove",
    "replace",
    "scratch",
    "sha256",
    "stats",
]
