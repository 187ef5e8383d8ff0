"""What the routes of a server share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from diffaug.serve.admission import Admission
from diffaug.serve.metrics import Metrics
from diffaug.serve.problems import ELSEWHERE, ProblemError
from diffaug.serve.service import Service
from diffaug.serve.tokens import Tokens

__all__ = ["Limits", "State"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a server takes on.

    Attributes:
        wait: seconds of work that may wait.
        body: bytes of a request's body.
    """

    wait: float
    body: int


class State:
    """What the routes share.

    Attributes:
        ready: whether the first network calls were made.
        draining: whether the server is about to end.
        active: how many requests for work are under way.
    """

    def __init__(self, service: Service, tokens: Tokens, limits: Limits) -> None:
        self.service, self.tokens, self.limits = service, tokens, limits
        self.admission = Admission(limits.wait, lambda: service.worker.pace)
        self.metrics = Metrics(service, self.admission)
        self.ready = self.draining = False
        self.active = 0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Count a request as under way."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    def refuse_unready(self) -> None:
        """Raise the problem that a server is when it starts or ends."""
        if self.draining or not self.ready:
            why = "is ending: ask another one" if self.draining else "is starting"
            raise ProblemError(
                503, "not_ready", f"the server {why}", {"Retry-After": str(ELSEWHERE)}
            )
