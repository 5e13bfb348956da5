"""
The accepting side of the links: nodes, and other controllers, that have come to this controller.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from OpenSSL import SSL
from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    IListeningPort,
    IPushProducer,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.control.commands import Alive, Confirm, Happened, Report, Standing
from sipgrace.control.commands import Hello as SayHello
from sipgrace.control.remote import RemoteNode
from sipgrace.control.uplinkcore import plainly
from sipgrace.controller.facts import Hello
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.greeting import helloFrom
from sipgrace.controller.hearsay import eventFrom, standingFrom
from sipgrace.controller.peercommands import PeerHello
from sipgrace.controller.seams import INodeLink
from sipgrace.errors import NotAllowed, OrderRefused
from sipgrace.lifecycle.orderform import SignedOrder
from sipgrace.transport.address import addressOf
from sipgrace.transport.keepalive import watchPeer
from sipgrace.transport.peernames import peerNames

__all__ = ["Accepted", "LinkUser", "Links"]


class LinkUser(Protocol):
    """
    What stands above the links.
    """

    @property
    def fleet(self) -> Fleet:
        """
        Where nodes are kept.
        """

    @property
    def controllers(self) -> Collection[str]:
        """
        The names of this controller and its peers, which no node has.
        """

    def isOurs(self, signed: SignedOrder) -> bool:
        """
        Whether an order is signed by this controller.
        """

    def report(self, node: str, at: float, facts: Mapping[str, Any]) -> Deferred[None]:
        """
        Keeps a report; fires when it is kept.
        """

    def welcome(self, link: Accepted, hello: Any) -> None:
        """
        Somebody says that they are another controller.

        @raise NotAllowed: where they are none.
        """

    def noteRefused(self, who: str, what: str, why: str) -> None:
        """
        See L{sipgrace.controller.seams.IController.noteRefused}.
        """


@implementer(INodeLink, IHandshakeListener, IPushProducer)
class Accepted(RemoteNode):
    """
    One link. It is a node's as soon as that has said hello; what has not in good time, or is silent, or does
    not read, is dropped.

    @cvar BEFORE: the most bytes in one box before it is known who is there; C{AFTER} then.
    @cvar END: seconds that the other side may take to close; then the connection is aborted.
    @ivar names: the names in the certificate; C{None} where there is none to be shown.
    @ivar name: whose link it is; empty before.
    @ivar heard: when something came last, by the clock.
    @ivar cloggedAt: since when the other side does not read; C{None} where it does.
    """

    BEFORE = 64 << 10
    AFTER = 4 << 20
    END = 2.0

    def __init__(self, links: Links, clock: IReactorTime, address: str) -> None:
        super().__init__(clock)
        self.LONGEST = self.BEFORE
        self.links = links
        self.address = address
        self.names: list[str] | None = None
        self.name = ""
        self.began = self.heard = clock.seconds()
        self.cloggedAt: float | None = None
        self._why = ""
        self._watchers.append(self._tellFleet)

    # ------------------------------------------------------------------ the connection

    def connectionMade(self) -> None:
        """
        See C{IProtocol}.
        """
        watchPeer(self.transport, self.links.MUTE)
        self.transport.registerProducer(self, True)

    def handshakeCompleted(self) -> None:
        """
        See C{IHandshakeListener}.
        """
        self.names = peerNames(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """
        See C{IProtocol}.
        """
        self.heard = self._clock.seconds()
        super().dataReceived(data)

    def pauseProducing(self) -> None:
        """
        What was sent is not being read.
        """
        if self.cloggedAt is None:
            self.cloggedAt = self._clock.seconds()

    def resumeProducing(self) -> None:
        """
        It is being read again.
        """
        self.cloggedAt = None

    def stopProducing(self) -> None:
        """
        The connection is going.
        """

    def end(self) -> None:
        """
        Ends the link; by force where the other side does not see to it.
        """
        if self.gone or self.transport is None:
            return
        late = self._clock.callLater(self.END, self.drop, "")
        self.whenLost().addCallback(lambda _: late.cancel() if late.active() else None)
        self.transport.unregisterProducer()
        super().end()

    def drop(self, why: str) -> None:
        """
        Ends the link at once.

        @param why: for the log; empty for none.
        """
        if self.gone:
            return
        if why:
            self._why = why
            self._log.warn("the link of {who} is dropped: {why}", who=self.who, why=why)
        if self.transport is not None:
            self.transport.abortConnection()

    @property
    def who(self) -> str:
        """
        Who is at the other end, as far as that is known.
        """
        return self.name or " ".join(self.names or ()) or self.address

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        why = self._why or plainly(reason.value or Exception("lost"))
        super().connectionLost(reason)
        self.links.ended(self, why, isinstance(reason.value, SSL.Error))

    # ------------------------------------------------------------------ who it is

    def certify(self, name: str, what: str) -> None:
        """
        Looks whether whoever claims a name may.

        @param what: what they want to be: C{'node'}, C{'peer'}.
        @raise NotAllowed: where its certificate bears another. The link is ended.
        """
        if self.names is None or name in self.names:
            return
        shown = ", ".join(self.names) or "nobody"
        self.refuse(what, f"the certificate of this link is that of {shown}, and not of {name[:100]}")

    def refuse(self, what: str, why: str) -> None:
        """
        Turns the other side away, and has that written down.

        @raise NotAllowed: always.
        """
        self._why = f"turned away: {why}"
        self._log.warn("{who} ({address}) is turned away: {why}", who=self.who, address=self.address, why=why)
        self.links.refused(f"{' '.join(self.names or ())} at {self.address}".strip(), what, why)
        # The answer goes first.
        self._clock.callLater(0, self.end)
        raise NotAllowed(why)

    @SayHello.responder
    def _hello(self, hello: Any) -> dict[str, Any]:
        if self.name:
            self.refuse("node", f"this link is that of {self.name}, which has said hello already")
        try:
            facts = helloFrom(hello)
        except ValueError as error:
            self.refuse("node", f"its hello cannot be read: {error}")
        self.certify(facts.name, "node")
        self._look(facts)
        self.begin(facts.name)
        since = self.links.user.fleet.hello(facts, self, self.address)
        self._log.info("{node} is linked, from {address}", node=self.name, address=self.address)
        return {"since": since}

    def _look(self, facts: Hello) -> None:
        """
        Looks whether a name may be what it says it is: a certificate tells the name alone.
        """
        if facts.name in self.links.user.controllers:
            self.refuse("node", f"{facts.name} is a controller, and no {facts.role}")
        known = self.links.user.fleet.roleOf(facts.name)
        if known not in ("", facts.role):
            self.refuse("node", f"{facts.name} is known as a {known}, and not as a {facts.role}")

    @PeerHello.responder
    def _peerHello(self, hello: Any) -> dict[str, Any]:
        if self.name:
            self.refuse("peer", f"this link is that of {self.name}, which has said hello already")
        self.links.user.welcome(self, hello)
        return {}

    def begin(self, name: str) -> None:
        """
        It is known whose link this is.
        """
        self.name = name
        self.LONGEST = self.AFTER
        self.links.known(self)

    # ------------------------------------------------------------------ what a node says

    def _known(self) -> str:
        if not self.name:
            self.refuse("node", "it has not said hello, which comes first")
        return self.name

    @Standing.responder
    def _standing(self, standing: Any) -> dict[str, Any]:
        self.links.user.fleet.standing(self._known(), standingFrom(standing))
        return {}

    def _tellFleet(self, event: dict[str, Any]) -> None:
        self.links.user.fleet.happened(self._known(), event)

    @Happened.responder
    def _event(self, event: Any) -> dict[str, Any]:
        self._known()
        return self._happened(eventFrom(event))

    @Report.responder
    def _report(self, at: float, report: Any) -> Deferred[dict[str, Any]]:
        node = self._known()
        if not isinstance(report, dict):
            self.refuse("report", "a report is an object")
        kept = self.links.user.report(node, at, report)
        return kept.addCallback(lambda _: {})

    @Confirm.responder
    def _confirm(self, signed: Any) -> dict[str, Any]:
        self._known()
        try:
            right = self.links.user.isOurs(SignedOrder.fromJSON(signed))
        except OrderRefused:
            right = False
        return {"right": right}

    @Alive.responder
    def _alive(self) -> dict[str, Any]:
        return {}


class _Doorway(Factory):
    """
    Makes a link of each connection.
    """

    noisy = False

    def __init__(self, links: Links) -> None:
        self._links = links

    def buildProtocol(self, addr: Any) -> Accepted | None:
        """
        See C{IProtocolFactory}.
        """
        return self._links.accept(f"{getattr(addr, 'host', addr)}")


class Links(Service):
    """
    Listens for links, and keeps them.

    @cvar HELLO: seconds within which whoever has connected says who it is.
    @cvar MUTE: seconds of silence after which a link is dropped; all say something every 20 s.
    @cvar STUCK: seconds that the other side may go without reading.
    @cvar WAITING: how many may have connected and not said who they are; one more is turned away.
    @cvar LOOK: seconds between two looks at all that.
    @cvar QUIET: seconds within which no more than one line is written about those without a certificate that
        come from one address.
    @ivar user: what stands above.
    @ivar port: where it listens.
    """

    log = Logger()

    HELLO = 15.0
    MUTE = 45.0
    STUCK = 30.0
    WAITING = 4096
    LOOK = 5.0
    QUIET = 60.0

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamServerEndpoint,
        options: Any,
        user: LinkUser,
    ) -> None:
        """
        @param options: for TLS, see L{sipgrace.transport.linkcertificates.LinkCertificates}; C{None} goes
            without.
        """
        self._clock = clock
        self._endpoint = endpoint
        self._options = options
        self.user = user
        self.port: IListeningPort | None = None
        self._waiting: dict[Accepted, None] = {}
        self._links: dict[Accepted, None] = {}
        self._noted: dict[str, float] = {}
        self._looking = LoopingCall(self._look)
        self._looking.clock = clock

    def startService(self) -> Deferred[None]:
        """
        @return: fires when it listens; fails with what keeps it from that.
        """
        super().startService()
        factory: Any = _Doorway(self)
        if self._options is not None:
            factory = TLSMemoryBIOFactory(self._options, False, factory, clock=self._clock)
            factory.noisy = False
        self._looking.start(self.LOOK, now=False)
        return self._endpoint.listen(factory).addCallback(self._listening)

    def _listening(self, port: IListeningPort) -> None:
        self.port = port
        self.log.info("links at {address}", address=addressOf(port))

    def stopService(self) -> Deferred[Any]:
        """
        Ends all links.
        """
        super().stopService()
        if self._looking.running:
            self._looking.stop()
        port, self.port = self.port, None
        ends: list[Deferred[Any]] = [] if port is None else [maybeDeferred(port.stopListening)]
        for link in [*self._waiting, *self._links]:
            ends.append(link.whenLost())
            link.end()
        return DeferredList(ends, consumeErrors=True)

    # ------------------------------------------------------------------ links

    def accept(self, address: str) -> Accepted | None:
        """
        @return: the protocol for one more connection; C{None} where there are too many.
        """
        if not self.running or len(self._waiting) >= self.WAITING:
            return None
        link = Accepted(self, self._clock, address)
        self._waiting[link] = None
        return link

    def known(self, link: Accepted) -> None:
        """
        It has said who it is.
        """
        del self._waiting[link]
        self._links[link] = None

    def ended(self, link: Accepted, why: str, untrusted: bool) -> None:
        """
        A connection has gone.

        @param untrusted: whether that was because of a certificate.
        """
        if link in self._waiting:
            del self._waiting[link]
            if untrusted:
                self._noteQuietly(link.address, why)
        elif link in self._links:
            del self._links[link]
            self.log.info("the link of {node} has gone: {why}", node=link.name, why=why)
            self.user.fleet.lost(link.name, link, why)

    def _noteQuietly(self, address: str, why: str) -> None:
        # Whoever has no certificate is not to fill the disk.
        now = self._clock.seconds()
        if now - self._noted.get(address, -self.QUIET) < self.QUIET:
            return
        if len(self._noted) >= self.WAITING:
            self._noted.clear()
        self._noted[address] = now
        self.log.warn("{address} is turned away: {why}", address=address, why=why)
        self.refused(address, "link", why)

    def refused(self, who: str, what: str, why: str) -> None:
        """
        Somebody was turned away.
        """
        self.user.noteRefused(who, what, why)

    def _look(self) -> None:
        now = self._clock.seconds()
        for link in list(self._waiting):
            if now - link.began > self.HELLO:
                link.drop(f"it has not said who it is within {self.HELLO:g} s")
        for link in list(self._links):
            if now - link.heard > self.MUTE:
                link.drop(f"it has been silent for {now - link.heard:.0f} s")
            elif link.cloggedAt is not None and now - link.cloggedAt > self.STUCK:
                link.drop(f"it has not read for {now - link.cloggedAt:.0f} s")
