"""
The response context of RFC 3261 §16: one received request, the branches it was sent on, and the one
final response that goes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

from zope.interface import classImplements

from sipgrace.interfaces import IAssociation, IServerTransactionUser
from sipgrace.message.message import Request, Response
from sipgrace.proxy.best import best
from sipgrace.proxy.branch import Branch
from sipgrace.proxy.copies import Joint
from sipgrace.proxy.target import Answer, Target
from sipgrace.transaction.inviteserver import InviteServer
from sipgrace.transaction.noninviteserver import NonInviteServer

if TYPE_CHECKING:
    from sipgrace.proxy.core import ProxyCore

_NO_TARGETS: Final[Iterator[Target]] = iter(())

#: Why a branch is taken back when another one was answered (RFC 3326 §3.1): no missed call.
_ELSEWHERE: Final = b'SIP;cause=200;text="Call completed elsewhere"'


class ResponseContext:
    """
    What is known of one request while it is being served. It is the ledger's entry: accepted when made,
    settled when its final response has left and nothing more can be asked of us for it. That is

      - on a reliable transport: when no branch is open any more;
      - on UDP: when besides the final response is taken to have arrived. For a refused INVITE that is at
        the end of its transaction, which its ACK brings. For all else it is silence: whoever has not got
        the response asks again after T2 at most (other requests are sent again, RFC 3261 §17.1.2.2; a 2xx
        comes again from the callee, §13.3.1.4), so a drain waits for C{ProxySettings.quiet} seconds, not
        for the 32 of Timers J and L.

    @ivar request: the request as it came, less the Routes that named us; C{None} once the final
        response has left.
    @ivar zone: the side it came from.
    @ivar outZone: the side a Route that named us told to go on to, or C{None} where none did.
    @ivar mark: what L{sipgrace.proxy.trail.Trail} makes of it.
    @ivar finalStatus: the status of the final response that was sent, 0 before.
    @ivar cancelled: whether its caller has given up.
    @ivar recalled: whether we have: see L{recall}.
    @ivar acceptedAt: when it was taken, in seconds of the clock.
    @ivar progressAt: when the last branch began or had its last provisional response (Timer C counts from
        there).
    @ivar arrived: whether its final response is taken to have arrived, or will be when it has left.
    @ivar settled: whether it has left the ledger.
    @ivar mergeKey: under what copies of it are looked for, C{None} where they are not.
    """

    __slots__ = (
        "_forced",
        "_responses",
        "_targets",
        "acceptedAt",
        "arrived",
        "association",
        "branches",
        "cancelled",
        "core",
        "finalStatus",
        "inDialog",
        "isInvite",
        "mark",
        "mergeKey",
        "outZone",
        "progressAt",
        "recalled",
        "request",
        "settled",
        "transaction",
        "zone",
    )

    def __init__(
        self,
        core: ProxyCore,
        transaction: InviteServer | NonInviteServer | Joint,
        request: Request,
        mark: int,
        outZone: str | None,
    ) -> None:
        self.core = core
        self.transaction = transaction
        self.request: Request | None = request
        self.association: IAssociation = transaction.association
        self.zone = self.association.zone
        self.outZone = outZone
        self.mark = mark
        self.isInvite = request.method == b"INVITE"
        self.inDialog = bool(request.toTag)
        self.branches: list[Branch] = []
        self.finalStatus = 0
        self.cancelled = False
        self.recalled = False
        self.arrived: bool = self.association.reliable
        self.settled = False
        self.mergeKey: tuple[bytes, bytes, int, bytes] | None = None
        self.acceptedAt = self.progressAt = core.timers.now()
        self._targets = _NO_TARGETS
        self._responses: list[Response] | None = None
        self._forced = False

    # ------------------------------------------------------------------ downstream

    def start(self, targets: Iterable[Target]) -> None:
        """
        Tries the targets one after another.
        """
        self._targets = iter(targets)
        self._tryNext()

    def startLate(self, targets: Iterable[Target]) -> None:
        """
        The same, after it was held for a while, in which it may have been taken back or answered.
        """
        if self.cancelled or self.recalled:
            self._finish()
        elif not self.finalStatus:
            self.start(targets)

    def tryFirst(self, targets: Iterable[Target]) -> None:
        """
        Further targets, ahead of those that are left (RFC 3261 §16.5). Nothing happens when the request has
        been taken back.
        """
        if not (self.finalStatus or self.cancelled or self.recalled):
            self._targets = chain(targets, self._targets)

    def _tryNext(self) -> None:
        for target in self._targets:
            if self.branches:
                if target.token is not None and self.hasTried(target.token):
                    continue
                self.progressAt = self.core.timers.now()
            branch = Branch(self, target)
            self.branches.append(branch)
            branch.start()
            return
        self._finish()

    def hasTried(self, token: object) -> bool:
        """
        Whether a target with this token had its turn.
        """
        return any(branch.target.token == token for branch in self.branches)

    def cancel(self, reason: bytes = b"") -> None:
        """
        The caller gave up: every open branch is taken back and no other target tried (RFC 3261 §16.10). The
        final response is what the branches answer, 487 as a rule.

        @param reason: the value of the Reason header, or empty for none.
        """
        if not (self.finalStatus or self.cancelled):
            self.cancelled = True
            self._takeBack(reason)

    def recall(self, reason: str) -> None:
        """
        The guard is near: an INVITE that was not answered yet is taken back. A 2xx, or a refusal, that
        crosses the CANCEL is still forwarded; for all else the answer is 503, so that the caller's client
        tries another server.

        @param reason: why, for the Reason header (RFC 3326) of the CANCELs; a phrase without quotes.
        """
        if self.isInvite and not (self.finalStatus or self.recalled):
            self.recalled = True
            self._takeBack(_unavailable(reason))

    def forceSettle(self, reason: str) -> bool:
        """
        The guard is nearer yet: what has still not been answered gets its final response now, without
        Retry-After, so that it is tried elsewhere; what is still open downstream is taken back.

        @param reason: as for L{recall}.
        @return: whether a final response had to be given.
        """
        forced = not self.finalStatus
        if forced:
            self._respondLocally(Answer(503))
            self._takeBack(_unavailable(reason))
        self._settle()
        return forced

    def checkTimerC(self, now: float) -> None:
        """
        RFC 3261 §16.8: a callee that has been rung for too long is given up.

        @param now: the present, in seconds of the clock.
        """
        if self.finalStatus or not self.isInvite or now - self.progressAt < self.core.settings.timerC:
            return
        if any(branch.answered and not branch.done for branch in self.branches):
            self.cancel()
        else:
            self._respondLocally(Answer(408))
            self._takeBack()

    def _takeBack(self, reason: bytes = b"") -> None:
        self._targets = _NO_TARGETS
        for branch in self.branches:
            branch.cancel(reason)

    # ------------------------------------------------------------------ what the branches report

    def provisional(self, response: Response) -> None:
        """
        RFC 3261 §16.7 steps 2 and 5: all but 100 goes on upstream.
        """
        if response.status != 100:
            self.progressAt = self.core.timers.now()
            if not self.finalStatus:
                self.core.passUp(self.transaction, response)

    def final(self, branch: Branch, response: Response) -> None:
        """
        RFC 3261 §16.7 steps 4 to 10.
        """
        if response.status < 300:
            self._success(branch, response)
        elif not branch.abandoned:
            self.branchFailed(branch, "answer", response)
            return
        self.settleIfDone()

    def _success(self, branch: Branch, response: Response) -> None:
        first = not self.finalStatus
        if not self.isInvite:
            if first:
                self._respond(response)
            return
        # Every 2xx goes up, whatever was sent before it; the server transaction knows whether it still can
        # (RFC 6026 §7.1).
        self._respond(response)
        if not 200 <= self.transaction.finalStatus < 300:
            branch.endGhost(response)
        elif isinstance(self.transaction, Joint) and self.transaction.deserted:
            self.transaction.orElse(branch.ghost(response))
        if first:
            self._takeBack(_ELSEWHERE)

    def branchFailed(self, branch: Branch, reason: str, response: Response | None) -> None:
        """
        A branch ended without success, or gave no first answer in time.
        """
        if self.finalStatus:
            self.settleIfDone()
            return
        again = False
        # What was taken back has failed nobody, nor has what does not answer its CANCEL.
        if reason != "cancelled" and not (reason == "timeout" and branch.answered):
            again = self.core.role.failed(self, branch.target, reason, response)
        if response is not None and not (again and response.status < 400):
            if self._responses is None:
                self._responses = []
            self._responses.append(response)
        if again and (response is None or response.status < 600):
            self._tryNext()
        else:
            self._finish()

    # ------------------------------------------------------------------ upstream

    def _finish(self) -> None:
        """
        Nothing is left to try: the best of what came is the answer.
        """
        if self.finalStatus:
            return
        response = best(self._responses or ())
        status = 0 if response is None else response.status
        if self.cancelled and status in (0, 503):
            self._respondLocally(Answer(487))
        elif self.recalled and status in (0, 487, 503) and not self.cancelled:
            self._forced = True
            self._respondLocally(Answer(503))
        elif response is not None and status != 503:
            self._respond(response)
        else:
            self._respondLocally(self._ownAnswer(status))
        self.settleIfDone()

    def _ownAnswer(self, status: int) -> Answer:
        """
        Where nobody gave an answer to forward. A 503 is none: it speaks of the element that sent it, not of
        us (RFC 3261 §16.7 step 6).

        @param status: 503 or 0.
        """
        if not self.isInvite and any(branch.outcome == "timeout" for branch in self.branches):
            # The transaction keeps this one to itself (RFC 4320 §4.2): its sender has timed out as we have.
            return Answer(408)
        answer = self.core.role.exhausted(self)
        if answer is not None:
            return answer
        if not self.branches:
            return Answer(481 if self.inDialog else 404)
        if self.branches[-1].outcome == "clogged":
            return Answer(503)
        return Answer(408 if self.isInvite and not status else 500)

    def _respondLocally(self, answer: Answer) -> None:
        if self.request is not None:
            self._respond(self.core.response(self.request, answer))

    def _respond(self, response: Response) -> None:
        if not self.finalStatus:
            self.finalStatus = response.status
            self.request = None
            self._responses = None
            self._targets = _NO_TARGETS
            if not self.isInvite:
                # Nothing more can come of them, and this may have to stay for its 32 s.
                self.branches.clear()
            if not self.arrived and (response.status < 300 or not self.isInvite):
                self.core.quiet.set(self)
            if response.status >= 300:
                # Its sender may try again; after a 2xx a copy would ring twice.
                self.core.forgetMerges(self)
        self.core.passUp(self.transaction, response)

    # ------------------------------------------------------------------ settling

    def quiet(self) -> None:
        """
        Nobody has asked for the final response again.
        """
        self.arrived = True
        self._settleIfBranchesDone()

    def serverTransactionEnded(self, transaction: object, reason: str) -> None:
        """
        Nobody upstream can ask any more. Where the association was lost before a final response could
        leave, the call is taken back downstream: its caller tries elsewhere.
        """
        self.arrived = True
        if not self.finalStatus:
            self.finalStatus = 503
            self.request = None
            self.core.forgetMerges(self)
            self._takeBack()
        self._settleIfBranchesDone()

    def settleIfDone(self) -> None:
        """
        Leaves the ledger if nothing can be asked of us for this request any more.
        """
        if self.finalStatus and self.arrived:
            self._settleIfBranchesDone()

    def _settleIfBranchesDone(self) -> None:
        for branch in self.branches:
            if not branch.done:
                return
        self._settle()

    def _settle(self) -> None:
        if not self.settled:
            self.settled = True
            self._letGo()
            # They hold this, and nobody looks for them here any more: so that memory is free at once.
            self.branches.clear()
            self._targets = _NO_TARGETS
            self.core.settled(self, self._forced)

    def _letGo(self) -> None:
        """
        The transactions stay for half a minute, and this need not stay with them.
        """
        transaction = self.transaction
        if isinstance(transaction, NonInviteServer):
            transaction.user = None
        elif isinstance(transaction, InviteServer) and 200 <= transaction.finalStatus < 300:
            transaction.user = None
            for branch in self.branches:
                branch.letGo(transaction)


def _unavailable(reason: str) -> bytes:
    return b'SIP;cause=503;text="%b"' % reason.encode("ascii", "replace")


classImplements(ResponseContext, IServerTransactionUser)
