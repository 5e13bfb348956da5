"""
The response contexts of a server whose guard covers whole calls.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from sipgrace.message.message import Request, Response
from sipgrace.proxy.calls import Call, SetUp, Within
from sipgrace.proxy.context import ResponseContext
from sipgrace.proxy.copies import Joint
from sipgrace.proxy.target import Target
from sipgrace.transaction.inviteserver import InviteServer
from sipgrace.transaction.noninviteserver import NonInviteServer

if TYPE_CHECKING:
    from sipgrace.proxy.core import ProxyCore

__all__ = ["KeptContext"]


class KeptContext(ResponseContext):
    """
    Tells the table of calls of what passes. An INVITE that has led to a call leaves its place in the ledger
    to it. Apart from the others', so that these need not ask whether there is such a table.

    @ivar passing: what the table wants to hear of this request, C{None} where that is nothing.
    """

    __slots__ = ("passing",)

    def __init__(
        self,
        core: ProxyCore,
        transaction: InviteServer | NonInviteServer | Joint,
        request: Request,
        mark: int,
        outZone: str | None,
    ) -> None:
        super().__init__(core, transaction, request, mark, outZone)
        self.passing: SetUp | Within | None = None

    @property
    def call(self) -> Call | None:
        """
        The call to which it belongs.
        """
        return None if self.passing is None else self.passing.call

    def start(self, targets: Iterable[Target]) -> None:
        """
        See L{ResponseContext.start}.
        """
        if self.request is not None and self.core.dialogs is not None:
            self.passing = self.core.dialogs.take(self.request)
        super().start(targets)

    def recall(self, reason: str) -> None:
        """
        See L{ResponseContext.recall}. Over UDP this may be here yet when its call has begun long ago.
        """
        super().recall(reason)
        if self.passing is not None:
            self.passing.recall(reason)

    def _respond(self, response: Response) -> None:
        if self.passing is None:
            super()._respond(response)
        elif self.isInvite:
            # Whether a 2xx can be given to anybody shows when it is.
            super()._respond(response)
            self.passing.answered(response, self.transaction.finalStatus)
        else:
            # For this ends the transaction, and settles it.
            self.passing.answered(response, response.status)
            super()._respond(response)

    def _settle(self) -> None:
        if not self.settled and self.passing is not None:
            call = self.passing.settled()
            if call is not None:
                self.core.ledger.hold(self, call)
            else:
                self._forced = self._forced or self.passing.forced
        super()._settle()

    def _letGo(self) -> None:
        """
        The table hears of further 2xx as well: each may be another call.
        """
