"""
Ends calls that others are talking in, because this server has to leave: BYE to both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from twisted.internet.defer import Deferred
from zope.interface import implementer

from sipgrace.errors import ParseError
from sipgrace.interfaces import IAssociation, IClientTransactionUser
from sipgrace.message.message import Request, Response
from sipgrace.proxy.calls import Dialog
from sipgrace.proxy.target import Hop

if TYPE_CHECKING:
    from sipgrace.proxy.core import ProxyCore

__all__ = ["Farewells"]

#: So many calls are ended in one turn of the reactor, lest it hears of nothing else meanwhile.
AT_ONCE: Final = 50


class Farewells:
    """
    See L{sipgrace.proxy.calls.Ending}. What is to be ended stands in a queue, a short one.

    @ivar sent: how many BYEs were sent.
    """

    def __init__(self, core: ProxyCore, zone: str) -> None:
        """
        @param zone: the side on which both parties of each call are.
        """
        self._core = core
        self._zone = zone
        self._queue: dict[Dialog, str] = {}
        self.sent = 0

    def end(self, dialog: Dialog, reason: str) -> None:
        """
        See L{sipgrace.proxy.calls.Ending.end}.
        """
        if not self._queue:
            self._core.timers.soon(self._go)
        self._queue[dialog] = reason

    def endNow(self, dialog: Dialog, reason: str) -> None:
        """
        See L{sipgrace.proxy.calls.Ending.endNow}.
        """
        if self._queue.pop(dialog, None) is not None or not dialog.ending:
            dialog.ending = True
            self._send(dialog, reason)

    def _go(self) -> None:
        for _ in range(min(AT_ONCE, len(self._queue))):
            dialog = next(iter(self._queue))
            reason = self._queue.pop(dialog)
            # One of the two may have hung up just now.
            if dialog.alive:
                self._send(dialog, reason)
        if self._queue:
            self._core.timers.soon(self._go)

    def _send(self, dialog: Dialog, reason: str) -> None:
        value = b'SIP;cause=503;text="%b"' % reason.encode("ascii", "replace")
        farewell = _Farewell(dialog)
        for make in (dialog.byeToCaller, dialog.byeToCallee):
            try:
                bye, hop = make(value)
            except (ParseError, ValueError):
                # A peer's Contact or Route that nothing can be sent to.
                farewell.sideDone()
            else:
                self._sendTo(hop, bye, farewell)

    def _sendTo(self, hop: Hop, bye: Request, farewell: _Farewell) -> None:
        role = self._core.role
        target = role.towards(hop, self._zone)
        reached = target.association or role.reach(target)
        send: Callable[[IAssociation], None] = partial(self._sendBy, bye, farewell)
        if isinstance(reached, Deferred):
            reached.addCallbacks(send, lambda failure: farewell.sideDone())
        else:
            send(reached)

    def _sendBy(self, bye: Request, farewell: _Farewell, association: IAssociation) -> None:
        self.sent += 1
        bye.pushVia(self._core.trail.via(association, 0))
        self._core.layer.request(bye, association, farewell)


@implementer(IClientTransactionUser)
class _Farewell:
    """
    Waits for both answers.
    """

    __slots__ = ("_dialog", "_open")

    def __init__(self, dialog: Dialog) -> None:
        self._dialog = dialog
        self._open = 2

    def sideDone(self) -> None:
        """
        One side has ended the call, or will not.
        """
        self._open -= 1
        if not self._open:
            self._dialog.over()

    def clientResponse(self, transaction: object, response: Response) -> None:
        """
        Whatever the answer: there is nothing else to be done (481: it knows of no such call any more).
        """
        if response.status >= 200:
            self.sideDone()

    def clientFailed(self, transaction: object, reason: str) -> None:
        """
        No answer will come.
        """
        self.sideDone()
