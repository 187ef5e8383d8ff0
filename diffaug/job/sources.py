"""Which of the sources that a plan names are new to an OUTPUT."""

from __future__ import annotations

import contextlib
import logging
from collections import defaultdict
from collections.abc import Sequence

from diffaug import storage
from diffaug.output.run import SourceShard
from diffaug.output.survey import survey

__all__ = ["new_sources", "without_copies"]

_log = logging.getLogger(__name__)

_NAMED = 3
"""How many copies a message names."""


def new_sources(known: Sequence[SourceShard], urls: list[str]) -> list[str]:
    """The URLs that are no spelling of a known source, in order.

    Older plans may have recorded a source by any spelling, so their URLs are compared as files.
    """
    recorded = {shard.url for shard in known}
    unrecorded = [url for url in urls if url not in recorded]
    if not unrecorded:
        return []
    same = {storage.identity(url) for url in recorded}
    return [url for url in unrecorded if storage.identity(url) not in same]


def without_copies(known: Sequence[SourceShard], urls: list[str], output: str) -> list[str]:
    """The URLs without new ones that are copies of shards already done, which are logged.

    So a moved or copied folder of sources is not done again. A copy has the file name, the size and
    the digest of a committed source; only what agrees in name and size is read. Two equal shards
    that are new together, such as train/0.tar and test/0.tar, both stay: there each was named on
    purpose, and their rows differ.

    Raises:
        ConfigError: a committed part belongs to another source.
        UncommittedError: a committed part is broken.
        OSError: storage failed.
    """
    new = new_sources(known, urls)
    names = {_name(url) for url in new}
    alike = [shard for shard in known if _name(shard.url) in names]
    if not alike:
        return urls
    done: dict[tuple[str, int | None], dict[str, str]] = defaultdict(dict)
    for report in survey(alike, output).committed.values():
        done[_name(report.source), report.source_bytes][report.source_sha256] = report.source
    copies: dict[str, str] = {}
    possible = {name for name, _ in done}
    for url, stat in storage.stats(url for url in new if _name(url) in possible).items():
        if digests := done.get((_name(url), stat.size)):
            with contextlib.suppress(OSError):  # a shard that cannot be read fails in its turn
                if (digest := storage.sha256(url)) in digests:
                    copies[url] = digests[digest]
    if copies:
        _report(copies)
    return [url for url in urls if url not in copies]


def _report(copies: dict[str, str]) -> None:
    pairs = [f"{url} is {source}" for url, source in copies.items()]
    more = f", and {len(pairs) - _NAMED} more" if len(pairs) > _NAMED else ""
    _log.warning(
        "%d %s already done under another path: %s%s",
        *(len(pairs), "shard is" if len(pairs) == 1 else "shards are"),
        *(", ".join(pairs[:_NAMED]), more),
    )


def _name(url: str) -> str:
    return url.rpartition("/")[2]
