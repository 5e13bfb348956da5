"""
A client's answer to a server that asks whether it may leave (L{sipgrace.server.question} asks).
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.logger import Logger

from sipgrace.errors import OrderRefused
from sipgrace.interfaces import IAssociation
from sipgrace.lifecycle.approval import CONTENT_TYPE
from sipgrace.lifecycle.orderform import fromText
from sipgrace.message.derive import respond
from sipgrace.message.message import Request
from sipgrace.transaction.noninviteserver import NonInviteServer

__all__ = ["Consent"]


class Consent:
    """
    Yes, as long as another server is there that calls can be sent to.

    @param serverAt: the name of the server at the other end of an association, or an empty string.
    @param others: how many servers but this one calls can be sent to now.
    """

    _log = Logger()

    def __init__(self, serverAt: Callable[[IAssociation], str], others: Callable[[str], int]) -> None:
        self._serverAt = serverAt
        self._others = others

    def messageReceived(self, transaction: NonInviteServer, request: Request) -> bool:
        """
        A MESSAGE came.

        @return: whether it was such a question, and has been answered.
        """
        kind = (request.get(b"Content-Type") or b"").partition(b";")[0].strip().lower()
        if request.maxForwards != 0 or request.hasRoute or kind != CONTENT_TYPE:
            return False
        status, reason = self._answer(self._serverAt(transaction.association), request)
        transaction.respond(respond(request, status, reason))
        return True

    def _answer(self, server: str, request: Request) -> tuple[int, bytes | None]:
        if not server:
            # Whoever this is, it is none of our servers.
            return 403, None
        try:
            order = fromText(request.body.decode("utf-8"))
        except (OrderRefused, UnicodeDecodeError):
            return 400, b"Malformed Order"
        others = self._others(server)
        self._log.info(
            "{server} asks whether it may leave ({why}): {answer}, {others} others are there",
            server=server,
            why=order.why,
            answer="yes" if others else "no",
            others=others,
        )
        return (200, None) if others else (603, b"No Other Server Is There")
