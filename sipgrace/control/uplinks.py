"""
A node's links to all of its controllers, and what it tells them without being asked.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import random as _random
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredList, fail
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.logger import Logger

from sipgrace import __version__
from sipgrace.control.approach import connect
from sipgrace.control.node import Node
from sipgrace.control.outbox import Outbox
from sipgrace.control.uplink import NodeUplink
from sipgrace.control.uplinkcore import BACKOFF, UplinkCore, Uplinking
from sipgrace.control.uplinkmachine import uplinkMachine
from sipgrace.errors import TransportError
from sipgrace.lifecycle.authorization import Giver, Role, Source
from sipgrace.lifecycle.events import Event
from sipgrace.lifecycle.orderform import SignedOrder
from sipgrace.transport.backoff import Backoff

__all__ = ["Destination", "Identity", "Uplinks"]


@dataclass(frozen=True, slots=True)
class Destination:
    """
    A controller.

    @ivar name: the name in its certificate.
    @ivar endpoint: where it is.
    @ivar role: what it may order where its orders are not signed, or not by a key of ours.
    @ivar secure: whether it is reached by TLS.
    """

    name: str
    endpoint: IStreamClientEndpoint
    role: Role
    secure: bool


@dataclass(frozen=True, slots=True)
class Identity:
    """
    Who a node says it is; see L{sipgrace.control.commands.Hello}.
    """

    name: str
    role: str
    labels: Mapping[str, str]
    group: str


class _Uplink:
    """
    The link to one controller.
    """

    def __init__(
        self,
        uplinks: Uplinks,
        destination: Destination,
        clock: IReactorTime,
        node: Node,
        backoff: Backoff,
        random: Callable[[], float],
    ) -> None:
        self.destination = destination
        self.link: NodeUplink | None = None
        self.outbox = Outbox()
        self._uplinks = uplinks
        self._node = node
        self.core: UplinkCore[NodeUplink] = UplinkCore(
            name=destination.name,
            clock=clock,
            connect=self._connect,
            user=self,
            backoff=backoff,
            random=random,
            log=Uplinks.log,
        )
        self.machine: Uplinking = uplinkMachine(self.core)

    def _connect(self) -> Deferred[NodeUplink]:
        where = self.destination
        return connect(where.endpoint, NodeUplink(self._node, where.name, where.role, where.secure))

    def hello(self) -> dict[str, Any]:
        """
        See L{sipgrace.control.uplinkcore.UplinkUser}.
        """
        return self._uplinks.hello()

    def distrusted(self, why: str) -> None:
        """
        See L{sipgrace.control.uplinkcore.UplinkUser}.
        """
        where = self.destination
        self._node.door.noted(Giver(Source.LINK, where.name, where.role), "distrusted", {"reason": why})

    def linked(self, link: NodeUplink) -> None:
        """
        See L{sipgrace.control.uplinkcore.UplinkUser}.
        """
        self.link = link
        link.stand(self._uplinks.standing())
        link.follow(self.core.since)
        self.outbox.use(link)

    def unlinked(self, link: NodeUplink) -> None:
        """
        See L{sipgrace.control.uplinkcore.UplinkUser}.
        """
        self.link = None
        self.outbox.use(None)

    def status(self) -> dict[str, Any]:
        """
        How it stands.
        """
        return {
            "name": self.destination.name,
            "state": self.core.state,
            "trouble": self.core.trouble,
            "reports": len(self.outbox),
        }


class Uplinks(Service):
    """
    All of them.

    @cvar SOON: seconds within which several changes are told as one.
    @cvar BEAT: seconds between two signs of life; C{QUICK} while it is in neither service nor rest, when
        what is left changes without a word.
    @cvar PATIENCE: seconds that controllers have, when the process ends, to take the last reports.
    """

    log = Logger()

    SOON = 0.05
    BEAT = 10.0
    QUICK = 1.0
    PATIENCE = 1.0

    _STILL = ("serving", "offline")

    def __init__(
        self,
        clock: IReactorTime,
        node: Node,
        identity: Identity,
        standing: Callable[[], Mapping[str, Any]],
        destinations: Sequence[Destination],
        backoff: Backoff | None = None,
        random: Callable[[], float] = _random,
    ) -> None:
        """
        @param standing: how the node stands, in brief; everything in it fits JSON.
        @param random: a number from 0.0 up to 1.0, for the back-off.
        """
        self._clock = clock
        self._node = node
        self._identity = identity
        self._standing = standing
        self._boot = secrets.token_hex(8)
        self._soon: IDelayedCall | None = None
        self._beat: IDelayedCall | None = None
        self._links = [
            _Uplink(self, where, clock, node, backoff or BACKOFF, random) for where in destinations
        ]
        node.door.authority.confirm = self._confirm
        node.door.lifecycle.observe(self)

    # ------------------------------------------------------------------ IService

    def startService(self) -> None:
        """
        Links to each.
        """
        super().startService()
        self._beat = self._clock.callLater(self.BEAT, self._push)
        for link in self._links:
            link.machine.start()

    def stopService(self) -> Deferred[Any]:
        """
        Ends the links, when the reports have been taken, or it takes too long.
        """
        super().stopService()
        self._push()
        for call in (self._soon, self._beat):
            if call is not None and call.active():
                call.cancel()
        self._soon = self._beat = None
        empty = DeferredList([link.outbox.whenEmpty() for link in self._links], consumeErrors=True)

        def end(_: object) -> None:
            for link in self._links:
                link.machine.stop()

        return empty.addTimeout(self.PATIENCE, self._clock).addErrback(lambda _: None).addCallback(end)

    # ------------------------------------------------------------------ telling

    def changed(self) -> None:
        """
        How the node stands has changed.
        """
        if self.running and self._soon is None:
            self._soon = self._clock.callLater(self.SOON, self._push)

    def onChange(self, event: Event) -> None:
        """
        See L{sipgrace.lifecycle.seams.Observer}.
        """
        self.changed()

    def report(self, at: float, facts: dict[str, Any]) -> None:
        """
        A drain is over, or there is more to tell of it.

        @param at: when it began, in seconds since the epoch.
        """
        for link in self._links:
            link.outbox.put(at, facts)

    def hello(self) -> dict[str, Any]:
        """
        Who we are.
        """
        identity = self._identity
        return {
            "name": identity.name,
            "role": identity.role,
            "version": __version__,
            "boot": self._boot,
            "number": self._node.number,
            "labels": dict(identity.labels),
            "group": identity.group,
        }

    def standing(self) -> dict[str, Any]:
        """
        How we stand.
        """
        return {**self._standing(), "version": __version__}

    def _push(self) -> None:
        for call in (self._soon, self._beat):
            if call is not None and call.active():
                call.cancel()
        self._soon = None
        facts: dict[str, Any] | None = None
        for link in self._links:
            if link.link is not None:
                facts = self.standing() if facts is None else facts
                link.link.stand(facts)
                link.outbox.again()
        if self.running:
            still = facts is None or facts.get("state") in self._STILL
            self._beat = self._clock.callLater(self.BEAT if still else self.QUICK, self._push)

    # ------------------------------------------------------------------ asking

    def _confirm(self, signed: SignedOrder, giver: Giver) -> Deferred[bool]:
        for link in self._links:
            if link.link is not None and link.destination.name == giver.name:
                asked = link.link.confirm(signed)
                return asked.addTimeout(UplinkCore.ANSWER, self._clock)
        return fail(TransportError(f"there is no link to {giver.name}"))

    def status(self) -> list[dict[str, Any]]:
        """
        How the links stand, for display.
        """
        return [link.status() for link in self._links]
