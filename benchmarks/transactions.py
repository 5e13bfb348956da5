"""
What the transaction layer costs: microseconds of CPU for the transaction work of one proxied call, which
is an INVITE (100, 180, 200) and a BYE (200), each received in a server transaction and sent on in a client
transaction. Parsing is not in it; writing out messages is, and is given alone, too.

Run it as C{python -m benchmarks.transactions [calls]}.
"""

from __future__ import annotations

import gc
import sys
import tracemalloc
from time import process_time
from typing import Any

from twisted.internet.task import Clock
from zope.interface import implementer

from sipgrace.interfaces import IAssociation, IClientTransactionUser, IServerTransactionUser, ITransactionUser
from sipgrace.message.derive import respond
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import TimerQueue

_REQUEST = (
    b"%b sip:bob@192.0.2.4:5060 SIP/2.0\r\n"
    b"Via: SIP/2.0/%b 192.0.2.9:5060;branch=z9hG4bK%b%d\r\n"
    b"Max-Forwards: 70\r\nContact: <sip:alice@192.0.2.9>\r\n"
    b"From: <sip:alice@atlanta.example>;tag=a%d\r\nTo: <sip:bob@biloxi.example>\r\n"
    b"Call-ID: %d@atlanta.example\r\nCSeq: 1 %b\r\nContent-Length: 0\r\n\r\n"
)


@implementer(IAssociation)
class Nowhere:
    """
    An association that takes everything.
    """

    zone = "network"
    peerHost = localHost = "192.0.2.1"
    peerPort = localPort = 5060
    opened = False
    up = True

    def __init__(self, transport: bytes) -> None:
        self.transport = transport
        self.reliable = transport != b"UDP"
        self.via = b"SIP/2.0/" + transport + b" 192.0.2.1:5060"

    def send(self, data: bytes) -> bool:
        return True

    def shutdown(self) -> None:
        pass

    def abort(self) -> None:
        pass


@implementer(ITransactionUser, IServerTransactionUser, IClientTransactionUser)
class Nobody:
    """
    A user with no work of its own.
    """

    last: Any = None

    def requestReceived(self, transaction: Any, request: Any) -> None:
        transaction.user = self
        self.last = transaction

    def ackReceived(self, request: object, association: IAssociation) -> None:
        pass

    def responseReceived(self, response: object, association: IAssociation) -> None:
        pass

    def serverTransactionEnded(self, transaction: object, reason: str) -> None:
        pass

    def clientResponse(self, transaction: object, response: object) -> None:
        pass

    def clientFailed(self, transaction: object, reason: str) -> None:
        pass


class Call:
    """
    The messages of one call, parsed and ready.
    """

    def __init__(self, number: int, transport: bytes) -> None:
        def request(method: bytes, side: bytes) -> Request:
            values = (method, transport, method + side, number, number, number, method)
            message = parse(_REQUEST % values)
            assert isinstance(message, Request)
            return message

        def response(to: Request, status: int) -> Response:
            message = parse(respond(to, status).toBytes())
            assert isinstance(message, Response)
            return message

        self.inviteIn, self.inviteOut = request(b"INVITE", b"in"), request(b"INVITE", b"out")
        self.byeIn, self.byeOut = request(b"BYE", b"in"), request(b"BYE", b"out")
        self.invite = [
            (response(self.inviteOut, status), response(self.inviteIn, status)) for status in (100, 180, 200)
        ]
        self.bye = (response(self.byeOut, 200), response(self.byeIn, 200))

    def messages(self) -> list[Request | Response]:
        """
        What leaves the proxy.
        """
        return [self.inviteOut, *(after for _, after in self.invite), self.byeOut, self.bye[1]]


def invites(layer: TransactionLayer, user: Nobody, association: Nowhere, calls: list[Call]) -> None:
    for call in calls:
        layer.messageReceived(call.inviteIn, association)
        server = user.last
        server.respond(call.invite[0][1])
        layer.request(call.inviteOut, association, user)
        layer.messageReceived(call.invite[0][0], association)
        for before, after in call.invite[1:]:
            layer.messageReceived(before, association)
            server.respond(after)


def byes(layer: TransactionLayer, user: Nobody, association: Nowhere, calls: list[Call]) -> None:
    for call in calls:
        layer.messageReceived(call.byeIn, association)
        server = user.last
        layer.request(call.byeOut, association, user)
        layer.messageReceived(call.bye[0], association)
        server.respond(call.bye[1])


def measure(transport: bytes, count: int) -> None:
    clock = Clock()
    user = Nobody()
    layer = TransactionLayer(TimerQueue(clock), user)
    association = Nowhere(transport)
    calls = [Call(number, transport) for number in range(count)]

    def spent(work: Any) -> float:
        gc.collect()
        start = process_time()
        work()
        return (process_time() - start) / count * 1e6

    written = spent(lambda: [message.toBytes() for call in calls for message in call.messages()])
    invite = spent(lambda: invites(layer, user, association, calls))
    bye = spent(lambda: byes(layer, user, association, calls))
    timers = spent(lambda: clock.pump([0.05] * 700))
    left = sum(value for key, value in layer.counts().items() if key != "timers")
    print(
        f"{transport.decode():5} INVITE {invite:5.1f}  BYE {bye:5.1f}  timers {timers:5.1f}  "
        f"together {invite + bye + timers:5.1f} us a call, of which written out {written:4.1f};  {left} left"
    )


def keep(count: int) -> None:
    """
    How much memory an answered call holds until its timers have run out.
    """
    user = Nobody()
    layer = TransactionLayer(TimerQueue(Clock()), user)
    calls = [Call(number, b"SCTP") for number in range(count)]
    tracemalloc.start()
    invites(layer, user, Nowhere(b"SCTP"), calls)
    print(f"kept for 32 s after the 200: {tracemalloc.get_traced_memory()[0] / count:.0f} B a call")
    tracemalloc.stop()


def lose(count: int) -> None:
    """
    How long the loss of an association holds the reactor up.
    """
    user = Nobody()
    layer = TransactionLayer(TimerQueue(Clock()), user)
    mine, other = Nowhere(b"SCTP"), Nowhere(b"SCTP")
    invites(layer, user, other, [Call(number, b"SCTP") for number in range(count // 2)])
    turns = []
    later: list[Any] = []
    layer.timers.soon = later.append
    for association in (mine, other):
        later.append(lambda each=association: layer.associationLost(each))
        while later:
            start = process_time()
            later.pop()()
            turns.append((process_time() - start) * 1000)
    print(
        f"loss of an association among {count} transactions: {turns[0]:.1f} ms where none is its own; "
        f"where all are, {len(turns) - 1} turns, the longest {max(turns[1:]):.1f} ms"
    )


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 5000
    for each in (b"SCTP", b"UDP"):
        measure(each, number)
    keep(1000)
    lose(50_000)
