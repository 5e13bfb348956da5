"""
What can go wrong, each with the SIP status that answers it where there is someone to answer.
"""

from __future__ import annotations

__all__ = [
    "ConfigError",
    "Malformed",
    "NotAllowed",
    "OrderRefused",
    "ParseError",
    "SIPGraceError",
    "StoreError",
    "TransportError",
    "Unknown",
]


class SIPGraceError(Exception):
    """
    The root of all errors of this package.

    @cvar status: the SIP status code that answers a request which met this error.
    """

    status: int = 500


class ParseError(SIPGraceError):
    """
    Bytes that are not an acceptable SIP message.

    @ivar status: what to answer: 400, or 413/414/416/505 where those say more (RFC 3261 §21.4).
    @ivar reason: one phrase naming what is wrong and where; fit for a reason phrase, no bytes of the
        peer are repeated in it.
    @ivar answer: the complete response to send back, with what there is of Via, From, To, Call-ID and
        CSeq; C{None} where the input holds no Via or no CSeq (by which its sender would know the answer),
        was a response, or was an ACK.
    @ivar fatal: on a stream: whether framing is lost, so that the connection must be closed.
    """

    status = 400

    def __init__(
        self, reason: str, status: int = 400, answer: bytes | None = None, fatal: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status
        self.answer = answer
        self.fatal = fatal


class TransportError(SIPGraceError):
    """
    An association could not be made, or is not able to carry a message any more.
    """

    status = 503


class ConfigError(SIPGraceError):
    """
    A configuration that cannot be run: names the file, the key and what was expected.
    """


class OrderRefused(SIPGraceError):
    """
    An order (drain, cancel, extend, resume, offline) that does not fit the present state, or that
    nobody was authorized to give. The text says why and what would be accepted.
    """

    status = 403


class Malformed(OrderRefused):
    """
    An order that cannot be understood: a value is missing, of the wrong type, or not among those expected.
    """

    status = 400


class NotAllowed(OrderRefused):
    """
    An order that the role of whoever gives it does not cover.
    """


class Unknown(SIPGraceError):
    """
    Something that is asked for by a name, and is not there.
    """

    status = 404


class StoreError(SIPGraceError):
    """
    What must be kept cannot be, or what was kept cannot be had; says where and why.
    """

    status = 503
