"""
A phone's memory of one dialog (RFC 3261 §12), and the requests within it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sipgrace.message.headers import NameAddr
from sipgrace.message.message import Message, Request, Response
from sipgrace.message.uri import SIPURI, parseURI

__all__ = ["Dialog"]


@dataclass(slots=True)
class Dialog:
    """
    One dialog, from one side.

    @ivar local: what this side puts into From, its tag included; C{remote}: into To.
    @ivar target: the other side's Contact.
    @ivar routes: the route set, nearest first.
    @ivar cseq: the CSeq number of this side's last request.
    """

    callId: bytes
    local: bytes
    remote: bytes
    target: bytes
    routes: list[bytes] = field(default_factory=list)
    cseq: int = 0

    @classmethod
    def ofCaller(cls, response: Response) -> Dialog:
        """
        RFC 3261 §12.1.2: the route set is the Record-Route read from the far end.

        @param response: a 2xx to an INVITE.
        """
        return cls(
            response.callId,
            response.fromValue,
            response.toValue,
            _contact(response),
            response.elements(b"Record-Route")[::-1],
            response.cseq,
        )

    @classmethod
    def ofCallee(cls, request: Request, tag: bytes) -> Dialog:
        """
        RFC 3261 §12.1.1.

        @param request: the INVITE.
        @param tag: the tag of this side.
        """
        return cls(
            request.callId,
            request.toValue + b";tag=" + tag,
            request.fromValue,
            _contact(request),
            request.elements(b"Record-Route"),
        )

    def request(self, method: bytes, cseq: int | None = None) -> Request:
        """
        @param cseq: the number of the INVITE for its ACK; by default the next one.
        @return: a request within the dialog, without a Via (§12.2.1.1).
        """
        if cseq is None:
            self.cseq += 1
            cseq = self.cseq
        return Request.make(
            method,
            self.target,
            (
                *((b"Route", route) for route in self.routes),
                (b"Max-Forwards", b"70"),
                (b"From", self.local),
                (b"To", self.remote),
                (b"Call-ID", self.callId),
                (b"CSeq", b"%d %b" % (cseq, method)),
            ),
        )

    def hop(self) -> tuple[str, int]:
        """
        @return: IP address and port of the next hop: the nearest route, or else the other side itself. (All
            proxies here are loose routers.)
        """
        uri = NameAddr.parse(self.routes[0]).uri if self.routes else parseURI(self.target)
        if not isinstance(uri, SIPURI):
            raise ValueError(f"not a SIP address: {uri!r}")
        return uri.host.decode("ascii"), uri.port or 5060


def _contact(message: Message) -> bytes:
    return bytes(NameAddr.parse(message.elements(b"Contact")[0]).uri)
