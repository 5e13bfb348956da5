"""
The site: the API, the page and the metrics behind one port.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any, Final

from klein import Klein
from prometheus_client import CollectorRegistry
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.resource import IResource, Resource
from twisted.web.server import Site

from sipgrace.controller.seams import IController
from sipgrace.controller.web.api import API
from sipgrace.controller.web.bodies import BoundedRequest
from sipgrace.controller.web.events import Feed
from sipgrace.controller.web.files import Files
from sipgrace.controller.web.fleettally import FleetCollector
from sipgrace.controller.web.overview import Overview
from sipgrace.controller.web.tally import WebCollector
from sipgrace.controller.web.tokens import TokenEntry, Tokens
from sipgrace.metrics.exposition import exposition, registryOf

__all__ = ["webSite"]

#: A browser is to run and load what comes from here alone, and to show it in no frame of another's page.
POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    # Nor may its own scripts make markup of text.
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
    "Server": "sipgrace",
}


class _Guarded(Resource):
    """
    All answers with the headers that they have in common.
    """

    isLeaf = True

    def __init__(self, inner: IResource) -> None:
        super().__init__()
        self._inner = inner

    def render(self, request: Any) -> Any:
        """
        See C{IResource}.
        """
        for name, value in _HEADERS.items():
            request.setHeader(name, value)
        if request.isSecure():
            request.setHeader("Strict-Transport-Security", "max-age=31536000")
        return self._inner.render(request)


class ControllerSite(Site):
    """
    The factory for C{listen}.

    @ivar feed: the readers of events, which are ended when the controller is.
    """

    requestFactory = BoundedRequest
    feed: Feed

    def stopFactory(self) -> None:
        """
        Ends what would not end by itself.
        """
        self.feed.stop()
        super().stopFactory()

    def log(self, request: Any) -> None:
        """
        Nothing: what changes anything is in the audit log.
        """


def webSite(
    controller: IController,
    tokens: Iterable[TokenEntry],
    clock: IReactorTime,
    registry: CollectorRegistry | None = None,
) -> ControllerSite:
    """
    @param tokens: who may ask what; see L{TokenEntry}.
    @param registry: what is to be seen at C{/metrics} besides what is known here, which is added to it; by
        default what any process tells of itself.
    @return: the site, to be listened with.
    """
    feed = Feed(controller.name, controller.fleet, clock, secrets.token_hex(4))
    overview = Overview(controller.fleet, clock.seconds)
    api = API(controller, Tokens(tokens), clock, feed, overview)
    registry = registryOf() if registry is None else registry
    registry.register(FleetCollector(controller.name, controller.fleet, overview))
    registry.register(WebCollector(api, feed))
    files = Files()
    app = Klein()
    api.routes(app)

    @app.route("/", methods=["GET"], endpoint="page")
    def page(request: Any) -> Any:
        return files.answer(request, "index.html")

    @app.route("/page/<string:name>", methods=["GET"], endpoint="file")
    def file(request: Any, name: str) -> Any:
        return files.answer(request, name)

    @app.route("/metrics", methods=["GET"], endpoint="metrics")
    def metrics(request: Any) -> Any:
        api.personOf(request, "GET /metrics")
        return exposition(request, registry)

    @app.handle_errors(Exception)
    def failed(request: Any, failure: Failure) -> bytes:
        return api.failed(request, failure)

    site = ControllerSite(_Guarded(app.resource()), timeout=60)
    site.feed = feed
    return site
