"""Doing shards again: the only thing that ever withdraws a manifest part.

A source that was cut short and is mended later no longer matches the rows made from it. Its part is
withdrawn, and the job then does the shard as one that is missing. Its tars become strays, which
`diffaug verify --clean` removes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence

from diffaug import storage
from diffaug.errors import ConfigError, UncommittedError
from diffaug.output.layout import Output
from diffaug.output.run import Run, SourceShard
from diffaug.output.survey import own_report

__all__ = ["shards_to_redo", "withdraw"]

_log = logging.getLogger(__name__)


def shards_to_redo(asked: Sequence[str], run: Run, output: str) -> tuple[SourceShard, ...]:
    """The planned shards to do again, each once; nothing is withdrawn yet.

    A shard that has not been done yet is named in the log and left out: it is still to do anyway.

    Args:
        asked: sources, in any form that names shards of the plan, or their stems.
        run: the plan.
        output: its OUTPUT.

    Raises:
        ConfigError: the plan has no such shard, its source is gone, or its part is another job's.
        OSError: storage failed.
    """
    if not asked:
        return ()
    stems = set(_stems(asked, run, output))
    chosen = (shard for shard in run.sources if shard.stem in stems)
    return tuple(shard for shard in chosen if _is_done(shard, output))


def withdraw(shards: Iterable[SourceShard], output: str) -> None:
    """Remove the manifest parts of shards, and what is true of a complete manifest alone.

    That is shards.txt, and the copy of the manifest in lineage/. Both go first, so that a process
    killed in between leaves no list or copy that contradicts the parts.

    Raises:
        OSError: storage failed.
    """
    layout = Output(output)
    for number, shard in enumerate(shards):
        if number == 0:
            storage.remove(layout.shards_txt)
            for name in layout.lineage_files():
                storage.remove(storage.join(layout.lineage, name))
        storage.remove(layout.part(shard.stem))


def _stems(asked: Sequence[str], run: Run, output: str) -> Iterator[str]:
    by_url = {shard.url: shard.stem for shard in run.sources}
    by_file = {storage.identity(url): stem for url, stem in by_url.items()}
    stems = set(by_url.values())
    for text in asked:
        if text in stems or text in by_url:
            yield text if text in stems else by_url[text]
            continue
        try:
            urls = storage.expand([text])
        except ConfigError:
            urls = []
        unknown = [url for url in urls if storage.identity(url) not in by_file]
        if unknown or not urls:
            raise ConfigError(
                f"redo {storage.public_url(unknown[0] if unknown else text)}: the plan of "
                f"{storage.public_url(output)} has no such shard: name a source as its run.json "
                "does, or its stem there"
            )
        yield from (by_file[storage.identity(url)] for url in urls)


def _is_done(shard: SourceShard, output: str) -> bool:
    try:
        own_report(output, shard)
    except FileNotFoundError:
        _log.warning("%s has not been done yet, so nothing is withdrawn", shard.stem)
        return False
    except UncommittedError:
        pass  # a broken part, which doing the shard again replaces
    if not storage.exists(shard.url):
        raise ConfigError(
            f"redo {shard.stem}: its source {shard.url} is gone, so it cannot be done again: what "
            "was made from it stays"
        )
    return True
