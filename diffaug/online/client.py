"""A recipe carried out by servers: images in, copies out, in order, several under way at once."""

from __future__ import annotations

import logging
import os
import threading
import weakref
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

from diffaug.clips.medium import Clips
from diffaug.errors import ConfigError, DiffaugError, require_extra
from diffaug.execution import Execution
from diffaug.extensions import MEDIA_TYPES
from diffaug.media import require_medium
from diffaug.models import checkpoint_of
from diffaug.online.address import Address, addresses
from diffaug.online.clips import clip_like, pack_clip
from diffaug.online.crew import Crew
from diffaug.online.engine import Engine, Given, naming
from diffaug.online.images import like, to_pil
from diffaug.online.offer import Wanted, model_here
from diffaug.online.texts import refuse_served
from diffaug.online.wire import Packed, pack, unpack
from diffaug.recipe import Recipe
from diffaug.recipe.prompts import named_by

if TYPE_CHECKING:
    from diffaug.online.servers import Servers, UnansweredError

__all__ = ["IN_FLIGHT", "PATIENCE", "Remote", "RemoteEngine"]

T = TypeVar("T")

IN_FLIGHT = 64
"""Requests under way at once: two batches, so that a server's lanes stay full."""

PATIENCE = 600.0
"""Seconds without an answer."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remote:
    """On servers.

    Attributes:
        places: where they listen.
        token: who this client is; None where nobody asks.
        in_flight: requests under way at once.
        patience: seconds without an answer, after which a pass gives up.
        fallback: where to go on then: `local`; None: nowhere.
    """

    places: tuple[Address, ...]
    token: str | None = field(default=None, repr=False)
    in_flight: int = IN_FLIGHT
    patience: float = PATIENCE
    fallback: Literal["local"] | None = None

    @classmethod
    def of(
        cls,
        urls: str | Sequence[str],
        recipe: Recipe,
        token: str | None = None,
        in_flight: int = IN_FLIGHT,
        patience: float = PATIENCE,
        fallback: Literal["local"] | None = None,
    ) -> Remote:
        """What a caller gave, checked; see the attributes.

        Raises:
            ConfigError: something of it cannot be, or httpx is not installed.
        """
        require_extra("augmenting by a server", "remote", "httpx")
        refuse_served(recipe)
        require_medium(recipe)
        if recipe.mask_key is not None:
            raise ConfigError(
                "mask_key: a picture goes to a server alone, without its mask: leave it out, or "
                "use Augmenter"
            )
        places = addresses(urls)
        if token is not None:
            # the text is not shown
            if not isinstance(token, str) or not token.isascii() or not token.isprintable():
                raise ConfigError("token: it must be letters, digits and signs of ASCII")
            if not token or " " in token:
                raise ConfigError("token: it is empty, or there is a blank in it")
            if any(place.login for place in places):
                raise ConfigError(
                    "token: one of the urls has a user and password too, and a request can carry "
                    "only one of the two: leave one out"
                )
        if not isinstance(in_flight, int) or in_flight < 1:
            raise ConfigError(f"in_flight must be a whole number, 1 or more, got {in_flight!r}")
        if not isinstance(patience, (int, float)) or not patience >= 0:
            raise ConfigError(f"patience must be 0 or more seconds, got {patience!r}")
        if fallback not in (None, "local"):
            raise ConfigError(f"fallback must be 'local' or None, got {fallback!r}")
        return cls(
            places=places,
            token=token,
            in_flight=in_flight,
            patience=patience,
            fallback=fallback,
        )

    def engine(self, recipe: Recipe) -> RemoteEngine:
        """See `Where`."""
        return RemoteEngine(recipe, self)


class _Picture(Generic[T]):
    """An image on its way: converted once, for all its copies, by the first thread to need it."""

    def __init__(self, given: Given[T], recipe: Recipe) -> None:
        self.given, self._recipe = given, recipe
        self._packed: Packed | None = None
        self._lock = threading.Lock()

    def packed(self) -> Packed:
        with self._lock:
            if self._packed is None:
                self._packed = self._pack()
            return self._packed

    @property
    def accept(self) -> str:
        """The media type of the answer."""
        return MEDIA_TYPES["png"]

    def like(self, answer: bytes) -> Any:
        """The copy in an answer, in the form of what was given."""
        return like(unpack(answer), self.given.image)

    def _pack(self) -> Packed:
        return pack(to_pil(self.given.image), self._recipe.background)


class _Clip(_Picture[T]):
    """A clip on its way: the copy of a file is a file as the recipe stores it."""

    @property
    def accept(self) -> str:
        """See `_Picture`."""
        return MEDIA_TYPES[self._recipe.format_for(jpeg=False) if self._is_file else "apng"]

    def like(self, answer: bytes) -> Any:
        """See `_Picture`."""
        if self._is_file:
            return answer
        clip = Clips.of(self._recipe).read_back(answer, self._recipe.max_pixels)
        return clip_like(clip, self.given.image, self._recipe)

    def _pack(self) -> Packed:
        return pack_clip(self.given.image, self._recipe)

    @property
    def _is_file(self) -> bool:
        return isinstance(self.given.image, (bytes, bytearray))


class _GivenUpError(DiffaugError):
    """No server answered a request of this pass; its source may have servers of its own."""

    def __init__(self, error: UnansweredError) -> None:
        super().__init__(str(error))
        self.error = error


class RemoteEngine:
    """A recipe and the servers that carry it out.

    Args:
        recipe: what to do to each image.
        remote: who does it.

    Attributes:
        recipe: what to do to each image.
    """

    def __init__(self, recipe: Recipe, remote: Remote) -> None:
        self.recipe, self._remote = recipe, remote
        self._sent = named_by(recipe.prompt)
        if recipe.condition == "label":
            self._sent.add("label")
        self._kept: dict[int, Servers] = {}
        self._agreed: dict[int, Wanted] = {}

    def run(self, images: Iterable[Given[T]], copies: range) -> Iterator[tuple[T, int, Any]]:
        """Yield (tag, copy, result) for each copy of each image, in order, in the image's form.

        It reads ahead as many images as there are requests under way, at most. Closing it ends
        those requests and their threads.

        Raises:
            ConfigError: the servers do not make what the recipe says.
            DefectError: an image or its condition is unusable; the message names it.
            UnansweredError: no server answered for too long, and there is no fallback.
        """
        pictures = (self._on_its_way(one) for one in images)
        asked = ((picture, copy) for picture in pictures for copy in copies)
        under_way: deque[tuple[_Picture[T], int, Future[Any]]] = deque()
        wanted = self._wanted()
        servers = self._servers(wanted)
        crew = Crew(self._remote.in_flight, "diffaug-remote", servers.stop)
        try:
            for picture, copy in asked:
                made = crew.submit(self._made, servers, picture, copy)
                under_way.append((picture, copy, made))
                if len(under_way) == self._remote.in_flight:
                    yield self._first(under_way)
            while under_way:
                yield self._first(under_way)
            return
        except _GivenUpError as given_up:
            if self._remote.fallback is None:
                raise given_up.error from None
            failure = str(given_up)
        finally:
            if crew.close():  # at an exit, modules may be gone before a generator is closed
                servers.close()
        left = ((picture, copy) for picture, copy, _ in under_way)
        yield from self._made_here(chain(left, asked), wanted, failure)

    def one(self, image: Given[T], copy: int) -> Any:
        """One copy of one image; the connections are kept for the next.

        Raises:
            ConfigError: see `run`.
            DefectError: see `run`.
            UnansweredError: see `run`.
        """
        process = os.getpid()  # whose connections no process forked from it may use
        if process not in self._kept:
            servers = self._servers(self._wanted())
            self._kept[process] = servers
            weakref.finalize(self, servers.close)
        return self._made(self._kept[process], self._on_its_way(image), copy)

    def _on_its_way(self, given: Given[T]) -> _Picture[T]:
        kind = _Clip if self.recipe.medium == "clip" else _Picture
        return kind(given, self.recipe)

    def _wanted(self) -> Wanted:
        """What the servers must agree on, in all passes of this process."""
        process = os.getpid()
        if process not in self._agreed:
            recipe = self.recipe
            checkpoint = checkpoint_of(recipe) if self._remote.fallback else model_here(recipe)
            self._agreed[process] = Wanted(recipe, checkpoint)
        return self._agreed[process]

    def _servers(self, wanted: Wanted) -> Servers:
        from diffaug.online.servers import Servers

        remote = self._remote
        return Servers(remote.places, remote.token, remote.patience, wanted)

    def _made(self, servers: Servers, picture: _Picture[T], copy: int) -> Any:
        from diffaug.online.server import Request

        given = picture.given
        with naming(given.name):
            packed = picture.packed()
            values = {"label": given.label.number, "label_text": given.label.text, "key": given.key}
            query = {name: str(values[name]) for name in self._sent if values[name] is not None}
            query |= {"copy": str(copy)}
            request = Request(packed, picture.accept, query, f"{packed.pixels} {copy}")
            return picture.like(servers.ask(request))

    def _first(self, under_way: deque[tuple[_Picture[T], int, Future[Any]]]) -> tuple[T, int, Any]:
        """The oldest request's result, once it is there; the request stays listed until then."""
        from diffaug.online.servers import UnansweredError

        picture, copy, made = under_way[0]
        try:
            result = made.result()
        except UnansweredError as error:
            raise _GivenUpError(error) from error
        under_way.popleft()
        return picture.given.tag, copy, result

    def _made_here(
        self, left: Iterable[tuple[_Picture[T], int]], wanted: Wanted, failure: str
    ) -> Iterator[tuple[T, int, Any]]:
        first = wanted.first and wanted.first[1]
        size, dtype = (first.execution.batch_size, first.execution.dtype) if first else (None, None)
        execution = Execution.choose(size, dtype)
        engine = Engine(self.recipe, execution)
        made = f"with batch size {execution.batch_size} and {execution.dtype}"
        differ = wanted.elsewhere(execution)
        _log.warning(
            "%s",
            f"{failure}; the rest of this pass is made here, {made}"
            + (f", and its bytes could differ: {', '.join(differ)}" if differ else ""),
        )
        groups = groupby(left, key=lambda one: one[0])
        yield from engine.run_each(
            (picture.given, [copy for _, copy in group]) for picture, group in groups
        )
