"""
A store behind HTTPS, which asks for certificates: L{sipgrace.transport.httpstrust}, as a controller uses it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import Site

from sipgrace.commands.certificates import Authority
from sipgrace.config.controller import StoreSection
from sipgrace.controller.service import storeOf
from sipgrace.errors import StoreError
from sipgrace.transport.peernames import linkOptions
from tests.test_commands_keys import makeAuthority


class Leases(Resource):
    """
    As much of etcd as is needed to open a store.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def render_POST(self, request: Any) -> bytes:
        self.asked.append(request.path.decode())
        return json.dumps({"ID": "7"}).encode()


class HTTPSTrustTests(TestCase):
    """
    A store on loopback that trusts one CA, as its clients have to.
    """

    timeout = 60

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        now = makeAuthority().now
        for ca in ("ours", "theirs"):
            authority = Authority.make(self.folder / ca, "test", 100, "p256", now)
            for name in ("localhost", "other", "c"):
                authority.certify(name, 100, "p256", now)

    def listen(self, name: str = "localhost") -> str:
        """
        The store listens.
        """
        ours = self.folder / "ours"
        options = linkOptions(ours / f"{name}.crt", ours / f"{name}.key", ours / "ca.crt")
        self.leases = Leases()
        port = reactor.listenSSL(0, Site(self.leases), options, interface="127.0.0.1")
        # Connections that a client has dropped end a moment later.
        self.addCleanup(lambda: deferLater(reactor, 0.05, lambda: None))
        self.addCleanup(port.stopListening)
        return f"https://localhost:{port.getHost().port}"

    def store(self, *urls: str, ca: str = "ours", own: str = "ours") -> Any:
        """
        A store as configured.
        """
        files = {"ca": f"{self.folder}/{ca}/ca.crt"}
        if own:
            files |= {"certificate": f"{self.folder}/{own}/c.crt", "key": f"{self.folder}/{own}/c.key"}
        section = StoreSection.model_validate({"kind": "etcd", "urls": list(urls), **files})
        return storeOf(reactor, section, "controller-120")

    async def test_both(self) -> None:
        """
        Each shows what the other trusts.
        """
        store = self.store(self.listen())
        await store.start()
        await store.stop()
        self.assertEqual(self.leases.asked, ["/v3/lease/grant", "/v3/lease/revoke"])

    async def test_next(self) -> None:
        """
        Of several addresses the next is asked.
        """
        store = self.store("https://localhost:9", self.listen())
        with self.assertRaises(StoreError):
            await store.start()
        await store.start()
        await store.stop()
        self.assertEqual(self.leases.asked, ["/v3/lease/grant", "/v3/lease/revoke"])

    async def test_untrusted(self) -> None:
        """
        Whoever shows nothing, or what another CA has signed, gets nowhere; nor does a store of another CA,
        or of another name.
        """
        for ca, own, name in (
            ("ours", "", "localhost"),
            ("ours", "theirs", "localhost"),
            ("theirs", "ours", "localhost"),
            ("ours", "ours", "other"),
        ):
            started: Deferred[None] = self.store(self.listen(name), ca=ca, own=own).start()
            with self.assertRaises(StoreError):
                await started
            self.assertEqual(self.leases.asked, [])
