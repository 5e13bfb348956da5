"""
The end of a call: one BYE and its answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zope.interface import implementer

from sipgrace.demo.dialog import Dialog
from sipgrace.interfaces import IClientTransactionUser
from sipgrace.message.message import Response

if TYPE_CHECKING:
    from sipgrace.demo.phone import Phone

__all__ = ["HangUp"]


@implementer(IClientTransactionUser)
class HangUp:
    """
    One BYE.
    """

    def __init__(self, phone: Phone, dialog: Dialog, done: Callable[[str, str], None]) -> None:
        """
        @param done: called with the call's outcome, and what went wrong.
        """
        self._phone = phone
        self._dialog = dialog
        self._done = done

    def start(self) -> None:
        """
        Sends it along the route set.
        """
        hop = self._phone.to(*self._dialog.hop())
        self._phone.layer.request(self._phone.addVia(self._dialog.request(b"BYE"), hop), hop, self)

    def clientResponse(self, transaction: object, response: Response) -> None:
        """
        See L{IClientTransactionUser}.
        """
        if 200 <= response.status < 300:
            self._done("completed", "")
        elif response.status >= 300:
            self._done("failed", f"BYE answered {response.status}")

    def clientFailed(self, transaction: object, reason: str) -> None:
        """
        See L{IClientTransactionUser}.
        """
        self._done("failed", f"BYE: {reason}")
