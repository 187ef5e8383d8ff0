"""What a server tells Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.responses import Response

from diffaug.serve.admission import Admission
from diffaug.serve.service import Service, Watch

__all__ = ["Metrics"]

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)


class Metrics(Watch):
    """The metrics of one server.

    Args:
        service: whose worker is looked at when someone asks.
        admission: the same.
    """

    def __init__(self, service: Service, admission: Admission) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Now(service, admission))
        self._requests = Counter(
            "diffaug_requests", "Pictures asked for", ["recipe"], registry=self._registry
        )
        self._served = Counter(
            "diffaug_served", "Pictures answered", ["recipe"], registry=self._registry
        )
        self._refused = Counter(
            "diffaug_refused",
            "Requests that were not served",
            ["reason", "recipe"],
            registry=self._registry,
        )
        self._hits = Counter(
            "diffaug_cache_hits",
            "Pictures read from the cache",
            ["recipe"],
            registry=self._registry,
        )
        self._seconds = self._histogram("seconds", "Seconds from a request's head to its answer")
        self._waited = self._histogram("wait_seconds", "Seconds that an edit waited for a lane")
        self._took = self._histogram("lane_seconds", "Seconds that an edit had a lane")

    def asked(self, recipe: str) -> None:
        """A picture was asked for."""
        self._requests.labels(recipe).inc()

    def served(self, recipe: str, seconds: float) -> None:
        """A picture was answered, after so many seconds."""
        self._served.labels(recipe).inc()
        self._seconds.labels(recipe).observe(seconds)

    def refused(self, code: str, recipe: str) -> None:
        """A request was not served; `code` is its problem's; no recipe if that was the problem."""
        self._refused.labels(code, recipe).inc()

    def hit(self, recipe: str) -> None:
        """A copy was found in the cache."""
        self._hits.labels(recipe).inc()

    def ran(self, recipe: str, waited: float, took: float) -> None:
        """An edit was made."""
        self._waited.labels(recipe).observe(waited)
        self._took.labels(recipe).observe(took)

    def response(self) -> Response:
        """All of them, as text."""
        return Response(generate_latest(self._registry), media_type=CONTENT_TYPE_LATEST)

    def _histogram(self, name: str, what: str) -> Histogram:
        return Histogram(
            f"diffaug_{name}", what, ["recipe"], buckets=_SECONDS, registry=self._registry
        )


class _Now(Collector):
    """What is so at the moment of asking."""

    def __init__(self, service: Service, admission: Admission) -> None:
        self._service, self._admission = service, admission

    def collect(self) -> Iterator[Metric]:
        load = self._service.worker.load()
        for name, what, value in (
            ("queue_seconds", "Seconds of work that were let in", self._admission.seconds),
            ("queue_edits", "Edits that wait for a lane", load.waiting),
            ("lanes_held", "Lanes that hold an edit", load.held),
            ("lanes", "Lanes", load.lanes),
        ):
            yield GaugeMetricFamily(f"diffaug_{name}", what, value=value)
        yield CounterMetricFamily("diffaug_steps", "Steps of the lanes", value=load.steps)
        yield CounterMetricFamily("diffaug_rows", "Rows of network calls", value=load.rows)
