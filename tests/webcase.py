"""
A controller's site on a real port, for tests.
"""

from __future__ import annotations

import json
from typing import Any

import treq
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.web.client import Agent, HTTPConnectionPool
from twisted.web.http_headers import Headers

from sipgrace.controller.web.site import webSite
from sipgrace.controller.web.tokens import digestOf
from sipgrace.lifecycle.authorization import Role
from tests.controllerfake import FakeController, Token
from tests.scenarios.waiting import PollingCase

PEOPLE = [Token(str(role), role, digestOf(f"{role}'s")) for role in Role]


class WebCase(PollingCase):
    """
    @ivar controller: what is behind the site.
    @ivar url: where the site is.
    """

    timeout = 60
    clock: Any = reactor

    def setUp(self) -> None:
        self.controller = FakeController()
        self.site = webSite(self.controller, PEOPLE, self.clock, self.registry())
        self.port = reactor.listenTCP(0, self.site, interface="127.0.0.1")
        self.addCleanup(self.port.stopListening)
        self.url = f"http://127.0.0.1:{self.port.getHost().port}"
        self.pool = HTTPConnectionPool(reactor, persistent=False)
        self.agent = Agent(reactor, pool=self.pool)

    def registry(self) -> CollectorRegistry:
        """
        What is at C{/metrics} besides.
        """
        return CollectorRegistry()

    async def ask(
        self, method: str, path: str, body: Any = None, role: str | None = "operator", **headers: str
    ) -> tuple[int, Any, Headers]:
        """
        @param role: whose token it bears; C{None} for none.
        @return: status, what came (from JSON, where it is), headers.
        """
        said = {name.replace("_", "-"): value for name, value in headers.items()}
        if role is not None:
            said.setdefault("Authorization", f"Bearer {role}'s")
        data = None
        if body is not None:
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            said.setdefault("Content-Type", "application/json")
        response = await treq.request(
            method, self.url + path, data=data, headers=said, agent=self.agent, timeout=20
        )
        content = await response.content()
        kind = (response.headers.getRawHeaders("content-type") or [""])[0]
        return response.code, json.loads(content) if content and "json" in kind else content, response.headers
