"""
The link between the front and one of its workers: AMP over a socket pair that the worker inherits. What one
side asks for is done in the order in which it was asked, so that what is told before a shutdown leaves before
it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, maybeDeferred
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.protocols import amp
from twisted.python.failure import Failure

from sipgrace.control.commands import JSON
from sipgrace.control.link import Link
from sipgrace.errors import SIPGraceError, TransportError
from sipgrace.transport import handed

__all__ = ["End"]


class Do(amp.Command):
    """
    Do something by its name.
    """

    arguments = [(b"name", amp.Unicode()), (b"values", JSON())]
    response = [(b"result", JSON())]
    errors = {TransportError: b"REFUSED"}


class Take(amp.Command):
    """
    Take a socket; see L{sipgrace.transport.handed}.
    """

    arguments = [
        (b"kind", amp.Unicode()),
        (b"host", amp.Unicode()),
        (b"port", amp.Integer()),
        (b"stream", amp.Boolean()),
        (b"given", amp.Descriptor()),
    ]


class End(Link):
    """
    One end of it.

    @ivar does: what the other side may ask for here, by name.
    @ivar onGone: called once, when it is lost.
    """

    def __init__(self, does: Mapping[str, Callable[..., Any]], onGone: Callable[[], None]) -> None:
        super().__init__()
        self.does = does
        self.onGone = onGone

    def do(self, name: str, **values: Any) -> Deferred[Any]:
        """
        Asks the other side.

        @param values: fit for JSON.
        @return: fires with what came of it; fails with L{TransportError} where it could not be done, and with
            a C{ConnectionLost} where the other side has gone.
        """
        if self.gone:
            return fail(ConnectionDone())
        asked: Deferred[Any] = self.callRemote(Do, name=name, values=values)
        return asked.addCallback(lambda answer: answer["result"])

    def hand(self, kind: str, host: str, port: int, given: socket.socket) -> Deferred[Any]:
        """
        Hands a socket over; ours stays open.
        """
        stream = given.type == socket.SOCK_STREAM
        asked: Deferred[Any] = self.callRemote(
            Take, kind=kind, host=host, port=port, stream=stream, given=given.fileno()
        )
        return asked

    @Do.responder
    def _do(self, name: str, values: Any) -> Deferred[dict[str, Any]]:
        done = maybeDeferred(self.does[name], **values)
        return done.addCallbacks(lambda result: {"result": result}, self._failed)

    @staticmethod
    def _failed(failure: Failure) -> Failure:
        if failure.check(SIPGraceError, OSError):
            raise TransportError(failure.getErrorMessage())
        return failure

    @Take.responder
    def _take(self, kind: str, host: str, port: int, stream: bool, given: int) -> dict[str, Any]:
        handed.put(kind, host, port, socket.socket(fileno=given))
        return {}

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        super().connectionLost(reason)
        self.onGone()
