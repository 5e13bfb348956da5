"""
Fakes for the tests of the transaction layer: everything that happens goes into one journal, in order.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from twisted.internet.task import Clock
from zope.interface import implementer

from sipgrace.interfaces import IAssociation, IClientTransactionUser, IServerTransactionUser, ITransactionUser
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse
from sipgrace.transaction.layer import TransactionLayer
from sipgrace.transaction.timers import Timer, TimerQueue, Timers

TICK = 0.125
"""
A tick that floating point represents exactly, and T1 too, so that times can be compared exactly.
"""

BRANCH = b"z9hG4bK74bf9"
SENT_BY = b"192.0.2.7:5060"
TRANSPORTS = {False: b"UDP", True: b"SCTP"}


def makeRequest(
    method: bytes,
    branch: bytes = BRANCH,
    sentBy: bytes = SENT_BY,
    transport: bytes = b"UDP",
    *,
    uri: bytes = b"sip:bob@biloxi.example",
    to: bytes = b"<sip:bob@biloxi.example>",
    cseq: int = 1,
) -> Request:
    """
    A parsed request.

    @param branch: empty for a Via without branch.
    """
    via = b"SIP/2.0/" + transport + b" " + sentBy + (b";branch=" + branch if branch else b"")
    message = parse(
        method + b" " + uri + b" SIP/2.0\r\n"
        b"Via: " + via + b"\r\n"
        b"Max-Forwards: 70\r\n"
        b"From: <sip:alice@atlanta.example>;tag=9fxced76sl\r\n"
        b"To: " + to + b"\r\n"
        b"Call-ID: 3848276298220188511@atlanta.example\r\n"
        b"CSeq: %d %b\r\n"
        b"Content-Length: 0\r\n"
        b"\r\n" % (cseq, method)
    )
    assert isinstance(message, Request)
    return message


def makeResponse(request: Request, status: int, toTag: bytes = b"314159") -> Response:
    """
    A parsed response to C{request}, as its receiver would see it.
    """
    to = request.toValue
    if status > 100 and not request.toTag:
        to += b";tag=" + toTag
    message = parse(
        b"SIP/2.0 %d Whatever\r\n"
        b"Via: %b\r\n"
        b"From: %b\r\n"
        b"To: %b\r\n"
        b"Call-ID: %b\r\n"
        b"CSeq: %d %b\r\n"
        b"Content-Length: 0\r\n"
        b"\r\n"
        % (
            status,
            request.get(b"Via"),
            request.fromValue,
            to,
            request.callId,
            request.cseq,
            request.method,
        )
    )
    assert isinstance(message, Response)
    return message


@implementer(IAssociation)
class FakeAssociation:
    """
    Takes what is sent, and writes it into the journal: C{again} where the same bytes were the last of
    that method or of any response before, else the method, or C{send} and the status.
    """

    zone = "network"
    peerHost = "192.0.2.7"
    peerPort = 5060
    localHost = "192.0.2.1"
    localPort = 5060
    opened = False

    def __init__(self, journal: Callable[[str], None], reliable: bool) -> None:
        self.journal = journal
        self.reliable = reliable
        self.transport = TRANSPORTS[reliable]
        self.via = b"SIP/2.0/" + self.transport + b" 192.0.2.1:5060"
        self.up = True
        self.sent: list[bytes] = []
        self.whileSending: Callable[[], None] | None = None

    def send(self, data: bytes) -> bool:
        if not self.up:
            return False
        if self.sent and self.sent[-1] == data:
            self.journal("again")
        elif data.startswith(b"SIP/2.0 "):
            self.journal(f"send {data[8:11].decode()}")
        else:
            self.journal(data.split(b" ", 1)[0].decode())
        self.sent.append(data)
        if self.whileSending is not None:
            self.whileSending()
        return self.up

    def shutdown(self) -> None:
        self.up = False

    def abort(self) -> None:
        self.up = False


@implementer(ITransactionUser, IServerTransactionUser, IClientTransactionUser)
class FakeUser:
    """
    The user of the layer and of all its transactions; C{onRequest} answers new requests.
    """

    def __init__(self, journal: Callable[[str], None]) -> None:
        self.journal = journal
        self.transactions: list[Any] = []
        self.onRequest: Callable[[Any, Any], None] = lambda transaction, request: None

    def requestReceived(self, transaction: Any, request: Any) -> None:
        self.journal(f"new {request.method.decode()}")
        self.transactions.append(transaction)
        transaction.user = self
        self.onRequest(transaction, request)

    def ackReceived(self, request: Any, association: IAssociation) -> None:
        self.journal("pass")

    def responseReceived(self, response: Any, association: IAssociation) -> None:
        self.journal(f"stray {response.status}")

    def serverTransactionEnded(self, transaction: Any, reason: str) -> None:
        assert transaction.request is None
        self.journal(f"end {reason}")

    def clientResponse(self, transaction: Any, response: Any) -> None:
        self.journal(f"tell {response.status}")

    def clientFailed(self, transaction: Any, reason: str) -> None:
        self.journal(f"fail {reason}")


class SpyTimers(TimerQueue):
    """
    Writes the timers that C{watched} sets into the journal.
    """

    NAMES = {
        "_timerCancel": "cancel", "_expired": "expiry", "trying": "100", "late": "late",
        "timerJ": "J", "timerK": "K", "timerL": "L", "timerM": "M",
    }  # fmt: skip
    watched: object = None
    journal: Callable[[str], None]

    def after(self, seconds: float, callback: Callable[[], None]) -> None:
        if self.watched is not None and getattr(callback, "__self__", None) is self.watched:
            name: str = callback.__name__
            self.journal(f"set {self.NAMES.get(name, name.removeprefix('_timer'))}")
        super().after(seconds, callback)

    def timer(self, seconds: float, fire: Callable[[Any], None]) -> Timer:
        timer = SpyTimer(self, seconds, fire)
        self._kept.append(timer)
        return timer


class SpyTimer(Timer):
    """
    One of theirs.
    """

    def __init__(self, queue: SpyTimers, seconds: float, fire: Callable[[Any], None]) -> None:
        super().__init__(queue, seconds, fire)
        self.spy = queue
        self.name = fire.__name__

    def set(self, subject: Any) -> None:
        if self.spy.watched is not None and subject is self.spy.watched:
            self.spy.journal(f"set {self.spy.NAMES.get(self.name, self.name)}")
        super().set(subject)


class Rig:
    """
    A layer on one association, with a clock.

    @ivar events: what happened.
    @ivar times: the same with the seconds since the start.
    """

    def __init__(self, reliable: bool = False, values: Timers | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.events: list[str] = []
        self.times: list[tuple[float, str]] = []
        self.reliable = reliable
        self.timers = SpyTimers(self.clock, TICK)
        self.timers.journal = self.journal
        self.association = FakeAssociation(self.journal, reliable)
        self.user = FakeUser(self.journal)
        self.layer = TransactionLayer(self.timers, self.user, values, **settings)

    def journal(self, event: str) -> None:
        self.events.append(event)
        self.times.append((self.clock.seconds(), event))

    def clear(self) -> None:
        self.events.clear()
        self.times.clear()

    def receive(self, message: Request | Response, association: IAssociation | None = None) -> None:
        self.layer.messageReceived(message, association or self.association)

    def server(self, method: bytes) -> Any:
        """
        A server transaction for a request that has just come.
        """
        self.receive(self.makeRequest(method))
        return self.user.transactions[-1]

    def client(self, method: bytes) -> Any:
        """
        A client transaction that has just sent its request.
        """
        return self.layer.request(self.makeRequest(method), self.association, self.user)

    def makeRequest(self, method: bytes, **changes: Any) -> Request:
        return makeRequest(method, transport=self.association.transport, **changes)

    def run(self, seconds: float) -> None:
        """
        Lets time pass tick by tick.
        """
        end = self.clock.seconds() + seconds
        while self.clock.seconds() < end:
            self.clock.advance(TICK)


def readGrids(source: str) -> dict[tuple[str, str], list[str]]:
    """
    The grids drawn in the comments of a module: what is to happen, by input and state. A cell may go on
    in the lines below it, where the first column is empty.
    """
    cells: dict[tuple[str, str], str] = {}
    states: list[str] = []
    rows: list[list[str]] = []

    def close() -> None:
        for name, *texts in rows:
            for state, text in zip(states, texts, strict=True):
                assert (name, state) not in cells, f"{name} in {state} is there twice"
                cells[name, state] = text
        rows.clear()

    lines = re.findall(r"^# (\|.*\|)$", source, flags=re.MULTILINE)
    for number, line in enumerate(lines):
        columns = [column.strip() for column in line[1:-1].split("|")]
        if number + 1 < len(lines) and lines[number + 1].startswith("|--"):
            close()
            states = columns[1:]
        elif line.startswith("|--"):
            continue
        elif columns[0]:
            rows.append(columns)
        else:
            rows[-1] = [" ".join(filter(None, pair)) for pair in zip(rows[-1], columns, strict=True)]
    close()
    return {key: [] if text == "-" else text.split(", ") for key, text in cells.items()}


def drawn(module: ModuleType, states: Sequence[str]) -> dict[tuple[str, str], str]:
    """
    The grid as it is drawn in a module's docstring: the cells by state and input.
    """
    lines = (module.__doc__ or "").splitlines()
    head = next(at for at, line in enumerate(lines) if line.split() == list(states))
    cells: dict[tuple[str, str], str] = {}
    for line in lines[head + 1 :]:
        if not line.strip():
            break
        name, *row = line.split()
        for state, cell in zip(states, row, strict=True):
            cells[state, name] = cell
    return cells


def stateNames(module: ModuleType) -> dict[int, str]:
    """
    The states of a machine, as its grid writes them.
    """
    return {
        value: name.title()
        for name, value in vars(module).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, int)
    }
