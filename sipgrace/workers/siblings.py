"""
What the workers of one server have to do with one another: a response that came to one of them and belongs to
another is handed over; and what is for a client whose association another one has is sent by that one.
"""

from __future__ import annotations

import json
import socket
import struct
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from twisted.internet.interfaces import IReadDescriptor, IWriteDescriptor
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation
from sipgrace.message.message import Response
from sipgrace.message.parser import parse

__all__ = ["FACTS", "SiblingAssociation", "Siblings", "ownPart"]

#: What is known of an association that another worker has.
FACTS: Final = ("zone", "peerHost", "peerPort", "localHost", "localPort", "opened", "reliable")

#: To be sent on an association, with who wants that; the answer where that association is no more; came on
#: one; came over UDP.
_SEND: Final = b"S"
_GONE: Final = b"G"
_CAME: Final = b"R"
_UDP: Final = b"U"
_WHICH: Final = struct.Struct("!HQ")

_LARGEST: Final = 1 << 17
_BURST: Final = 64

#: So many bytes wait for a worker that does not read, no more.
_UNSENT: Final = 1 << 22


def ownPart(number: int) -> bytes:
    """
    @return: a worker's part of the branches that it makes.
    """
    return b"%02x" % number


@implementer(IAssociation)
class SiblingAssociation:
    """
    An association that another worker has.

    @ivar worker: which one.
    @ivar number: its own number for it.
    """

    def __init__(self, siblings: Siblings | None, worker: int, number: int, facts: Mapping[str, Any]) -> None:
        self._siblings = siblings
        self.worker = worker
        self.number = number
        self.transport: bytes = facts["transport"].encode("ascii")
        self.via: bytes = facts["via"].encode("ascii")
        self.zone: str = facts["zone"]
        self.peerHost: str = facts["peerHost"]
        self.peerPort: int = facts["peerPort"]
        self.localHost: str = facts["localHost"]
        self.localPort: int = facts["localPort"]
        self.opened: bool = facts["opened"]
        self.reliable: bool = facts["reliable"]
        self.up = True
        self._head = b"" if siblings is None else _SEND + _WHICH.pack(siblings.number, number)

    def send(self, data: bytes) -> bool:
        """
        See L{IAssociation.send}: the other one sends it.
        """
        siblings = self._siblings
        return self.up and siblings is not None and siblings.post(self.worker, self._head + data)

    def shutdown(self) -> None:
        """
        See L{IAssociation.shutdown}: it is for the other one to end.
        """

    def abort(self) -> None:
        """
        See L{IAssociation.abort}: the same.
        """


def factsOf(association: IAssociation) -> dict[str, Any]:
    """
    @return: what others are told of an association; it fits JSON.
    """
    facts: dict[str, Any] = {name: getattr(association, name) for name in FACTS}
    facts["transport"] = association.transport.decode("ascii")
    facts["via"] = association.via.decode("ascii")
    return facts


