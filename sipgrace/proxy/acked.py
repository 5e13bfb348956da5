"""
The response contexts of a server that stays in the path of calls, but whose guard covers set-ups alone: a
call is set up when its ACK has passed, too. Were the server to leave between a 2xx and its ACK, the callee
would wait for that in vain, and end the call.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from sipgrace.message.message import Request, Response
from sipgrace.proxy.context import ResponseContext
from sipgrace.proxy.copies import Joint
from sipgrace.transaction.inviteserver import InviteServer
from sipgrace.transaction.noninviteserver import NonInviteServer
from sipgrace.transaction.timers import TimerQueue

if TYPE_CHECKING:
    from sipgrace.proxy.core import ProxyCore

__all__ = ["AckedContext", "Acks"]

Key = tuple[bytes, bytes, int]


class Acks:
    """
    What waits for an ACK.
    """

    def __init__(self, timers: TimerQueue, patience: float) -> None:
        """
        @param patience: after so many seconds without an ACK it is not waited for any more.
        """
        self._timers = timers
        self._patience = patience
        self._waiting: dict[Key, list[AckedContext]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def wait(self, context: AckedContext, key: Key) -> None:
        """
        @param key: Call-ID, From tag and CSeq number of the INVITE.
        """
        self._waiting.setdefault(key, []).append(context)
        self._timers.after(self._patience, partial(self._over, key))

    def received(self, ack: Request) -> None:
        """
        The ACK of a 2xx.
        """
        self._over((ack.callId, ack.fromTag, ack.cseq))

    def _over(self, key: Key) -> None:
        # Several have waited where an INVITE was forked before us.
        for context in self._waiting.pop(key, ()):
            context.acked()


class AckedContext(ResponseContext):
    """
    An INVITE that was answered with 2xx is not settled before its ACK. Apart from the others', so that these
    need not ask.
    """

    __slots__ = ("_waits",)

    def __init__(
        self,
        core: ProxyCore,
        transaction: InviteServer | NonInviteServer | Joint,
        request: Request,
        mark: int,
        outZone: str | None,
    ) -> None:
        super().__init__(core, transaction, request, mark, outZone)
        self._waits = False

    def acked(self) -> None:
        """
        The ACK has come, or is not waited for any more.
        """
        self._waits = False
        self.settleIfDone()

    def _respond(self, response: Response) -> None:
        request = self.request
        super()._respond(response)
        if request is not None and self.isInvite and 200 <= self.transaction.finalStatus < 300:
            acks = self.core.acks
            if acks is not None:
                self._waits = True
                acks.wait(self, (request.callId, request.fromTag, request.cseq))

    def _settleIfBranchesDone(self) -> None:
        if not self._waits:
            super()._settleIfBranchesDone()
