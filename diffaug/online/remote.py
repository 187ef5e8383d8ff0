"""`RemoteAugmenter`: an `Augmenter` whose images are made by servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from diffaug.online.client import IN_FLIGHT, PATIENCE, Remote
from diffaug.online.stage import Runs, StreamStage
from diffaug.recipe import Recipe

__all__ = ["RemoteAugmenter"]


class RemoteAugmenter(StreamStage):
    """Augments a stream of samples by `diffaug serve`, on this machine or on others.

    It stands in for `Augmenter`: the same samples in, the same copies out, in order, pixel for
    pixel what an `Augmenter` with the servers' batch size makes. This process loads no model. A
    picture travels as a file that loses nothing, and so does its copy, whatever format the recipe
    stores. With medium=clip, a clip's file travels as it is.

    Of several servers, each copy has its own first choice, so that their caches are hit; if that
    one does not answer, the next is asked. Before a server is used, and after it was away, it must
    serve this recipe with these weights, in the same batch shape, dtype, kind of device and
    versions as the others, and as those of earlier passes. An answer is compared with the digest in
    its row.

    It pickles without connections and may be used in forked and spawned workers.

    Args:
        urls: the address of a server, such as http://host:8321, or several. One with a user and
            password is shown without them.
        recipe: what to do to each image, or a dict of its fields; it may have no `mask_key`. If
            its model is shipped with diffaug or in a local folder, the servers' weights must be
            those; a model on the hub is compared by its name and commit.
        token: one of the servers' tokens; it is never shown.
        keep: whether to yield each sample itself too, before its copies.
        in_flight: requests under way at once, and samples read ahead at most.
        fallback: "local" to go on in this process, on its own device, for the rest of a pass in
            which no server answers; a warning says how the results' bytes could then differ.
        patience: seconds in which no server answers, after which a pass falls back or fails.

    Raises:
        ConfigError: an argument cannot be, or the extra `remote` is not installed.
    """

    def __init__(
        self,
        urls: str | Sequence[str],
        recipe: Recipe | Mapping[str, Any],
        token: str | None = None,
        *,
        keep: bool = False,
        in_flight: int = IN_FLIGHT,
        fallback: Literal["local"] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        recipe = Recipe.taken(recipe)
        where = Remote.of(urls, recipe, token, in_flight, patience, fallback)
        super().__init__(recipe, where, keep)
        self._kept: Runs | None = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_kept": None}

    def _engine(self) -> Runs:
        """The same for all passes: it knows what the servers were."""
        if self._kept is None:
            self._kept = super()._engine()
        return self._kept
