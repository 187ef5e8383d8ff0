"""Files on any fsspec URL: find them, read them, and publish them whole or not at all.

Every error of a remote store reaches the caller as an OSError, after retries (see `retry`).
"""

from diffaug.storage.chain import is_chain
from diffaug.storage.find import (
    Found,
    Stat,
    exists,
    expand,
    find,
    forget_listings,
    is_folder,
    is_local,
    join,
    listing,
    public_url,
    stats,
)
from diffaug.storage.home import local_path
from diffaug.storage.names import identity, lies_in, refuse_nowhere, refuse_root, tidy
from diffaug.storage.read import (
    Fingerprint,
    WholeFile,
    open_read,
    open_whole,
    read_bytes,
    read_end,
    sha256,
    version,
    versions,
)
from diffaug.storage.scratch import leftovers, scratch
from diffaug.storage.space import free_bytes
from diffaug.storage.write import create, publish, remove, replace, writing

__all__ = [
    "Fingerprint",
    "Found",
    "Stat",
    "WholeFile",
    "create",
    "exists",
    "expand",
    "find",
    "forget_listings",
    "free_bytes",
    "identity",
    "is_chain",
    "is_folder",
    "is_local",
    "join",
    "leftovers",
    "lies_in",
    "listing",
    "local_path",
    "open_read",
    "open_whole",
    "public_url",
    "publish",
    "read_bytes",
    "read_end",
    "refuse_nowhere",
    "refuse_root",
    "remove",
    "replace",
    "scratch",
    "sha256",
    "stats",
    "tidy",
    "version",
    "versions",
    "writing",
]
