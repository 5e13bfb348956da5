"""
Ending calls that a callee has answered but that no caller can be given any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation
from sipgrace.message.headers import NameAddr
from sipgrace.message.message import Request, Response
from sipgrace.proxy.routes import along

if TYPE_CHECKING:
    from sipgrace.proxy.core import ProxyCore


class Ghost:
    """
    A 2xx of an INVITE came when its server transaction had answered otherwise, or could not answer any more:
    the CANCEL had crossed it, or another attempt had failed in the meantime. RFC 3261 knows nothing to be
    done then; the callee would wait for an ACK for 32 s (§13.3.1.4) and speak to nobody. So it is
    acknowledged and ended here, in the caller's name.
    """

    __slots__ = ("_acks", "_association", "_core", "_invite", "_reason")

    def __init__(self, core: ProxyCore, invite: Request, association: IAssociation, reason: bytes) -> None:
        """
        @param invite: as it was sent, our Via on top.
        @param association: where it went; ACK and BYE take the same way.
        @param reason: the value of the Reason header (RFC 3326), or empty for none.
        """
        self._core = core
        self._invite = invite
        self._association = association
        self._reason = reason
        self._acks: dict[bytes, bytes] = {}

    def answered(self, response: Response) -> None:
        """
        A 2xx: each is acknowledged, the first of each dialog is followed by BYE.
        """
        ack = self._acks.get(response.toTag)
        if not self._acks:
            self._core.counters["ghosts"] += 1
        if ack is None:
            uri, routes = self._path(response)
            ack = self._request(b"ACK", self._invite.cseq, response, uri, routes).toBytes()
            self._acks[response.toTag] = ack
            self._association.send(ack)
            bye = self._request(b"BYE", self._invite.cseq + 1, response, uri, routes)
            if self._reason:
                bye.add(b"Reason", self._reason)
            self._core.layer.request(bye, self._association, None)
        else:
            self._association.send(ack)

    def _path(self, response: Response) -> tuple[bytes, list[bytes]]:
        """
        Request-URI and Routes within the dialog, as seen from here (RFC 3261 §12.1.2, §12.2.1.1): of the
        Record-Routes those that elements after us have put on top of what we sent.
        """
        uri = self._invite.uri
        try:
            recorded = response.elements(b"Record-Route")
            routes = recorded[: max(0, len(recorded) - len(self._invite.elements(b"Record-Route")))]
            routes.reverse()
            contacts = response.elements(b"Contact")
            if contacts:
                uri = bytes(NameAddr.parse(contacts[0]).uri)
            return along(uri, routes)[:2]
        except ParseError:
            return self._invite.uri, []

    def _request(
        self, method: bytes, cseq: int, response: Response, uri: bytes, routes: list[bytes]
    ) -> Request:
        return Request.make(
            method,
            uri,
            (
                (b"Via", self._core.trail.via(self._association, 0)),
                (b"Max-Forwards", b"70"),
                *((b"Route", route) for route in routes),
                (b"From", self._invite.fromValue),
                (b"To", response.toValue),
                (b"Call-ID", self._invite.callId),
                (b"CSeq", b"%d %b" % (cseq, method)),
            ),
        )
