"""
What the proxy core asks of the role it serves, and of the ledger it reports to.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import Deferred

from sipgrace.interfaces import IAssociation
from sipgrace.message.message import Request, Response
from sipgrace.proxy.target import Answer, Hop, Target

if TYPE_CHECKING:
    from sipgrace.proxy.context import ResponseContext


class Role(Protocol):
    """
    The policy of a server or a client: where to, in which order, whether at all.
    """

    def admit(self, request: Request, association: IAssociation) -> Answer | None:
        """
        Looks at a new request before anything is done for it.

        @return: what ends it here (a refusal, a redirection, an answer of our own), or C{None} to go on.
        """

    def targets(self, request: Request, zone: str, outZone: str | None) -> Iterator[Target]:
        """
        Where to try a request, one place after another; it is asked for the next only when the one before
        has failed (RFC 3261 §16.5). An ACK, which cannot fail, goes to the first. Not called where a Route,
        or a C{maddr}, says where to go.

        @param zone: the side it came from.
        @param outZone: the side that a Route which named us told to go on to, or C{None}.
        """

    def towards(self, hop: Hop, zone: str) -> Target:
        """
        The way to a next hop that the request itself names.

        @param zone: the side on which to look for it.
        """

    def reach(self, target: Target) -> IAssociation | Deferred[IAssociation]:
        """
        Makes an association for a target that has none.
        """

    def answered(self, context: ResponseContext, target: Target) -> None:
        """
        The first answer to an INVITE, final or not, came from this target.
        """

    def failed(
        self, context: ResponseContext, target: Target, reason: str, response: Response | None
    ) -> bool:
        """
        A target did not do what was asked of it. Not called for one that was taken back before it said
        anything to the contrary.

        @param reason: C{'timeout'} (no first answer within the period, or Timer B or F), C{'lost'}
            (no association, or it went), C{'clogged'} (nothing was sent, for too many INVITEs wait there: see
            L{sipgrace.proxy.pace}), or C{'answer'} with a C{response} of 300 or above.
        @return: whether the next target is to be tried. After a 3xx this means that its contacts are among
            the targets now (L{ResponseContext.tryFirst}), so that nobody else is to see it (§16.7 step 4).
        """

    def exhausted(self, context: ResponseContext) -> Answer | None:
        """
        No target is left and none gave an answer but 503.

        @return: the final response for upstream, or C{None} for what RFC 3261 §16.7 would choose.
        """


class LedgerEntry(Protocol):
    """
    What the ledger holds: one accepted request that is not yet settled.
    """

    acceptedAt: float
    isInvite: bool

    def recall(self, reason: str) -> None:
        """
        Takes back what is ringing, and lets the callee have the last word: its final answer may be on its
        way already. What is not answered nevertheless gets a 503.
        """

    def forceSettle(self, reason: str) -> bool:
        """
        Gives it a final answer now, whatever becomes of it downstream.

        @return: false where its final answer had left before.
        """


class Ledger(Protocol):
    """
    Every accepted request that is not yet settled, oldest first.
    """

    def accept(self, entry: LedgerEntry) -> None:
        """
        A new one.
        """

    def settle(self, entry: LedgerEntry, forced: bool = False) -> None:
        """
        Its final response has left, and nothing more can be asked of us for it. Or a call has ended that was
        held in its place.

        @param forced: whether that was because of L{LedgerEntry.recall}.
        """

    def hold(self, entry: LedgerEntry, call: LedgerEntry) -> None:
        """
        It is set up, and will be settled when the call ends. Several may lead to one call.
        """
