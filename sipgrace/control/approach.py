"""
The side of a link that has opened it: who is at the other end is known before anything is said.
"""

from __future__ import annotations

from typing import Any, TypeVar

from OpenSSL import SSL
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.interfaces import IHandshakeListener, IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from sipgrace.control.commands import Alive
from sipgrace.control.link import Link
from sipgrace.errors import NotAllowed, TransportError
from sipgrace.transport.keepalive import watchPeer
from sipgrace.transport.peernames import peerNames

__all__ = ["Approach", "connect"]

A = TypeVar("A", bound="Approach")

#: So many seconds the other side's host may be silent to the kernel's probes.
_SILENT = 20.0


@implementer(IHandshakeListener)
class Approach(Link):
    """
    One connection to a controller.

    @ivar controller: the controller's name; with TLS its certificate says the same, or nothing is said.
    @ivar greeted: whether the other side has answered our hello.
    @ivar why: why the connection has gone; C{None} before.
    """

    def __init__(self, controller: str, secure: bool, *more: Any) -> None:
        """
        @param secure: whether it is TLS.
        @param more: for the class beside this one.
        """
        super().__init__(*more)
        self.controller = controller
        self.why: Exception | None = None
        self._secure = secure
        self._isReady = False
        self.greeted = False
        self._readying: list[Deferred[Any]] = []

    def whenReady(self) -> Deferred[Any]:
        """
        @return: fires with this link when the other side is known to be the controller; fails with the reason
            why it is not.
        """
        ready: Deferred[Any] = Deferred()
        if self._isReady:
            ready.callback(self)
        elif self.gone:
            ready.errback(self.why or TransportError("the connection was lost"))
        else:
            self._readying.append(ready)
        return ready

    def connectionMade(self) -> None:
        """
        See C{IProtocol}.
        """
        watchPeer(self.transport, _SILENT)
        if not self._secure:
            self._ready()

    def handshakeCompleted(self) -> None:
        """
        See C{IHandshakeListener}.
        """
        names = peerNames(self.transport)
        if self.controller in names:
            self._ready()
        else:
            shown = ", ".join(names) or "nobody"
            self.why = NotAllowed(f"its certificate is that of {shown}, and not of {self.controller}")
            self.transport.abortConnection()

    def _ready(self) -> None:
        self._isReady = True
        readying, self._readying = self._readying, []
        for one in readying:
            one.callback(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        See C{IProtocol}.
        """
        if self.why is None and isinstance(reason.value, Exception):
            self.why = self._guess(reason.value)
        super().connectionLost(reason)
        readying, self._readying = self._readying, []
        for one in readying:
            one.errback(self.why or TransportError("the connection was lost"))

    def _guess(self, error: Exception) -> Exception:
        """
        Where there is TLS at one end alone nobody says so.
        """
        if isinstance(error, SSL.Error) or self.greeted:
            return error
        if self._secure and not self._isReady:
            return TransportError("it has hung up before it showed a certificate; is it without TLS?")
        if not self._secure:
            return TransportError("it has hung up without a word; does it listen for TLS?")
        return error

    def alive(self) -> Deferred[Any]:
        """
        Asks for a sign of life.
        """
        asked: Deferred[Any] = self.callRemote(Alive)
        return asked


def connect(endpoint: IStreamClientEndpoint, link: A) -> Deferred[A]:
    """
    Opens a link.

    @return: fires with it when the other side is known to be the controller. Cancelling it ends the link.
    """

    def abort(result: Any) -> Any:
        if isinstance(result, Failure) and link.transport is not None:
            link.transport.abortConnection()
        return result

    made: Deferred[A] = connectProtocol(endpoint, link)
    return made.addCallback(lambda link: link.whenReady()).addBoth(abort)
