"""
A worker: a server element with the traffic of one process, that does what the front says about its service.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from math import floor
from typing import Any, Final

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.config.orders import OrdersSection
from sipgrace.config.server import ServerConfig
from sipgrace.interfaces import IAssociation, IAssociationUser
from sipgrace.lifecycle.events import Change
from sipgrace.lifecycle.guard import Guard
from sipgrace.lifecycle.orderform import fromText
from sipgrace.proxy.trail import Trail
from sipgrace.server.question import Question
from sipgrace.server.service import ServerService
from sipgrace.transport import handed
from sipgrace.transport.sip import SIPProtocol
from sipgrace.workers.link import End
from sipgrace.workers.siblings import SiblingAssociation, Siblings, factsOf, ownPart
from sipgrace.workers.told import eventOf

__all__ = ["Worker", "configOf"]

#: So often it tells how it stands, in seconds; C{_OFTEN} while it leaves.
_TELL: Final = 0.25
_OFTEN: Final = 0.05

#: So much later than the front it does by itself what the guard asks for, in seconds: the front may hang.
_LATE: Final = 0.2

#: So long an association waits for the others to know of it, in seconds.
_KNOWN: Final = 5.0

#: Steps in which it is told how long calls have been waiting, in seconds.
_AGE: Final = 0.5


def configOf(config: ServerConfig, number: int) -> ServerConfig:
    """
    @return: the part of a server's configuration that is its workers'. Whatever gives it orders, and what
        watches it, is the front's; associations that the server opens to its clients are the first worker's.
    """
    clients = config.clients
    if number:
        clients = tuple(client.model_copy(update={"open": None}) for client in clients)
    return config.model_copy(
        update={
            "clients": clients,
            "server": config.server.model_copy(update={"rejects": None}),
            "control": None,
            "manhole": None,
            "metrics": None,
            "controllers": (),
            "report": None,
            "overload": None,
            "schedule": (),
            "orders": OrdersSection(),
            "drain": config.drain.model_copy(update={"then": "stay"}),
        }
    )


@implementer(IAssociationUser)
class Worker:
    """
    See above. It hears of the associations of its element, and tells the others of them.

    @ivar service: the server.
    @ivar link: to the front.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        config: ServerConfig,
        number: int,
        shared: bytes,
        siblings: Callable[..., Siblings],
        onGone: Callable[[], None],
    ) -> None:
        """
        @param shared: see L{Siblings}.
        @param siblings: makes them, of where to find a UDP peer and who gets responses.
        @param onGone: called when the front has gone.
        """
        self._reactor = reactor
        self.service = ServerService(reactor, configOf(config, number))
        self._element = element = self.service.element
        assert element.core is not None
        # A worker that comes back must not make the branches of the one before it: whoever got those would
        # take its first requests for repetitions.
        element.core.trail = Trail(shared, ownPart(number) + os.urandom(4).hex().encode("ascii"))
        self._siblings = siblings(element.associations.peer, element.layer.messageReceived)
        self._question = partial(Question, config.server.name, element.layer)
        self._siblings.onGone = self._siblingGone
        element.core.strays = self._siblings.stray
        element.watchers.append(self)
        element.associations.onGone = self._gone
        self.service.clients.onOpened = self._opened
        # Nor is what siblings still send to that one's associations for those of this one.
        self._count = int.from_bytes(os.urandom(4), "big") << 32
        self._holds: dict[IAssociation, int] = {}
        self._lag = 0.0
        self._settled = 0
        self._agedAt = 0.0
        self._ages: list[tuple[float, int]] = []
        self._whenGone: list[Deferred[Any]] = []
        self._leaving = False
        drain = config.drain
        self._guard = Guard(
            reactor,
            drain.marginOf(drain.usualGuard),
            lambda: element.ledger.recallAll("guard timer"),
            self._settlementDue,
            element.associations.abortAll,
        )
        self._telling = LoopingCall(self._tell)
        self._telling.clock = reactor
        self.link = End(
            {
                "listen": self._listen,
                "stopListening": element.associations.stopListening,
                "shutdown": self._shutdown,
                "abort": self._abort,
                "close": self._close,
                "shut": element.gate.shut,
                "slow": element.gate.slow,
                "open": self._open,
                "recall": element.ledger.recallAll,
                "settle": self._settle,
                "event": self._event,
                "consult": self._consult,
                "rejects": self.service.rejects.put,
                "here": _here,
                "made": self._siblingMade,
                "named": self._siblingNamed,
                "lost": self._siblingLost,
            },
            onGone,
        )

    def start(self) -> None:
        """
        Says that it is there. Once, when the link is up.
        """
        self._element.startTimers()
        pulse = self._element.oversight.pulse
        pulse.listeners.append(self._beat)
        pulse.start()
        self._telling.start(_TELL, now=False)
        self._ask("ready", facts=self.facts())

    def stop(self) -> None:
        """
        Ends what is left, at once.
        """
        self._element.ledger.settleAll("the server ends")
        self._element.associations.stopListening()
        self._element.associations.abortAll()

    # ------------------------------------------------------------------ telling

    def _beat(self, lag: float) -> None:
        self._lag = max(self._lag, lag)

    def _ask(self, name: str, **values: Any) -> Deferred[Any]:
        # Where it fails the front has gone, and so are we.
        return self.link.do(name, **values).addErrback(lambda failure: None)

    def _tell(self) -> None:
        self._ask("facts", facts={**self.facts(), "times": self._times()})

    def _times(self) -> list[tuple[int, float]]:
        """
        @return: the times of set-up since it was asked for them last.
        """
        settled = self._element.ledger.settled
        if settled == self._settled:
            return []
        self._settled = settled
        counts = self._element.times.counts
        times = [(at, count) for at, count in enumerate(counts) if count]
        counts[:] = [0.0] * len(counts)
        return times

    def facts(self) -> dict[str, Any]:
        """
        How it stands, as the front keeps it.
        """
        element = self._element
        assert element.core is not None
        ledger, gate = element.ledger, element.gate
        # Looking at each call is not for every time.
        now = element.clock.seconds()
        if now - self._agedAt >= _AGE or not ledger:
            self._agedAt = now
            self._ages = list(Counter(floor(age / _AGE) * _AGE for age in ledger.ages(now)).items())
        lag, self._lag = self._lag, 0.0
        return {
            "setups": len(ledger.setups),
            "calls": len(ledger.calls),
            "waiting": len(ledger),
            "associations": element.associations.count,
            "accepted": ledger.accepted,
            "settled": ledger.settled,
            "forced": ledger.forced,
            "failed": ledger.failed,
            "refused": gate.refused,
            "yielded": gate.yielded,
            "lastInvite": gate.lastInvite,
            "cpu": time.process_time(),
            "lag": lag,
            "ages": self._ages,
            "handed": self._siblings.handed,
            "shed": element.layer.shed,
            "notified": self.service.announcer.notified,
            "status": {
                "paths": element.associations.paths(),
                "proxy": element.core.counters,
                "transport": element.counters.asDict(),
                "transactions": element.layer.counts(),
                "announcements": self.service.announcer.status(),
            },
        }

    # ------------------------------------------------------------------ from the front: service

    def _listen(self) -> Deferred[list[str]]:
        self._leaving = False
        # What waits in the sockets already is not to be refused for as long as the front takes to say so; nor
        # are clients to be sent away because one worker was started again.
        self._open()
        listening = self._element.associations.listen()
        listening.addBoth(_forgetHanded)
        return listening.addCallback(
            lambda ignored: [one.via.decode("ascii") for one in self._element.associations.listeners]
        )

    def _close(self, until: float, reason: str, last: float) -> dict[str, Any]:
        now = self._element.clock.seconds()
        self._element.gate.close(now + until, reason, now + last)
        self._element.ledger.watch(self._emptied)
        if self._telling.running and self._telling.interval != _OFTEN:
            self._telling.stop()
            self._telling.start(_OFTEN, now=False)
        return self.facts()

    def _open(self) -> None:
        self._element.gate.openAgain()
        self._element.ledger.watch(None)
        if self._telling.running and self._telling.interval != _TELL:
            self._telling.stop()
            self._telling.start(_TELL, now=False)

    def _settle(self, reason: str) -> dict[str, Any]:
        self._element.ledger.settleAll(reason)
        return self.facts()

    def _emptied(self) -> None:
        # As in one process: whoever settled the last one is still in the middle of it.
        self._reactor.callLater(0, self._isEmpty)

    def _isEmpty(self) -> None:
        if not self._element.ledger:
            self._tell()
            if self._leaving:
                self._element.associations.shutdownAll()

    def _shutdown(self) -> Deferred[Any]:
        """
        The front knows of nothing that is left. What came in meanwhile, within a call, is finished first; the
        guard is there for that, too.
        """
        self._leaving = True
        self._element.gate.shut()
        if not self._element.ledger:
            self._element.associations.shutdownAll()
        return self._afterAll()

    def _abort(self) -> Deferred[Any]:
        self._element.associations.abortAll()
        return self._afterAll()

    def _afterAll(self) -> Deferred[Any]:
        if not self._element.associations.count:
            return succeed(self.facts())
        gone: Deferred[Any] = Deferred()
        self._whenGone.append(gone)
        return gone

    def _gone(self) -> None:
        waiting, self._whenGone = self._whenGone, []
        if not waiting:
            self._tell()
        for one in waiting:
            one.callback(self.facts())

    def _event(self, facts: dict[str, Any]) -> None:
        event = eventOf(facts, self._element.clock.seconds())
        if event.deadline is not None:
            self._guard.set(max(0.0, facts["deadline"]) + _LATE)
        elif event.change in (Change.CANCELLED, Change.OFFLINE, Change.SERVING):
            self._guard.stop()
        for observer in self.service.observers:
            try:
                observer.onChange(event)
            except Exception:
                self.log.failure("{observer} failed at {change}", observer=observer, change=event.change)

    def _consult(self, order: str, client: str) -> Deferred[bool]:
        """
        Asks a client whose association is here whether it approves of an order.
        """
        clients = self.service.clients
        own = [
            one
            for one in self._siblings.numbers
            if one.up and clients.nameAt(one.peerHost) == client
        ]
        asked = self._question(lambda: [(client, one) for one in own[-1:]]).ask(fromText(order))
        return asked.get(client) or succeed(False)

    def _settlementDue(self) -> None:
        self._element.ledger.settleAll("guard timer")
        self._element.associations.stopListening()
        self._element.associations.shutdownAll()

    # ------------------------------------------------------------------ from the front: siblings

    def _siblingMade(self, worker: int, number: int, facts: dict[str, Any], client: str) -> None:
        made = SiblingAssociation(self._siblings, worker, number, facts)
        self._siblings.theirs[worker, number] = made
        self.service.clients.associationMade(made)
        if client:
            self.service.clients.opened(client, made)

    def _siblingNamed(self, worker: int, number: int, client: str) -> None:
        named = self._siblings.theirs.get((worker, number))
        if named is not None:
            self.service.clients.opened(client, named)

    def _siblingLost(self, worker: int, number: int) -> None:
        lost = self._siblings.theirs.pop((worker, number), None)
        if lost is not None:
            lost.up = False
            # It cannot be used any more before anybody hears of it.
            self.service.clients.associationLost(lost, Failure(ConnectionError("another worker lost it")))
            self._element.layer.associationLost(lost)

    def _siblingGone(self, gone: SiblingAssociation) -> None:
        gone.up = False
        self._element.layer.associationLost(gone)

    # ------------------------------------------------------------------ IAssociationUser

    def associationMade(self, association: IAssociation) -> None:
        """
        See L{IAssociationUser}: the others are told. Nothing that comes on it is heard before they know, for
        the client takes an answer to mean that it can be called by way of this server.
        """
        self._count += 1
        self._siblings.numbers[association] = self._count
        self._siblings.own[self._count] = association
        self._hold(association, self._ask("made", number=self._count, facts=factsOf(association)))

    def _opened(self, name: str, association: IAssociation) -> None:
        number = self._siblings.numbers.get(association)
        if number is not None:
            self._hold(association, self._ask("named", number=number, client=name))

    def _hold(self, association: IAssociation, known: Deferred[Any]) -> None:
        if not isinstance(association, SIPProtocol):
            return
        if association not in self._holds:
            self._holds[association] = 0
            association.hold()
        self._holds[association] += 1
        fork: Deferred[None] = Deferred()
        known.addBoth(lambda result: None if fork.called else fork.callback(None))
        # A front that hangs does not keep clients out.
        fork.addTimeout(_KNOWN, self._reactor).addBoth(self._release, association)

    def _release(self, result: object, association: SIPProtocol) -> None:
        self._holds[association] -= 1
        if not self._holds[association]:
            del self._holds[association]
            association.release()

    def messageReceived(self, message: object, association: IAssociation) -> None:
        """
        See L{IAssociationUser}: messages go elsewhere.
        """

    def associationLost(self, association: IAssociation, reason: Failure) -> None:
        """
        See L{IAssociationUser}: the others are told.
        """
        number = self._siblings.numbers.pop(association, None)
        if number is not None:
            del self._siblings.own[number]
            self._ask("lost", number=number)


def _here() -> None:
    """
    What was asked for before has been done.
    """


def _forgetHanded(result: Any) -> Any:
    handed.forget()
    return result
