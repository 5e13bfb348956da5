"""
Both ends of a link between two controllers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.protocols import amp
from twisted.protocols.amp import AmpError
from twisted.python.failure import Failure

from sipgrace.control.approach import Approach
from sipgrace.control.commands import Alive
from sipgrace.control.remote import Unreachable
from sipgrace.controller.facts import OrderRecord, Person
from sipgrace.controller.peercommands import (
    AskStatus,
    PassAnnouncement,
    PassOrder,
    PassWithdrawal,
    PeerHello,
    PeerTold,
)
from sipgrace.errors import NotAllowed
from sipgrace.lifecycle.authorization import Role

__all__ = ["Passed", "PeerUplink", "Serving"]


class Told(Protocol):
    """
    Who is told by a peer.
    """

    def told(self, owner: str, kind: str, node: str, facts: Any) -> None:
        """
        See L{PeerTold}.
        """


class Passed(Protocol):
    """
    Who carries out what a peer passes on.
    """

    def passedOrder(self, values: Mapping[str, Any], person: Person) -> Deferred[OrderRecord]:
        """
        See L{PassOrder}.
        """

    def passedWithdrawal(self, id: str, person: Person) -> Deferred[OrderRecord]:
        """
        See L{PassWithdrawal}.
        """

    def passedAnnouncement(self, values: Mapping[str, Any], person: Person) -> Deferred[Sequence[str]]:
        """
        See L{PassAnnouncement}.
        """

    def passedStatus(self, node: str) -> Deferred[dict[str, Any]]:
        """
        See L{AskStatus}.
        """

    def past(self) -> Deferred[list[tuple[str, str, Any]]]:
        """
        What a peer may have missed: our latest orders (C{past}) and reports (C{report}); each with the node
        and its facts.
        """


class PeerUplink(Approach):
    """
    The end of the one that has opened it.
    """

    #: So many seconds an order may take that is passed on.
    PATIENCE = 30.0

    #: So many a question may take. The other's node has ten to answer.
    ANSWER = 15.0

    def __init__(self, name: str, secure: bool, clock: IReactorTime, user: Told) -> None:
        super().__init__(name, secure)
        self._clock = clock
        self._user = user

    def hello(self, facts: dict[str, Any]) -> Deferred[int]:
        """
        Says who we are.
        """
        asked: Deferred[Any] = self.callRemote(PeerHello, hello=facts)
        return asked.addCallback(self._greeted)

    def _greeted(self, answer: object) -> int:
        self.greeted = True
        return 0

    def order(self, values: Mapping[str, Any], person: Person) -> Deferred[dict[str, Any]]:
        """
        Passes an order on.

        @return: fires with its record.
        """
        return self._pass(PassOrder, values=dict(values), person=person.name, role=str(person.role))

    def withdraw(self, id: str, person: Person) -> Deferred[dict[str, Any]]:
        """
        Withdraws one.
        """
        return self._pass(PassWithdrawal, id=id, person=person.name, role=str(person.role))

    def announce(self, values: Mapping[str, Any], person: Person) -> Deferred[list[str]]:
        """
        Passes on what is to be told to clients.

        @return: fires with the names of those who were told.
        """
        asked: Deferred[Any] = self.callRemote(
            PassAnnouncement, values=dict(values), person=person.name, role=str(person.role)
        )
        told = asked.addTimeout(self.PATIENCE, self._clock)
        return told.addCallback(lambda answer: [str(name) for name in answer["told"]])

    def status(self, node: str) -> Deferred[dict[str, Any]]:
        """
        Asks how things stand at a node of the other's.
        """
        asked: Deferred[Any] = self.callRemote(AskStatus, node=node)
        return asked.addTimeout(self.ANSWER, self._clock).addCallback(lambda answer: answer["status"])

    def _pass(self, command: type[amp.Command], **values: Any) -> Deferred[dict[str, Any]]:
        asked: Deferred[Any] = self.callRemote(command, **values)
        return asked.addTimeout(self.PATIENCE, self._clock).addCallback(lambda answer: answer["record"])

    @PeerTold.responder
    def _told(self, kind: str, node: str, facts: Any) -> dict[str, Any]:
        self._user.told(self.controller, kind, node, facts)
        return {}


class Serving(amp.CommandLocator):
    """
    What the end that was opened answers.

    @param peer: who has opened it.
    @param most: what their people may at most.
    """

    def __init__(self, peer: str, most: Role, user: Passed) -> None:
        super().__init__()
        self._peer = peer
        self._most = most
        self._user = user

    def _person(self, name: str, role: str) -> Person:
        roles = list(Role)
        if role not in roles:
            raise NotAllowed(f"{role[:50]!r} is no role")
        least = min(Role(role), self._most, key=roles.index)
        return Person(f"{name} at {self._peer}", least)

    @PassOrder.responder
    def _order(self, values: Any, person: str, role: str) -> Deferred[dict[str, Any]]:
        if not isinstance(values, dict):
            raise NotAllowed("an order is an object")
        return self._user.passedOrder(values, self._person(person, role)).addCallback(_answer)

    @PassWithdrawal.responder
    def _withdraw(self, id: str, person: str, role: str) -> Deferred[dict[str, Any]]:
        return self._user.passedWithdrawal(id, self._person(person, role)).addCallback(_answer)

    @PassAnnouncement.responder
    def _announce(self, values: Any, person: str, role: str) -> Deferred[dict[str, Any]]:
        if not isinstance(values, dict):
            raise NotAllowed("an announcement is an object")
        told = self._user.passedAnnouncement(values, self._person(person, role))
        return told.addCallback(lambda names: {"told": list(names)})

    @AskStatus.responder
    def _status(self, node: str) -> Deferred[dict[str, Any]]:
        def failed(failure: Failure) -> Failure:
            failure.trap(ConnectionClosed, AmpError)
            return Failure(Unreachable(f"{node[:100]} cannot answer: {failure.getErrorMessage()}"))

        asked = self._user.passedStatus(node).addErrback(failed)
        return asked.addCallback(lambda status: {"status": status})

    @Alive.responder
    def _alive(self) -> dict[str, Any]:
        return {}


def _answer(record: OrderRecord) -> dict[str, Any]:
    return {"record": asdict(record)}
