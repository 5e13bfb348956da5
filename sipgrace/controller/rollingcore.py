"""
What the states of one server in a rolling maintenance share: which orders are given, what is watched. The
states themselves are in L{sipgrace.controller.rollingmachine}.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from sipgrace.control.remote import Unreachable
from sipgrace.controller.facts import ENDED, OrderRecord, Outcome
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.following import MAINTAINING, NOT_ARRIVED
from sipgrace.errors import OrderRefused, SIPGraceError, StoreError, Unknown
from sipgrace.lifecycle.orders import Kind

if TYPE_CHECKING:
    from sipgrace.controller.rollingmachine import RollingStep

__all__ = ["RollingCore", "RollingPlan"]

#: What the store could not do is tried again after so many seconds.
AGAIN: Final = 5.0

#: An order that has expired before it could arrive is given anew, so often.
TRIES: Final = 3


class RollingPlan(Protocol):
    """
    The rolling maintenance, as one of its servers sees it.
    """

    clock: IReactorTime
    fleet: Fleet

    @property
    def stopping(self) -> bool:
        """
        Whether a person has ended it.
        """

    def values(self, name: str) -> Any:
        """
        What was asked for.
        """

    def orderIds(self, server: str) -> list[str]:
        """
        The ids of the orders for it.
        """

    def put(self, server: str, step: str, newOrder: bool, why: str) -> Deferred[None]:
        """
        Stores where a server stands, with a new id for its next order.
        """

    def blind(self, server: str) -> list[str]:
        """
        The clients that did not reach it before.
        """

    def reached(self, server: str) -> list[str]:
        """
        The clients that reached it before.
        """

    def see(self, server: str) -> Deferred[None]:
        """
        Stores which clients reach it and which do not, unless that was done: it is about to be drained.
        """

    def give(self, server: str, kind: Kind, id: str) -> Deferred[OrderRecord]:
        """
        Gives an order of that id.
        """

    def known(self, id: str) -> Deferred[OrderRecord | None]:
        """
        An order, if it was given.
        """

    def whenEnded(self, id: str) -> Deferred[OrderRecord]:
        """
        Waits for what becomes of an order.
        """

    def takeBack(self, server: str, id: str) -> Deferred[object]:
        """
        Withdraws an order that waits, or has the drain cancelled.
        """


class RollingCore:
    """
    One server in a rolling maintenance.

    @ivar step: where it stands.
    """

    _log = Logger()

    def __init__(self, plan: RollingPlan, server: str, step: str) -> None:
        self.plan = plan
        self.server = server
        self.step = step
        self._turn = 0
        self._limit: IDelayedCall | None = None
        self._settling: IDelayedCall | None = None
        self._machine: RollingStep | None = None
        self._retrying: IDelayedCall | None = None
        self._absent = False
        self._unseen = ""
        self._dead = False

    # ------------------------------------------------------------------ states

    def enter(self, machine: RollingStep, step: str, newOrder: bool = False) -> None:
        """
        Stores that a state is entered; then takes it up.
        """
        self._move(step)
        if step == "waiting":
            self._stopTimers()
        turn = self._turn

        def stored(_: None) -> None:
            if self._turn == turn and not self._dead:
                machine.takeUp()

        self.plan.put(self.server, step, newOrder, "").addCallback(stored)

    def note(self, step: str) -> None:
        """
        Stores that a state is entered, in which what was begun goes on.
        """
        self.step = step
        self.plan.put(self.server, step, False, "")

    def leave(self, step: str, why: str = "") -> None:
        """
        Stores that nothing is done any more.
        """
        self._move(step)
        self._stopTimers()
        self.plan.put(self.server, step, False, why)

    def _move(self, step: str) -> None:
        self.step = step
        self._turn += 1
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

    def die(self) -> None:
        """
        The controller stops; the server is taken up at its next start.
        """
        self._dead = True
        self._turn += 1
        self._stopTimers()
        self._stopRetrying()

    def _stopTimers(self) -> None:
        for call in (self._limit, self._settling):
            if call is not None and call.active():
                call.cancel()
        self._limit = self._settling = None

    # ------------------------------------------------------------------ orders

    def drain(self, machine: RollingStep) -> None:
        """
        Gives the order to drain, unless that was done; follows it.
        """
        self._startLimit(machine)
        self._do(machine, self._drain(machine))

    async def _drain(self, machine: RollingStep) -> None:
        id = self.plan.orderIds(self.server)[-1]
        record = await self.plan.known(id)
        if record is None:
            turn = self._turn
            if self.plan.stopping:
                # Nothing was ordered, and nothing will be.
                machine._undone()
                return
            self._needLink()
            state = self.plan.fleet.member(self.server).state
            if state != "serving":
                machine._failed(f"it is {state} already, by somebody else's order")
                return
            self._needSight()
            await self.plan.see(self.server)
            if self._turn != turn:
                return
            record = await self.plan.give(self.server, Kind.DRAIN, id)
            if self._turn != turn:
                return
        self._drainStands(machine, record)
        if record.outcome not in ENDED:
            turn = self._turn
            record = await self.plan.whenEnded(id)
            # Maintaining is entered meanwhile, which is no new turn.
            if self._turn == turn:
                self._drainStands(machine, record)

    def _drainStands(self, machine: RollingStep, record: OrderRecord) -> None:
        outcome = record.outcome
        if outcome is Outcome.DONE:
            machine._drained()
        elif outcome is Outcome.OBEYED and record.text == MAINTAINING:
            machine._maintaining()
        elif outcome in (Outcome.UNDONE, Outcome.REFUSED) and self.plan.stopping:
            machine._undone()
        elif outcome is Outcome.UNDONE:
            machine._failed("its drain was cancelled by somebody else")
        elif outcome in ENDED and not self._again(machine, record):
            machine._failed(record.text or str(outcome))

    def _again(self, machine: RollingStep, record: OrderRecord) -> bool:
        """
        An order that is known not to have arrived may be given anew.
        """
        never = record.outcome is Outcome.FAILED and record.result == NOT_ARRIVED
        if not never or self.plan.stopping:
            return False
        if len(self.plan.orderIds(self.server)) >= TRIES * 2:
            return False
        self.enter(machine, self.step, newOrder=True)
        return True

    def followed(self, record: Mapping[str, Any]) -> None:
        """
        One of its orders has changed.
        """
        machine = self._machine
        if machine is None or record["id"] not in self.plan.orderIds(self.server)[-1:]:
            return
        if record["outcome"] == Outcome.SENT and self.step == "draining":
            # It may have waited for the budget until now.
            self._stopTimers()
            self._startLimit(machine)
        elif record["outcome"] == Outcome.OBEYED and record["text"] == MAINTAINING:
            machine._maintaining()

    def cancel(self, machine: RollingStep) -> None:
        """
        Withdraws the order to drain where it waits, or has the drain cancelled.
        """
        ids = self.plan.orderIds(self.server)

        def late(failure: Failure) -> None:
            failure.trap(SIPGraceError)
            self._log.info(
                "{server} goes on draining: {why}", server=self.server, why=failure.getErrorMessage()
            )

        if ids:
            self.plan.takeBack(self.server, ids[-1]).addErrback(late)

    def resume(self, machine: RollingStep) -> None:
        """
        Gives the order to resume, unless that was done; follows it.
        """
        self._startLimit(machine)
        self._do(machine, self._resume(machine))

    async def _resume(self, machine: RollingStep) -> None:
        id = self.plan.orderIds(self.server)[-1]
        turn = self._turn
        record = await self.plan.known(id)
        if record is None:
            self._needLink()
            await self._needAnotherRun()
            record = await self.plan.give(self.server, Kind.RESUME, id)
        if record.outcome not in ENDED:
            record = await self.plan.whenEnded(id)
        if self._turn != turn:
            return
        if record.outcome is Outcome.DONE:
            machine._serves()
        elif not self._again(machine, record):
            machine._failed(f"it does not come back: {record.text or record.outcome}")

    def _do(self, machine: RollingStep, work: Coroutine[Any, Any, None]) -> None:
        self._machine = machine
        turn = self._turn

        def failed(failure: Failure) -> None:
            if self._turn != turn:
                return
            if failure.check(StoreError, Unreachable, Unknown):
                # It is stored, or there again, some time; or its time will be over.
                self._log.warn("{server}: {why}", server=self.server, why=failure.getErrorMessage())
                self._retry(machine)
            elif failure.check(OrderRefused):
                machine._failed(failure.getErrorMessage())
            else:
                self._log.failure("{server}", failure, server=self.server)
                machine._failed(f"a fault in this program: {failure.getErrorMessage()}")

        Deferred.fromCoroutine(work).addErrback(failed)

    def _needLink(self) -> None:
        self._absent = not self._isThere()
        if self._absent:
            raise Unreachable("it has no link to this controller yet, or has not said how it stands")

    def _isThere(self) -> bool:
        fleet = self.plan.fleet
        return fleet.linkOf(self.server) is not None and fleet.member(self.server).state != "unknown"

    def _needSight(self) -> None:
        """
        Somebody must be able to tell afterwards whether it is healthy: where clients may have it, one that
        reaches it.
        """
        doubtful = [] if any(self.reach().values()) else self._doubtful()
        self._unseen = ""
        if doubtful:
            self._unseen = f"no client reaches it, as far as is known, and of {_few(doubtful)} it is not"
            raise Unreachable(self._unseen)

    def _doubtful(self) -> list[str]:
        """
        @return: the clients that may have it, and of which it is not known now.
        """
        doubtful = []
        for client in self.plan.fleet.seen("client"):
            peers = client.standing.get("peers")
            may = not isinstance(peers, list) or (
                client.link is None and any(peer.get("name") == self.server for peer in peers)
            )
            if may:
                doubtful.append(client.name)
        return doubtful

    async def _needAnotherRun(self) -> None:
        """
        Where the drain was to end the process, it is another run of it that comes back.
        """
        if self.plan.values("then") != "exit":
            return
        boot = self.plan.fleet.member(self.server).hello.boot
        for id in self.plan.orderIds(self.server):
            record = await self.plan.known(id)
            if record is not None and record.boot == boot and record.order.get("kind") == Kind.DRAIN:
                raise Unreachable("its process has not ended yet")

    def _retry(self, machine: RollingStep) -> None:
        turn = self._turn

        def again() -> None:
            self._retrying = None
            if self._turn == turn:
                machine.takeUp()

        self._stopRetrying()
        self._retrying = self.plan.clock.callLater(AGAIN, again)

    def _stopRetrying(self) -> None:
        if self._retrying is not None:
            self._retrying.cancel()
            self._retrying = None

    # ------------------------------------------------------------------ watching

    def watch(self, machine: RollingStep) -> None:
        """
        Watches whether its clients reach it.
        """
        self._machine = machine
        self._startLimit(machine)
        self.look()

    def look(self) -> None:
        """
        The fleet has changed.
        """
        machine = self._machine
        seen = bool(self._unseen) and any(self.reach().values())
        if self._retrying is not None and ((self._absent and self._isThere()) or seen):
            # It was waited for.
            self._absent, self._unseen = False, ""
            self._retrying.reset(0)
        if self._dead or machine is None or self.step != "settling":
            return
        why = self.unhealthy()
        if why:
            if self._settling is not None:
                self._settling.cancel()
                self._settling = None
        elif self._settling is None:
            self._settling = self.plan.clock.callLater(self.plan.values("settle"), self._settledNow, machine)

    def _settledNow(self, machine: RollingStep) -> None:
        self._settling = None
        machine._settled()

    def unhealthy(self) -> str:
        """
        @return: what keeps it from being healthy; empty where it is.
        """
        try:
            member = self.plan.fleet.member(self.server)
        except Unknown:
            return "it has not linked up"
        if member.link is None:
            return f"its link is lost: {member.lost}"
        if member.state != "serving":
            return f"it is {member.state}"
        blind, reach, spared = self.plan.blind(self.server), self.reach(), self._spared()
        # By its own word, which is about those that have no link to any controller as well.
        awaited = [
            name for name in member.standing.get("awaited", ()) if name not in blind and name not in spared
        ]
        if awaited:
            return f"it waits for {_few(awaited)}"
        missed = [name for name, reaches in reach.items() if not reaches and name not in blind]
        if missed:
            return f"not reached by {_few(missed)}"
        silent = [
            name for name in self.plan.reached(self.server) if name not in reach and name not in spared
        ]
        return f"not known to be reached by {_few(silent)}, as it was before" if silent else ""

    def _spared(self) -> set[str]:
        """
        @return: the clients that have a link, and were told to skip it.
        """
        return {
            client.name
            for client in self.plan.fleet.seen("client")
            if client.link is not None
            for peer in client.standing.get("peers", ())
            if peer.get("name") == self.server and peer.get("skipped")
        }

    def reach(self) -> dict[str, bool]:
        """
        @return: by client, whether it sends calls there: of those that have a link, to this controller or
            another, and that server, and were not told to skip it.
        """
        found: dict[str, bool] = {}
        for client in self.plan.fleet.seen("client"):
            if client.link is None:
                continue
            for peer in client.standing.get("peers", ()):
                if peer.get("name") == self.server and not peer.get("skipped"):
                    found[client.name] = bool(peer.get("active"))
        return found

    def _startLimit(self, machine: RollingStep) -> None:
        if self._limit is None:
            self._limit = self.plan.clock.callLater(self.plan.values("timeout"), self._late, machine)

    def _late(self, machine: RollingStep) -> None:
        self._limit = None
        turn = self._turn

        def known(record: OrderRecord | None) -> None:
            if self._turn != turn:
                # It has moved in this very moment.
                self._startLimit(machine)
            elif record is not None and record.outcome is Outcome.QUEUED:
                # It waits for the budget: its turn has not begun.
                self._startLimit(machine)
            else:
                self._fail(machine)

        ids = self.plan.orderIds(self.server)
        last = self.plan.known(ids[-1]) if ids else succeed(None)
        last.addErrback(lambda failure: None).addCallback(known)

    def _fail(self, machine: RollingStep) -> None:
        seconds = self.plan.values("timeout")
        word = {
            "draining": f"it is not offline ({self._unseen})" if self._unseen else "it is not offline",
            "maintaining": "its maintenance is not done",
            "returning": "it is not back in service",
            "settling": f"it is not healthy ({self.unhealthy()})",
        }.get(self.step, self.step)
        machine._failed(f"{word} {seconds:g} s after its turn began")


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5])
