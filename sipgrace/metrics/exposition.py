"""
Metrics as Prometheus reads them.
"""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from twisted.web.resource import Resource
from twisted.web.server import Request, Site

__all__ = ["exposition", "metricsSite", "registryOf"]


def registryOf(*collectors: Collector) -> CollectorRegistry:
    """
    @return: a registry of these, and of what any process tells of itself: nothing is global, so that
        several nodes can live in one process.
    """
    registry = CollectorRegistry(auto_describe=True)
    for collector in collectors:
        registry.register(collector)
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry


def exposition(request: Any, registry: CollectorRegistry) -> bytes:
    """
    Answers a scrape, in the format that it asks for.
    """
    encode, kind = choose_encoder(request.getHeader("accept") or "")
    request.setHeader("Content-Type", kind)
    text: bytes = encode(registry)
    return text


class _Metrics(Resource):
    """
    The metrics, and nothing else.
    """

    isLeaf = True

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._registry = registry

    def render_GET(self, request: Request) -> bytes:
        """
        See C{Resource}.
        """
        request.setHeader("Cache-Control", "no-store")
        request.setHeader("X-Content-Type-Options", "nosniff")
        if request.path != b"/metrics":
            request.setResponseCode(404)
            request.setHeader("Content-Type", "text/plain; charset=utf-8")
            return b"The metrics are at /metrics.\n"
        return exposition(request, self._registry)


class _Site(Site):
    def log(self, request: object) -> None:
        pass


def metricsSite(registry: CollectorRegistry) -> Site:
    """
    @return: a site of nothing but C{/metrics}.
    """
    return _Site(_Metrics(registry), timeout=30)