@implementer(IWriteDescriptor)
class _Way:
    """
    The way to one sibling: a datagram socket that several write to.
    """

    def __init__(self, reactor: Any, out: socket.socket) -> None:
        out.setblocking(False)
        self._reactor = reactor
        self._out = out
        self._waiting: deque[bytes] = deque()
        self._bytes = 0

    def post(self, data: bytes) -> bool:
        """
        @return: false where it does not read and too much is waiting.
        """
        if not self._waiting:
            try:
                self._out.send(data)
                return True
            except BlockingIOError:
                self._reactor.addWriter(self)
            except OSError:
                return False
        if self._bytes > _UNSENT:
            return False
        self._waiting.append(data)
        self._bytes += len(data)
        return True

    def doWrite(self) -> None:
        """
        See C{IWriteDescriptor}.
        """
        while self._waiting:
            try:
                self._out.send(self._waiting[0])
            except BlockingIOError:
                return
            except OSError:
                pass
            self._bytes -= len(self._waiting.popleft())
        self._reactor.removeWriter(self)

    def fileno(self) -> int:
        """
        See C{IFileDescriptor}.
        """
        return self._out.fileno()

    def logPrefix(self) -> str:
        """
        See C{ILoggingContext}.
        """
        return "sibling"

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{IFileDescriptor}.
        """
        self._out.close()


@implementer(IReadDescriptor)
class Siblings:
    """
    One worker among the others.

    @ivar number: ours.
    @ivar received: given each response that was handed over, and what it came on.
    @ivar numbers: the numbers of our own associations; C{own}, the associations by these.
    @ivar theirs: those of others, by worker and number.
    @ivar onGone: told of each that something was to be sent on and that is not there any more: whoever had it
        says so sooner or later; what waits for an answer need not wait for that.
    @ivar handed: how many responses were handed over to others; C{taken}, taken from them.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        number: int,
        shared: bytes,
        own: socket.socket,
        others: Mapping[int, socket.socket],
        peer: Callable[[str, bytes, str, int], IAssociation | None],
        received: Callable[[Response, IAssociation], None],
    ) -> None:
        """
        @param shared: what the branches of all have in common; see L{sipgrace.proxy.trail.Trail}.
        @param own: where others write to.
        @param others: where to write to others.
        @param peer: finds a UDP peer; see L{sipgrace.transport.associations.Associations.peer}.
        """
        own.setblocking(False)
        self.number = number
        self.onGone: Callable[[SiblingAssociation], None] = lambda association: None
        self._prefix = b"z9hG4bK" + shared
        self._socket = own
        self._ways = {other: _Way(reactor, out) for other, out in others.items()}
        self._peer = peer
        self.received = received
        self.numbers: dict[IAssociation, int] = {}
        self.own: dict[int, IAssociation] = {}
        self.theirs: dict[tuple[int, int], SiblingAssociation] = {}
        self.handed = 0
        self.taken = 0
        reactor.addReader(self)

    def post(self, worker: int, data: bytes) -> bool:
        """
        Sends to another one.
        """
        way = self._ways.get(worker)
        return way is not None and way.post(data)

    def stray(self, response: Response, association: IAssociation) -> bool:
        """
        Looks at a response that belongs to nothing here.

        @return: whether it has been handed over to the worker whose it is.
        """
        branch = response.branch
        at = len(self._prefix)
        if not branch.startswith(self._prefix):
            return False
        try:
            owner = int(branch[at : at + 2], 16)
        except ValueError:
            return False
        if owner == self.number or owner not in self._ways:
            return False
        number = self.numbers.get(association)
        if number is not None:
            head = _CAME + _WHICH.pack(self.number, number)
        elif association.transport == b"UDP":
            where = [
                association.zone,
                association.via.decode("ascii"),
                association.peerHost,
                association.peerPort,
            ]
            head = _UDP + json.dumps(where).encode("ascii") + b"\0"
        else:
            return False
        self.handed += 1
        self.post(owner, head + response.toBytes())
        return True

    def doRead(self) -> None:
        """
        See C{IReadDescriptor}.
        """
        for _ in range(_BURST):
            try:
                data = self._socket.recv(_LARGEST)
            except OSError:
                return
            try:
                self._take(data)
            except Exception:
                self.log.failure("what another worker sent could not be taken")

    def _take(self, data: bytes) -> None:
        kind = data[:1]
        association: IAssociation | None
        if kind == _SEND:
            asking, number = _WHICH.unpack_from(data, 1)
            association = self.own.get(number)
            if association is not None:
                association.send(data[1 + _WHICH.size :])
            if association is None or not association.up:
                self.post(asking, _GONE + _WHICH.pack(self.number, number))
            return
        if kind == _GONE:
            gone = self.theirs.get(_WHICH.unpack_from(data, 1))
            if gone is not None:
                self.onGone(gone)
            return
        if kind == _CAME:
            association = self.theirs.get(_WHICH.unpack_from(data, 1))
            raw = data[1 + _WHICH.size :]
        else:
            where, _, raw = data[1:].partition(b"\0")
            zone, via, host, port = json.loads(where)
            association = self._peer(zone, via.encode("ascii"), host, port)
        if association is None:
            return
        try:
            message = parse(raw)
        except ParseError:
            return
        if isinstance(message, Response):
            self.taken += 1
            self.received(message, association)

    def fileno(self) -> int:
        """
        See C{IFileDescriptor}.
        """
        return self._socket.fileno()

    def logPrefix(self) -> str:
        """
        See C{ILoggingContext}.
        """
        return "siblings"

    def connectionLost(self, reason: Failure) -> None:
        """
        See C{IFileDescriptor}.
        """
        self._socket.close()
