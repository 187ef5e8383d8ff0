"""Files on any fsspec URL: find them, read them, and publish them whole or not at all.

Every error of a remote store reaches the caller as an OSError, after retries (see `retry`).
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
from diffaug.storage.read import Fingerprint, WholeFile, open_read, open_whole, read_bytes, sha256
from diffaug.storage.scratch import leftovers, scratch
from diffaug.storage.write import create, publish, remove, replace, writing

__all__ = [
    "Fingerprint",
    "Stat",
    "WholeFile",
    "create",
    "exists",
    "expand",
    "forget_listings",
    "is_local",
    "join",
    "leftovers",
    "listing",
    "open_read",
    "open_whole",
    "public_url",
    "publish",
    "read_bytes",
    "remove",
    "replace",
    "scratch",
    "sha256",
    "stats",
    "writing",
]
