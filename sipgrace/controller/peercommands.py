"""
What one controller says to another, as AMP commands. Each opens a link to the other; on it the one that has
opened it asks, and the other one tells of its nodes.
"""

from __future__ import annotations

from twisted.protocols import amp

from sipgrace.control.commands import JSON, Command
from sipgrace.control.remote import Unreachable
from sipgrace.errors import NotAllowed, OrderRefused, StoreError, Unknown

__all__ = ["AskStatus", "PassAnnouncement", "PassOrder", "PassWithdrawal", "PeerHello", "PeerTold"]


class PeerHello(Command):
    """
    The first that a controller says to another: C{name}, C{version}. From then on it is told of the other's
    nodes by L{PeerTold}.
    """

    commandName = b"peer-hello"
    arguments = [(b"hello", JSON())]
    errors = {NotAllowed: b"NOT_ALLOWED"}


class PeerTold(Command):
    """
    Something about a node of the controller that says it: C{kind} and C{facts} as
    L{sipgrace.controller.facts.Notice} has them (C{node}, C{event}, C{order}, C{report}). At the beginning
    all nodes are told, and then C{all} with their names: there are no others.
    """

    commandName = b"peer-told"
    arguments = [(b"kind", amp.Unicode()), (b"node", amp.Unicode()), (b"facts", JSON())]
    requiresAnswer = False


class _Passing(Command):
    errors = {
        # The most special ones first.
        NotAllowed: b"NOT_ALLOWED",
        OrderRefused: b"REFUSED",
        Unknown: b"NOT_KNOWN",
        StoreError: b"NOT_STORED",
        Unreachable: b"UNREACHABLE",
    }


class PassOrder(_Passing):
    """
    Somebody asks an order of us for a node of yours: C{values} as
    L{sipgrace.controller.seams.IController.order} takes them, the C{person} and their C{role} with us.
    Answered with the record of the order, which stays with you.
    """

    commandName = b"pass-order"
    arguments = [(b"values", JSON()), (b"person", amp.Unicode()), (b"role", amp.Unicode())]
    response = [(b"record", JSON())]
    errors = _Passing.errors


class PassWithdrawal(_Passing):
    """
    Somebody withdraws an order that was passed on, and waits.
    """

    commandName = b"pass-withdrawal"
    arguments = [(b"id", amp.Unicode()), (b"person", amp.Unicode()), (b"role", amp.Unicode())]
    response = [(b"record", JSON())]
    errors = _Passing.errors


class AskStatus(_Passing):
    """
    Somebody asks what a node of yours tells of itself now; see L{sipgrace.control.commands.GetStatus}.
    """

    commandName = b"ask-status"
    arguments = [(b"node", amp.Unicode())]
    response = [(b"status", JSON())]
    errors = _Passing.errors


class PassAnnouncement(_Passing):
    """
    Somebody speaks for a server: tell your clients. C{values} are C{server}, C{why}, and unless it is
    available again, C{retryAfter} and perhaps C{back}. Answered with the names of those who were told.
    """

    commandName = b"pass-announcement"
    arguments = [(b"values", JSON()), (b"person", amp.Unicode()), (b"role", amp.Unicode())]
    response = [(b"told", JSON())]
    errors = _Passing.errors
