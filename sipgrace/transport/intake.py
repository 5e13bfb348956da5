"""
What arrives: bytes in, valid messages up; refusals answered, and never more than one log line per
peer and second, whatever is thrown at us.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar, Final, Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation, IAssociationUser
from sipgrace.message.derive import respond
from sipgrace.message.message import Message, Request
from sipgrace.message.parser import parse
from sipgrace.transport.bounds import Bounds
from sipgrace.transport.oncepersecond import gateOf

__all__ = ["Counters", "Intake", "Source"]

#: Keep-alives of NATs (RFC 5626 §3.5, and what phones send besides), and whatever does not begin
#: with a letter: STUN, DTLS, RTP strayed from its port. Nobody learns anything from a log line.
_SILENT: Final = re.compile(rb"[\r\n\0 ]*\Z|[^A-Za-z\r\n]")


class Source(Protocol):
    """
    Where the bytes came from: L{IAssociation}, and what the intake needs besides.
    """

    peerHost: str
    peerPort: int
    peerHostBytes: bytes

    @property
    def up(self) -> bool: ...

    def send(self, data: bytes) -> bool: ...

    def returnPath(self, message: Message) -> IAssociation:
        """
        @param message: a request, or a response to one that bears its Vias.

        @return: the association that responses take (RFC 3261 §18.2.2).
        """
        ...


#: The names of L{Counters}.
_COUNTED: Final = (
    "answered",
    "dropped",
    "failed",
    "ignored",
    "late",
    "overflowed",
    "pings",
    "readErrors",
    "received",
    "refused",
    "stalled",
    "turnedAway",
    "unlogged",
    "unsendable",
)


class Counters:
    """
    What happened on a listener since it began, for metrics. Plain numbers, only ever rising.

    @ivar received: valid messages handed up.
    @ivar refused: messages that were none.
    @ivar answered: those of them that got a response saying so.
    @ivar ignored: keep-alives and binary rubbish on UDP.
    @ivar pings: keep-alives answered on streams (RFC 5626 §3.5.1).
    @ivar late: requests that came after C{shutdown()}, dropped.
    @ivar failed: messages over which the user raised an exception.
    @ivar dropped: datagrams that the kernel would not take now.
    @ivar unsendable: datagrams that cannot be sent: too long, no route.
    @ivar readErrors: failed reads of a UDP socket.
    @ivar overflowed: associations aborted because their peer did not read.
    @ivar stalled: associations aborted over an incomplete message or handshake.
    @ivar turnedAway: associations beyond the bound on accepted ones.
    @ivar unlogged: log lines suppressed.
    """

    __slots__ = _COUNTED

    received: int
    refused: int
    answered: int
    ignored: int
    pings: int
    late: int
    failed: int
    dropped: int
    unsendable: int
    readErrors: int
    overflowed: int
    stalled: int
    turnedAway: int
    unlogged: int

    def __init__(self) -> None:
        for name in _COUNTED:
            setattr(self, name, 0)

    def asDict(self) -> dict[str, int]:
        """
        @return: all of them, by name.
        """
        return {name: getattr(self, name) for name in _COUNTED}


class Intake:
    """
    One per listener or connection, above all of its associations.

    @ivar user: who gets the messages.
    """

    log: ClassVar[Logger] = Logger()

    def __init__(
        self, user: IAssociationUser, clock: IReactorTime, bounds: Bounds, counters: Counters | None = None
    ) -> None:
        self.user = user
        self.clock = clock
        self.bounds = bounds
        self._limits = bounds.message
        self.counters = Counters() if counters is None else counters
        self._gate = gateOf(clock)

    def receive(self, data: bytes, source: Source) -> None:
        """
        One datagram, one SCTP message, or one message cut from a stream. Never raises.
        """
        try:
            message = parse(data, self._limits)
        except ParseError as error:
            self.refuse(error, source, data)
            return
        except Exception:
            # An error of ours. It must cost this message alone.
            self._failed(source, "parsing")
            return
        association: IAssociation = source  # type: ignore[assignment]  # a cast would be a call
        try:
            if isinstance(message, Request):
                if not source.up and message.method != b"ACK":
                    # It could not be answered any more; its sender tries elsewhere.
                    self.counters.late += 1
                    return
                message.markReceived(source.peerHostBytes, source.peerPort)
                association = source.returnPath(message)
            self.counters.received += 1
            self.user.messageReceived(message, association)
        except Exception:
            self._failed(source, "a message")
            if isinstance(message, Request) and message.method != b"ACK":
                self._apologize(message, association)

    def refuse(self, error: ParseError, source: Source, data: bytes | None = None) -> None:
        """
        Answers what was no acceptable message, where it can be answered.

        @param data: what it was, where it is at hand.
        """
        counters = self.counters
        if error.answer is None and data is not None and _SILENT.match(data):
            counters.ignored += 1
            return
        counters.refused += 1
        if error.answer is not None and self._answer(error.answer, source):
            counters.answered += 1
        self.warn(source.peerHost, "refused a message from {peer}: {reason}", reason=error.reason)

    def made(self, association: IAssociation) -> None:
        """
        Passes C{associationMade} up. Never raises.
        """
        try:
            self.user.associationMade(association)
        except Exception:
            self._failed(association, "a new association")

    def lost(self, association: IAssociation, reason: Failure) -> None:
        """
        Passes C{associationLost} up. Never raises.
        """
        try:
            self.user.associationLost(association, reason)
        except Exception:
            self._failed(association, "a lost association")

    def warn(self, peer: str, form: str, **values: Any) -> None:
        """
        Writes one line about that peer, if it had none within the last second.

        @param peer: its host alone: ports cost an attacker nothing.
        """
        if self._gate.passes(peer, self.clock.seconds()):
            self.log.warn(form, peer=peer, **values)
        else:
            self.counters.unlogged += 1

    def _failed(self, source: Source | IAssociation, what: str) -> None:
        self.counters.failed += 1
        if self._gate.passes(source.peerHost, self.clock.seconds()):
            self.log.failure("failed over {what} from {peer}", what=what, peer=source.peerHost)
        else:
            self.counters.unlogged += 1

    def _apologize(self, request: Request, association: IAssociation) -> None:
        try:
            association.send(respond(request, 500).toBytes())
        except Exception:
            self._failed(association, "the answer to a message")

    def _answer(self, answer: bytes, source: Source) -> bool:
        try:
            response = parse(answer)
            response.markReceived(source.peerHostBytes, source.peerPort)
            return source.returnPath(response).send(response.toBytes())
        except Exception:
            # The bad input shows in the answer's Via: then it goes back where the input came from.
            return source.send(answer)
