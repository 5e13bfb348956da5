"""
The response context of RFC 3261 §16: one received request, the branches it was sent on, and the one
final response that goes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from zope.interface import implementer

from sipgrace.interfaces import IAssociation, IServerTransactionUser
from sipgrace.message.message import Request, Response
from sipgrace.proxy.best import best
from sipgrace.proxy.branch import Branch
from sipgrace.proxy.target import Answer, Target
from sipgrace.transaction.inviteserver import InviteServer
from sipgrace.transaction.noninviteserver import NonInviteServer

if TYPE_CHECKING:
    from sipgrace.proxy.core import ProxyCore

_NO_TARGETS: Iterator[Target] = iter(())


@implementer(IServerTransactionUser)
class ResponseContext:
    """
    What is known of one request while it is being served. It is the ledger's entry: accepted when made,
    settled when its final response has left and nothing more can be asked of us for it. That is

      - on a reliable transport: when no branch is open any more;
      - on UDP: when the server transaction has ended, because until then the final response may have to
        be sent again (RFC 3261 §17.2.1 Timer H, RFC 6026 Timer L).

    @ivar request: the request as it came, less the Routes that named us; C{None} once the final
        response has left.
    @ivar zone: the side it came from.
    @ivar outZone: the side a Route that named us told to go on to, or C{None} where none did.
    @ivar finalStatus: the status of the final response that was sent, 0 before.
    @ivar acceptedAt: when it was taken, in seconds of the clock.
    @ivar progressAt: when the last provisional response came (Timer C counts from there).
    @ivar ended: whether its server transaction has ended.
    @ivar settled: whether it has left the ledger.
    """

    __slots__ = (
        "acceptedAt",
        "association",
        "branches",
        "cancelled",
        "core",
        "ended",
        "finalStatus",
        "inDialog",
        "isInvite",
        "loopHash",
        "mergeKey",
        "outZone",
        "progressAt",
        "request",
        "responses",
        "settled",
        "targets",
        "transaction",
        "zone",
    )

    def __init__(
        self,
        core: ProxyCore,
        transaction: InviteServer | NonInviteServer,
        request: Request,
        now: float,
        loopHash: int,
        outZone: str | None,
    ) -> None:
        self.core = core
        self.transaction = transaction
        self.request: Request | None = request
        self.association: IAssociation = transaction.association
        self.zone = self.association.zone
        self.outZone = outZone
        self.loopHash = loopHash
        self.isInvite = request.method == b"INVITE"
        self.inDialog = bool(request.toTag)
        self.targets = _NO_TARGETS
        self.branches: list[Branch] = []
        self.responses: list[Response] | None = None
        self.finalStatus = 0
        self.cancelled = False
        self.ended = False
        self.settled = False
        self.mergeKey: tuple[bytes, bytes, int, bytes] | None = None
        self.acceptedAt = now
        self.progressAt = now

    # ------------------------------------------------------------------ downstream

    def start(self, targets: Iterable[Target]) -> None:
        """
        Tries the targets one after another.
        """
        self.targets = iter(targets)
        self._tryNext()

    def _tryNext(self) -> None:
        for target in self.targets:
            branch = Branch(self, target)
            self.branches.append(branch)
            branch.start()
            return
        self._finish()

    def cancel(self, reason: bytes = b"") -> None:
        """
        The caller gave up, or we did: every open branch is taken back and no other target tried
        (RFC 3261 §16.10). The final response is what the branches answer, 487 as a rule.
        """
        if self.finalStatus or self.cancelled:
            return
        self.cancelled = True
        self.targets = _NO_TARGETS
        self._cancelOpen(reason)
        if all(branch.done or branch.transaction is None for branch in self.branches):
            self._respondLocally(Answer(487))

    def _cancelOpen(self, reason: bytes) -> None:
        for branch in self.branches:
            if not branch.done:
                branch.cancel(reason)

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
            self._cancelOpen(b"")

    def forceSettle(self, reason: str) -> bool:
        """
        The guard is near: what has not been answered yet gets a final response now, without Retry-After,
        so that it is tried elsewhere; what is still open downstream is taken back.

        @param reason: why, for the Reason header (RFC 3326) of the CANCELs.
        @return: whether a final response had to be given.
        """
        forced = not self.finalStatus
        if forced:
            self.targets = _NO_TARGETS
            self.cancelled = True
            self._cancelOpen(b'SIP;cause=503;text="%b"' % reason.encode("ascii", "replace"))
            self._respondLocally(Answer(503))
        self._settle()
        return forced

    # ------------------------------------------------------------------ what the branches report

    def provisional(self, response: Response) -> None:
        """
        RFC 3261 §16.7 steps 2 and 5: all but 100 goes on upstream.
        """
        self.progressAt = self.core.clock.seconds()
        if response.status != 100 and not self.finalStatus:
            self.transaction.respond(response)

    def final(self, branch: Branch, response: Response) -> None:
        """
        RFC 3261 §16.7 steps 4 to 10.
        """
        status = response.status
        if status < 300:
            if self.isInvite:
                # Every 2xx goes up, whatever was sent before it; the server transaction knows whether
                # it still can (RFC 6026 §7.1).
                first = not self.finalStatus
                self._respond(response)
                if first:
                    self.targets = _NO_TARGETS
                    self._cancelOpen(b"")
            elif not self.finalStatus:
                self._respond(response)
            self.settleIfDone()
            return
        if self.finalStatus or branch.abandoned:
            self.settleIfDone()
            return
        self.branchFailed(branch, "answer", response)

    def branchFailed(self, branch: Branch, reason: str, response: Response | None) -> None:
        """
        A branch ended without success, or gave no first answer in time.
        """
        if response is not None:
            if self.responses is None:
                self.responses = [response]
            else:
                self.responses.append(response)
        if self.finalStatus:
            self.settleIfDone()
            return
        again = self.core.role.failed(self, branch.target, reason, response)
        if again and not self.cancelled and (response is None or response.status < 600):
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
        response = best(self.responses or ())
        if response is None or response.status == 503:
            # A 503 speaks of the element that sent it, not of us (RFC 3261 §16.7 step 6).
            local = None if self.cancelled else self.core.role.exhausted(self)
            if local is not None:
                self._respondLocally(local)
            elif self.cancelled:
                self._respondLocally(Answer(487))
            elif response is not None:
                self._respondLocally(Answer(500))
            else:
                self._noAnswer()
        else:
            self._respond(response)
        self.settleIfDone()

    def _noAnswer(self) -> None:
        if not self.branches:
            self._respondLocally(Answer(481 if self.inDialog else 404))
        elif self.isInvite:
            self._respondLocally(Answer(408))
        elif any(branch.outcome == "timeout" for branch in self.branches):
            # The transaction keeps this one to itself (RFC 4320 §4.2): its sender has timed out as we have.
            self._respondLocally(Answer(408))
        else:
            self._respondLocally(Answer(500))

    def _respondLocally(self, answer: Answer) -> None:
        if self.request is not None:
            self._respond(self.core.response(self.request, answer))

    def _respond(self, response: Response) -> None:
        if not self.finalStatus:
            self.finalStatus = response.status
            self.request = None
            self.responses = None
        self.transaction.respond(response)

    # ------------------------------------------------------------------ settling

    def serverTransactionEnded(self, transaction: object, reason: str) -> None:
        """
        Nobody upstream can ask any more. Where the association was lost before a final response could
        leave, the call is taken back downstream: its caller tries elsewhere.
        """
        self.ended = True
        if not self.finalStatus:
            self.finalStatus = 503
            self.request = None
            self.targets = _NO_TARGETS
            self.cancelled = True
            self._cancelOpen(b"")
        self._settleIfBranchesDone()

    def settleIfDone(self) -> None:
        """
        Leaves the ledger if nothing can be asked of us for this request any more.
        """
        if self.finalStatus and (self.ended or self.association.reliable):
            self._settleIfBranchesDone()

    def _settleIfBranchesDone(self) -> None:
        for branch in self.branches:
            if not branch.done:
                return
        self._settle()

    def _settle(self) -> None:
        if not self.settled:
            self.settled = True
            self.core.settled(self)
