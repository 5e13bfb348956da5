"""
What the site tells of itself, for Prometheus.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["WebCollector"]


class _Requests(Protocol):
    @property
    def requests(self) -> Mapping[tuple[str, int], int]: ...


class _Readers(Protocol):
    @property
    def readers(self) -> int: ...

    @property
    def dropped(self) -> int: ...


class WebCollector(Collector):
    """
    Reads the counts when it is asked.
    """

    def __init__(self, api: _Requests, feed: _Readers) -> None:
        self._api = api
        self._feed = feed

    def collect(self) -> Iterator[Metric]:
        """
        See C{Collector}.
        """
        requests = CounterMetricFamily(
            "sipgrace_controller_http_requests",
            "Requests to the API, by operation and status.",
            labels=("operation", "status"),
        )
        for (operation, status), times in sorted(self._api.requests.items()):
            requests.add_metric((operation, str(status)), times)
        yield requests
        yield GaugeMetricFamily(
            "sipgrace_controller_event_readers", "Those who read events now.", self._feed.readers
        )
        yield CounterMetricFamily(
            "sipgrace_controller_event_readers_dropped",
            "Readers of events that were sent away because they did not read.",
            self._feed.dropped,
        )
