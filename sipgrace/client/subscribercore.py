"""
What the states of a client's subscription share: its dialog, and the SUBSCRIBEs in it. The states themselves
are in L{sipgrace.client.subscribermachine}.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from zope.interface import implementer

from sipgrace.client.probe import Requester
from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation, IClientTransactionUser
from sipgrace.lifecycle.availability import CONTENT_TYPE, EVENT
from sipgrace.message.headers import NameAddr
from sipgrace.message.message import Message, Request, Response
from sipgrace.message.uri import SIPURI, hostPort

#: What is asked for, in seconds; a server may grant less (RFC 6665 §5.4.5).
EXPIRES: Final = 3600

#: A subscription is refreshed when so much of its time is over.
_REFRESHED: Final = 0.75


class Subscribing(Protocol):
    """
    The inputs.
    """

    def made(self) -> None:
        """
        There is an association.
        """

    def lost(self) -> None:
        """
        It is no concern any more.
        """

    def _accepted(self, expires: float) -> None:
        """
        SUBSCRIBE was answered 2xx.
        """

    def _refused(self) -> None:
        """
        It was answered otherwise, or not at all.
        """

    def _notified(self, expires: float | None) -> None:
        """
        A NOTIFY of a subscription that goes on.
        """

    def _ended(self, seconds: float) -> None:
        """
        A NOTIFY that ends it; it may be asked for again after so many seconds.
        """

    def _barred(self) -> None:
        """
        A NOTIFY that ends it for good.
        """

    def _due(self) -> None:
        """
        The time that this state waits for has come.
        """


@dataclass(eq=False)
class SubscriberCore:
    """
    What the states share.

    @ivar offer: further parameters of its Vias.
    @ivar heard: told of each answer to a SUBSCRIBE.
    @ivar begun: called before a dialog begins, when C{callId} is known; C{over} when it has ended.
    @ivar state: the state's name, for displays alone.
    @ivar callId: of the dialog; C{b""} where there is none.
    @ivar tag: ours in it.
    @ivar remoteTag: the server's; C{b""} while it is not known.
    @ivar remoteSequence: of the last NOTIFY; -1 before the first.
    """

    clock: IReactorTime
    layer: Requester
    identifier: Callable[[], bytes]
    offer: bytes
    heard: Callable[[Response], None]
    begun: Callable[[], None]
    over: Callable[[], None]

    association: IAssociation | None = None
    state: str = "Idle"
    callId: bytes = b""
    tag: bytes = b""
    remoteTag: bytes = b""
    remoteSequence: int = -1

    _to: bytes = b""
    _target: bytes = b""
    _sequence: int = 0
    _asked: _Asked | None = None
    _timer: IDelayedCall | None = None

    def enter(self, state: str) -> None:
        """
        Leaves a state for another: what it waited for does not come any more.
        """
        self.state = state
        timer, self._timer = self._timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def wait(self, c: Subscribing, seconds: float) -> None:
        """
        Has C{_due} follow, and no other one.
        """
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = self.clock.callLater(seconds, c._due)

    def renew(self, c: Subscribing, expires: float | None) -> None:
        """
        Sets the time of the next SUBSCRIBE.

        @param expires: seconds that the subscription lasts; C{None} where that was not said.
        """
        if expires is not None:
            self.wait(c, expires * _REFRESHED)
        elif self._timer is None or not self._timer.active():
            self.wait(c, EXPIRES * _REFRESHED)

    # ------------------------------------------------------------------ dialog

    def begin(self, c: Subscribing) -> None:
        """
        Sends a SUBSCRIBE outside of any dialog.
        """
        self.forget()
        association = self.association
        if association is None:
            return
        identifier = self.identifier()
        self.callId = identifier + b"@" + hostPort(association.localHost.encode("ascii"))
        self.tag = self.identifier()
        peer = hostPort(association.peerHost.encode("ascii"), association.peerPort)
        self._target = b"sip:%b;transport=%b" % (peer, association.transport.lower())
        self._to = b"<%b>" % self._target
        self.begun()
        self.subscribe(c)

    def forget(self) -> None:
        """
        There is no dialog any more.
        """
        if self.callId:
            self.over()
        self.callId = self.tag = self.remoteTag = b""
        self.remoteSequence = -1
        self._sequence = 0
        self._asked = None

    def subscribe(self, c: Subscribing) -> None:
        """
        Sends a SUBSCRIBE in the dialog. With Max-Forwards 0 it is for whoever receives it, and goes no
        further where nobody there knows what it means.
        """
        association = self.association
        if association is None:
            return
        self._sequence += 1
        ours = hostPort(association.localHost.encode("ascii"), association.localPort)
        self._asked = asked = _Asked(self, c)
        via = b"%b;branch=z9hG4bK%b%b" % (association.via, self.identifier(), self.offer)
        request = Request.make(
            b"SUBSCRIBE",
            self._target,
            (
                (b"Via", via),
                (b"Max-Forwards", b"0"),
                (b"From", b"<sip:%b>;tag=%b" % (ours, self.tag)),
                (b"To", self._to),
                (b"Call-ID", self.callId),
                (b"CSeq", b"%d SUBSCRIBE" % self._sequence),
                (b"Contact", b"<%b>" % contactURI(association)),
                (b"Event", EVENT),
                (b"Expires", b"%d" % EXPIRES),
                (b"Accept", CONTENT_TYPE),
            ),
        )
        self.layer.request(request, association, asked)

    def answered(self, c: Subscribing, asked: _Asked, response: Response) -> None:
        """
        The answer to a SUBSCRIBE.
        """
        self.heard(response)
        if self._asked is not asked or response.status < 200:
            return
        self._asked = None
        if response.status >= 300 or not self._follow(response.toTag, response.toValue):
            c._refused()
            return
        self.retarget(response)
        expires = response.get(b"Expires")
        c._accepted(float(expires) if expires is not None and expires.isdigit() else EXPIRES)

    def failed(self, c: Subscribing, asked: _Asked) -> None:
        """
        No answer will come.
        """
        if self._asked is asked:
            self._asked = None
            c._refused()

    def follows(self, request: Request) -> bool:
        """
        Whether a request comes from the other end of the dialog, as far as its tags say. The first one may
        come before the answer to the SUBSCRIBE, and then makes the dialog.
        """
        return request.toTag == self.tag and self._follow(request.fromTag, request.fromValue)

    def _follow(self, remoteTag: bytes, value: bytes) -> bool:
        if not self.remoteTag and remoteTag:
            self.remoteTag = remoteTag
            self._to = value
        return bool(remoteTag) and remoteTag == self.remoteTag

    def retarget(self, message: Message) -> None:
        """
        Takes the place from a Contact to which further requests in the dialog are addressed.
        """
        value = message.get(b"Contact")
        if value is None:
            return
        try:
            uri = NameAddr.parse(value).uri
        except ParseError:
            return
        if isinstance(uri, SIPURI):
            self._target = bytes(uri)


def contactURI(association: IAssociation) -> bytes:
    """
    Where we are to be found, for those at the other end of this association.
    """
    _, _, sentBy = association.via.partition(b" ")
    return b"sip:%b;transport=%b" % (sentBy, association.transport.lower())


@implementer(IClientTransactionUser)
class _Asked:
    """
    One SUBSCRIBE under way.
    """

    __slots__ = ("_c", "_core")

    def __init__(self, core: SubscriberCore, c: Subscribing) -> None:
        self._core = core
        self._c = c

    def clientResponse(self, transaction: object, response: Response) -> None:
        """
        See L{IClientTransactionUser}.
        """
        self._core.answered(self._c, self, response)

    def clientFailed(self, transaction: object, reason: str) -> None:
        """
        See L{IClientTransactionUser}.
        """
        self._core.failed(self._c, self)
