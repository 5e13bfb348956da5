"""
What is said on a link between a node (a server or a client) and whoever watches it or gives it orders, as AMP
commands. The local socket (L{sipgrace.control.local}) speaks them; so can any other link.

AMP (U{https://amp-protocol.net/}) sends boxes of keys and values and limits each value to 65,535 bytes; what
may become longer than that is L{JSON} here.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.protocols import amp

from sipgrace.errors import NotAllowed, OrderRefused, SIPGraceError, StoreError
from sipgrace.lifecycle.orders import LONGEST_WHY

__all__ = [
    "JSON",
    "Alive",
    "Available",
    "Command",
    "Confirm",
    "GetReroutes",
    "GetStatus",
    "GiveOrder",
    "GiveSigned",
    "Happened",
    "Hello",
    "NotOffered",
    "Rehearsed",
    "Report",
    "Standing",
    "Unavailable",
    "Watch",
    "phrase",
]


def phrase(why: str) -> str:
    """
    @param why: the reason for an order.
    @return: the same.
    @raise OrderRefused: unless it is fit for a header and a line in a log.
    """
    if len(why) > LONGEST_WHY:
        raise OrderRefused(f"why: at most {LONGEST_WHY} characters are expected, found {len(why)}")
    if not why.isprintable():
        raise OrderRefused("why: one line of printable characters is expected")
    return why


class NotOffered(SIPGraceError):
    """
    This node has nothing of the kind; the text says which has.
    """

    status = 501


class JSON(amp.Argument):
    """
    A value of any length, as JSON in UTF-8. What does not fit under the argument's own name goes on under
    C{name.1}, C{name.2} and so on.
    """

    #: The most bytes in one AMP value.
    PIECE = 0xFFFF

    def __init__(self, optional: bool = False) -> None:
        super().__init__(optional)

    def toBox(self, name: bytes, strings: Any, objects: Any, proto: object) -> None:
        """
        See C{amp.IArgumentType}.
        """
        value = objects.get(name.decode("ascii"))
        if value is None and self.optional:
            return
        text = json.dumps(value, separators=(",", ":")).encode("utf-8")
        for at in range(0, len(text), self.PIECE):
            strings[_piece(name, at // self.PIECE)] = text[at : at + self.PIECE]

    def fromBox(self, name: bytes, strings: Any, objects: Any, proto: object) -> None:
        """
        See C{amp.IArgumentType}.
        """
        if name not in strings and self.optional:
            objects[name.decode("ascii")] = None
            return
        pieces: list[bytes] = [strings.pop(name)]
        while (piece := strings.pop(_piece(name, len(pieces)), None)) is not None:
            pieces.append(piece)
        objects[name.decode("ascii")] = json.loads(b"".join(pieces))


def _piece(name: bytes, number: int) -> bytes:
    return b"%b.%d" % (name, number) if number else name


class Command(amp.Command):
    """
    A command whose arguments may come from anybody: those that cannot be read are answered as an error rather
    than logged with a traceback.
    """

    @classmethod
    def parseArguments(cls, box: Any, protocol: Any) -> Any:
        """
        See C{amp.Command}.
        """
        try:
            return super().parseArguments(box, protocol)
        except Exception as error:
            name = cls.commandName.decode("ascii")
            raise amp.RemoteAmpError(
                b"MALFORMED", f"{name}: its arguments cannot be read: {error!r}"
            ) from None


class GetStatus(Command):
    """
    How things stand: what the role tells of itself, with C{version} (of this package) and C{pid}.
    """

    commandName = b"status"
    response = [(b"status", JSON())]


_OBEYED = [
    (b"number", amp.Integer()),
    (b"state", amp.Unicode()),
    (b"id", amp.Unicode()),
    (b"result", JSON(optional=True)),
]


class GiveOrder(Command):
    """
    Gives a node an order; see L{sipgrace.lifecycle.orders.Order} for what the arguments mean. The answer says
    that it was obeyed, not that it has been carried out: L{Watch} tells of that.

    C{who} is for links that carry other people's orders; where the link itself knows who is at the other end,
    it does not count.

    Answered with C{number}: what the order did, and all that comes after it, is told in events of a higher
    number; with C{state}: where the node stands now; with C{id}: the order's nonce, by which the audit log
    knows it; and, for a rehearsal, with C{result}.
    """

    commandName = b"order"
    arguments = [
        (b"kind", amp.Unicode()),
        (b"who", amp.Unicode(optional=True)),
        (b"why", amp.Unicode(optional=True)),
        (b"guard", amp.Float(optional=True)),
        (b"retryAfter", amp.Float(optional=True)),
        (b"announce", amp.Unicode(optional=True)),
        (b"back", amp.Float(optional=True)),
        (b"over", amp.Float(optional=True)),
        (b"then", amp.Unicode(optional=True)),
        (b"server", amp.Unicode(optional=True)),
        (b"rule", amp.Unicode(optional=True)),
    ]
    response = _OBEYED
    errors = {OrderRefused: b"REFUSED"}


class GiveSigned(Command):
    """
    Gives a node an order that is signed: L{sipgrace.lifecycle.orderform.SignedOrder} as JSON. Answered as
    L{GiveOrder} is.
    """

    commandName = b"signed"
    arguments = [(b"signed", JSON())]
    response = _OBEYED
    errors = {OrderRefused: b"REFUSED"}


class GetReroutes(Command):
    """
    Which calls a client had to try at another server, oldest first: a page of those with a higher number than
    C{since}. Ask again from the last one's number until none come.

    C{total} says how many there ever were; a node keeps the last of them only.
    """

    commandName = b"reroutes"
    arguments = [(b"since", amp.Integer())]
    response = [(b"reroutes", JSON()), (b"total", amp.Integer())]
    errors = {NotOffered: b"NOT_OFFERED"}


class Watch(Command):
    """
    Has a L{Happened} follow for everything that happens to the node from now on. Answered with the number of
    the last event before.
    """

    commandName = b"watch"
    response = [(b"number", amp.Integer())]


class Rehearsed(Command):
    """
    Told by a node to whoever had it rehearse a drain, and to nobody else, when the time of that drain is
    over: what would have come of it. C{id} is that of the order.
    """

    commandName = b"rehearsed"
    arguments = [(b"id", amp.Unicode()), (b"facts", JSON())]
    requiresAnswer = False


class Happened(Command):
    """
    Told by a node to those who watch it. An event is an object with the names of
    L{sipgrace.lifecycle.events.Event}, but that C{at} is in seconds since the epoch, and that C{guardLeft}
    and C{retryAfter} are the seconds that were left then to its C{deadline} and its C{until}. C{clock}
    is when it was told by the host's monotonic clock (C{time.monotonic()}), by which all processes of one
    host can measure how long something took.
    """

    commandName = b"happened"
    arguments = [(b"event", JSON())]
    requiresAnswer = False


# What follows is said on a node's link to a controller alone.


class Hello(Command):
    """
    The first that a node says to a controller: C{name}, C{role} (C{server} or C{client}), C{version},
    C{boot} (which tells this run of the process from every other), C{number} (of its last event), C{labels},
    C{group}.

    Answered with C{since}: the number of the last event of this boot that the controller knows. Those after
    it follow as L{Happened}, as far as they are kept, and then all that come.
    """

    commandName = b"hello"
    arguments = [(b"hello", JSON())]
    response = [(b"since", amp.Integer())]
    errors = {NotAllowed: b"NOT_ALLOWED"}


class Standing(Command):
    """
    How a node stands, in brief: told whenever that has changed, and every ten seconds as a sign of life.
    """

    commandName = b"standing"
    arguments = [(b"standing", JSON())]
    requiresAnswer = False


class Report(Command):
    """
    What became of a drain that is over: C{report} is as the files of reports have it, C{at} when the drain
    began, in seconds since the epoch. Told again after each break of the link until it is answered, and anew
    when there is more to tell of the same drain; the later one counts.
    """

    commandName = b"report"
    arguments = [(b"at", amp.Float()), (b"report", JSON())]
    errors = {StoreError: b"NOT_STORED", NotAllowed: b"NOT_ALLOWED"}


class Confirm(Command):
    """
    A node asks a controller whether an order that came on this link is the controller's own.
    """

    commandName = b"confirm"
    arguments = [(b"signed", JSON())]
    response = [(b"right", amp.Boolean())]
    errors = {NotAllowed: b"NOT_ALLOWED"}


class Alive(Command):
    """
    A node asks whether the controller is still there.
    """

    commandName = b"alive"


class Unavailable(Command):
    """
    A controller tells a client that a server is unavailable for C{retryAfter} seconds, and scheduled to be
    back at C{back} (seconds since the epoch, where that is known). The client takes it as the server's own
    word.
    """

    commandName = b"unavailable"
    arguments = [
        (b"server", amp.Unicode()),
        (b"retryAfter", amp.Float()),
        (b"back", amp.Float(optional=True)),
        (b"why", amp.Unicode(optional=True)),
    ]
    errors = {OrderRefused: b"REFUSED", NotOffered: b"NOT_OFFERED"}


class Available(Command):
    """
    Takes L{Unavailable} back: the client tests the server now.
    """

    commandName = b"available"
    arguments = [(b"server", amp.Unicode()), (b"why", amp.Unicode(optional=True))]
    errors = {OrderRefused: b"REFUSED", NotOffered: b"NOT_OFFERED"}
