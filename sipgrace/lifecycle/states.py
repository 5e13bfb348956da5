"""
The life of a server: Serving → (Slowing →) Draining → Drained → Offline → Serving. A dot: nothing happens,
and that is right::

                     | Serving    | Slowing    | Draining   | Drained    | Offline     | Returning  |
    drain            | → Draining | → Draining | join       | refuse     | refuse      | → Drained  |
    slow             | → Slowing  | hurry      | join       | refuse     | refuse      | → Drained  |
    cancel           | refuse     | → Serving  | → Serving  | refuse     | refuse      | refuse     |
    extend           | refuse     | refuse     | extend     | refuse     | refuse      | refuse     |
    resume           | .          | refuse     | refuse     | refuse     | → Returning | .          |
    offline          | → Offline  | → Offline  | → Offline  | → Offline  | .           | → Offline  |
    becameIdle       | .          | .          | → Drained  | .          | .           | .          |
    _slowed          | .          | → Draining | .          | .          | .           | .          |
    _recallDue       | .          | .          | recall     | .          | .           | .          |
    _settlementDue   | .          | .          | → Drained  | .          | .           | .          |
    _guardExpired    | .          | .          | → Drained  | abort      | .           | .          |
    associationsGone | .          | .          | .          | → Offline  | tell        | .          |
    _listened        | .          | .          | .          | .          | .           | → Serving  |
    _listenFailed    | .          | .          | .          | .          | .           | → Offline  |

 - → Slowing: a drain that begins gradually (slow is an order to drain that says so). The gate refuses a
   rising share of new INVITEs, and lets the others in; the server is in service yet, and nobody is asked to
   stay away. When all are refused, _slowed leads to Draining. An order to drain without that does so at
   once, and counts from then on.
 - hurry: a second such order: the earlier full stop counts, and for all else the first order.
 - → Draining: the gate is closed, the guard set. Where nothing accepted is left, becameIdle follows at once.
 - join: a second order to drain joins the drain under way where it asks for no later an end, or names none;
   the earlier guard and the longer Retry-After count. One that asks for a later end is refused: extend is
   the order for that.
 - extend: the guard moves, and with it the time that clients are asked to stay away.
 - Draining → Serving: the gate opens, the guard is forgotten; the associations were never touched.
 - Draining → Drained: all that was accepted is settled, by force where the guard is near. No association is
   accepted any more, and SHUTDOWN goes out on each. Where none is left, associationsGone follows at once.
 - The guard has three moments (L{sipgrace.lifecycle.guard}): _settlementDue comes a teardown margin before
   _guardExpired, so that the associations are gone at the guard, not beginning to go. So _guardExpired is
   not met in Draining; were it, then SHUTDOWN and ABORT follow each other. _recallDue comes half a margin
   before the settlement.
 - recall: what rings is taken back, and its callee has the last word. A 2xx that crosses the CANCEL is a
   call saved; after the settlement it would be lost, and the callee left in a call with nobody.
 - associationsGone in Draining: all clients have left. What they asked for ends with them, and becameIdle
   comes when it has.
 - abort: what has not answered its SHUTDOWN gets ABORT, and associationsGone follows.
 - offline: what is left gets its final answer, associations are aborted at once. That they have gone is told
   in Offline.
 - Returning is there because listening again takes time and can fail. The gate stays closed in it, so that
   nothing can have been accepted: a drain leads straight to Drained.

Orders (the first six) may be refused, facts never. All are taken one after another: what comes in while
one is being carried out waits, and observers hear of each change before the next input is looked at
(L{sipgrace.lifecycle.machine}).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from automat import TypeMachine, TypeMachineBuilder
from twisted.python.failure import Failure

from sipgrace.lifecycle.core import Core, Facts
from sipgrace.lifecycle.events import Change, State
from sipgrace.lifecycle.orders import Order

if TYPE_CHECKING:
    from automat._typed import TypedState


class _Server(Facts, Protocol):
    """
    Orders return an empty string where they are obeyed, and otherwise a sentence that says why not and
    what would be accepted.
    """

    def drain(self, order: Order) -> str:
        """
        Take the server out of service, finishing what was accepted.
        """

    def slow(self, order: Order) -> str:
        """
        The same, gradually.
        """

    def cancel(self, order: Order | None) -> str:
        """
        Take the drain back.
        """

    def extend(self, seconds: float, order: Order | None) -> str:
        """
        Give the drain more time.
        """

    def resume(self, order: Order | None) -> str:
        """
        Come back into service.
        """

    def offline(self, order: Order) -> str:
        """
        Go out of service at once.
        """


def _refusal(why: str) -> Callable[..., str]:
    """
    @return: a behaviour that refuses an order (the last argument of every order) for that reason.
    """

    def refuse(c: _Server, s: Core, *args: object) -> str:
        order = args[-1]
        s.tell(Change.REFUSED, order if isinstance(order, Order) else None, text=why)
        return why

    refuse.__doc__ = f"Refused: {why}."
    return refuse


def makeMachine() -> tuple[TypeMachine[_Server, Core], TypedState[_Server, Core]]:
    """
    @return: the machine, and its state Offline for a server that has yet to listen.
    """
    machine = TypeMachineBuilder(_Server, Core)

    # States:
    Serving = machine.state("Serving")
    Slowing = machine.state("Slowing")
    Draining = machine.state("Draining")
    Drained = machine.state("Drained")
    Offline = machine.state("Offline")
    Returning = machine.state("Returning")

    # Nothing happens, and that is right:
    Serving.upon(_Server.resume).loop().returns("")
    Serving.upon(_Server.becameIdle).loop().returns(None)
    Serving.upon(_Server._slowed).loop().returns(None)
    Serving.upon(_Server._recallDue).loop().returns(None)
    Serving.upon(_Server._settlementDue).loop().returns(None)
    Serving.upon(_Server._guardExpired).loop().returns(None)
    Serving.upon(_Server.associationsGone).loop().returns(None)
    Serving.upon(_Server._listened).loop().returns(None)
    Serving.upon(_Server._listenFailed).loop().returns(None)
    Slowing.upon(_Server.becameIdle).loop().returns(None)
    Slowing.upon(_Server._recallDue).loop().returns(None)
    Slowing.upon(_Server._settlementDue).loop().returns(None)
    Slowing.upon(_Server._guardExpired).loop().returns(None)
    Slowing.upon(_Server.associationsGone).loop().returns(None)
    Slowing.upon(_Server._listened).loop().returns(None)
    Slowing.upon(_Server._listenFailed).loop().returns(None)
    Draining.upon(_Server._slowed).loop().returns(None)
    Draining.upon(_Server.associationsGone).loop().returns(None)
    Draining.upon(_Server._listened).loop().returns(None)
    Draining.upon(_Server._listenFailed).loop().returns(None)
    Drained.upon(_Server.becameIdle).loop().returns(None)
    Drained.upon(_Server._slowed).loop().returns(None)
    Drained.upon(_Server._recallDue).loop().returns(None)
    Drained.upon(_Server._settlementDue).loop().returns(None)
    Drained.upon(_Server._listened).loop().returns(None)
    Drained.upon(_Server._listenFailed).loop().returns(None)
    Offline.upon(_Server.offline).loop().returns("")
    Offline.upon(_Server.becameIdle).loop().returns(None)
    Offline.upon(_Server._slowed).loop().returns(None)
    Offline.upon(_Server._recallDue).loop().returns(None)
    Offline.upon(_Server._settlementDue).loop().returns(None)
    Offline.upon(_Server._guardExpired).loop().returns(None)
    Offline.upon(_Server._listened).loop().returns(None)
    Offline.upon(_Server._listenFailed).loop().returns(None)
    Returning.upon(_Server.resume).loop().returns("")
    Returning.upon(_Server.becameIdle).loop().returns(None)
    Returning.upon(_Server._slowed).loop().returns(None)
    Returning.upon(_Server._recallDue).loop().returns(None)
    Returning.upon(_Server._settlementDue).loop().returns(None)
    Returning.upon(_Server._guardExpired).loop().returns(None)
    Returning.upon(_Server.associationsGone).loop().returns(None)

    # Refusals:
    complete = "the drain is complete and the associations are being shut down; wait until it is offline"
    Drained.upon(_Server.drain).loop()(_refusal(complete))
    Drained.upon(_Server.slow).loop()(_refusal(complete))
    already = "the server is offline already; resume is what would be accepted"
    Offline.upon(_Server.drain).loop()(_refusal(already))
    Offline.upon(_Server.slow).loop()(_refusal(already))
    Slowing.upon(_Server.extend).loop()(
        _refusal("the drain is about to begin and no guard is set yet; cancel is what would be accepted")
    )
    Slowing.upon(_Server.resume).loop()(
        _refusal("the server is about to drain; cancel is what takes that back")
    )
    Serving.upon(_Server.cancel).loop()(
        _refusal("the server is serving and no drain is under way; drain is what would be accepted")
    )
    Drained.upon(_Server.cancel).loop()(
        _refusal(
            "the drain is complete and the associations are being shut down; "
            "wait until it is offline, then resume"
        )
    )
    Offline.upon(_Server.cancel).loop()(
        _refusal("the drain is over and the server is offline; resume is what would be accepted")
    )
    Returning.upon(_Server.cancel).loop()(
        _refusal("no drain is under way, the server is coming back; drain is what would be accepted")
    )
    Serving.upon(_Server.extend).loop()(
        _refusal("the server is serving and no guard is set; drain, with a guard, is what would be accepted")
    )
    Drained.upon(_Server.extend).loop()(
        _refusal(
            "the drain is complete and needs no more time; wait until the server is offline, then resume"
        )
    )
    Offline.upon(_Server.extend).loop()(
        _refusal("the drain is over and the server is offline; resume is what would be accepted")
    )
    Returning.upon(_Server.extend).loop()(
        _refusal("no guard is set, the server is coming back; drain is what would be accepted")
    )
    Draining.upon(_Server.resume).loop()(
        _refusal("the server is draining; cancel is what takes a drain back")
    )
    Drained.upon(_Server.resume).loop()(
        _refusal("the associations are still being shut down; wait until the server is offline, then resume")
    )

    # Slowing:
    @Serving.upon(_Server.slow).to(Slowing)
    def slowDown(c: _Server, s: Core, order: Order) -> str:
        """Refuses a rising share of new INVITEs; the drain begins when that is all of them."""
        s.slow(c, order)
        s.enter(State.SLOWING, Change.SLOWING, order)
        return ""

    @Slowing.upon(_Server.slow).loop()
    def hurry(c: _Server, s: Core, order: Order) -> str:
        """Joins the drain that is about to begin: the earlier full stop counts."""
        s.slowSooner(c, order)
        s.tell(Change.JOINED, order)
        return ""

    @Slowing.upon(_Server.cancel).to(Serving)
    def speedUp(c: _Server, s: Core, order: Order | None) -> str:
        """Lets all new INVITEs in."""
        s.openGate()
        s.enter(State.SERVING, Change.CANCELLED, order)
        return ""

    # Draining:
    @Slowing.upon(_Server._slowed).to(Draining)
    def stop(c: _Server, s: Core) -> None:
        """Closes the gate, sets the guard, waits for the ledger to become empty."""
        assert s.order is not None
        begin(c, s, s.order)

    @Serving.upon(_Server.drain).to(Draining)
    @Slowing.upon(_Server.drain).to(Draining)
    def begin(c: _Server, s: Core, order: Order) -> str:
        """Closes the gate, sets the guard, waits for the ledger to become empty."""
        s.setGuard(c, order)
        s.enter(State.DRAINING, Change.DRAINING, order)
        s.awaitIdle(c)
        return ""

    @Draining.upon(_Server.drain).loop()
    @Draining.upon(_Server.slow).loop()
    def join(c: _Server, s: Core, order: Order) -> str:
        """
        Joins the drain under way where the order asks for no later an end, or names none: the earlier
        guard and the longer Retry-After count. Refuses a later one: that is what extend is for.
        """
        assert s.guard is not None
        left = s.guard.left()
        if order.guard is not None and order.guard > left:
            why = (
                f"the server is draining already and will be done in {left:.1f} s at the latest, before "
                f"this order's {order.guard:g} s; extend is what gives it more time"
            )
            s.tell(Change.REFUSED, order, text=why)
            return why
        if order.retryAfter is not None:
            s.wantRetryAfter(order.retryAfter)
        s.moveGuard(order.guard)
        s.tell(Change.JOINED, order)
        return ""

    @Draining.upon(_Server.extend).loop()
    def extend(c: _Server, s: Core, seconds: float, order: Order | None) -> str:
        """Moves the guard, and with it the time that clients are asked to stay away."""
        assert s.guard is not None
        s.moveGuard(s.guard.left() + seconds)
        s.tell(Change.EXTENDED, order)
        return ""

    @Draining.upon(_Server.cancel).to(Serving)
    def takeBack(c: _Server, s: Core, order: Order | None) -> str:
        """Opens the gate and forgets the guard; the associations were never touched."""
        s.leaveLedger()
        s.openGate()
        s.enter(State.SERVING, Change.CANCELLED, order, forced=s.forced())
        return ""

    @Draining.upon(_Server._recallDue).loop()
    def recall(c: _Server, s: Core) -> None:
        """Takes back what rings; the callees have the last word."""
        s.recall("guard timer")

    # Drained:
    @Draining.upon(_Server.becameIdle).to(Drained)
    def finish(c: _Server, s: Core) -> None:
        """All that was accepted is settled: accepts no more associations, shuts down those there are."""
        s.shutDown(c)
        s.enter(State.DRAINED, Change.DRAINED, s.order, forced=s.forced())

    @Draining.upon(_Server._settlementDue).to(Drained)
    def settleAndFinish(c: _Server, s: Core) -> None:
        """Gives what is left its final answers, then shuts the associations down."""
        forced = s.settle("guard timer")
        s.shutDown(c)
        s.enter(State.DRAINED, Change.DRAINED, s.order, forced=forced)

    @Draining.upon(_Server._guardExpired).to(Drained)
    def settleAndAbort(c: _Server, s: Core) -> None:
        """
        Gives what is left its final answers and aborts the associations. L{Guard} has settlement come
        first, so this is not met; but were it, then the guard counts.
        """
        forced = s.settle("guard timer")
        s.shutDown(c)
        s.enter(State.DRAINED, Change.DRAINED, s.order, forced=forced)
        s.post(c._guardExpired)

    @Drained.upon(_Server._guardExpired).loop()
    def abort(c: _Server, s: Core) -> None:
        """Aborts the associations that have not shut down."""
        left = s.abort(c)
        s.tell(Change.ABORTED, s.order, aborted=left)

    # Offline:
    @Drained.upon(_Server.associationsGone).to(Offline)
    def leave(c: _Server, s: Core) -> None:
        """Out of service."""
        s.stopGuard()
        s.enter(State.OFFLINE, Change.OFFLINE, s.order)

    @Serving.upon(_Server.offline).to(Offline)
    @Slowing.upon(_Server.offline).to(Offline)
    @Draining.upon(_Server.offline).to(Offline)
    @Drained.upon(_Server.offline).to(Offline)
    @Returning.upon(_Server.offline).to(Offline)
    def leaveNow(c: _Server, s: Core, order: Order) -> str:
        """
        Gives what is left its final answers, accepts no more associations (or gives up listening again)
        and aborts those there are.
        """
        s.leaveLedger()
        s.forgetListening()
        s.keepAway(order)
        forced = s.settle("taken offline")
        s.stopListening()
        left = s.abort(c)
        s.enter(State.OFFLINE, Change.OFFLINE, order, forced=forced, aborted=left)
        return ""

    @Offline.upon(_Server.associationsGone).loop()
    def tellGone(c: _Server, s: Core) -> None:
        """Tells that those which were aborted have gone."""
        s.tell(Change.GONE, s.order)

    # Returning:
    @Offline.upon(_Server.resume).to(Returning)
    def listen(c: _Server, s: Core, order: Order | None) -> str:
        """Listens again, once the ports are free."""
        s.enter(State.RETURNING, Change.RETURNING, order)
        s.listen(c)
        return ""

    @Returning.upon(_Server._listened).to(Serving)
    def serve(c: _Server, s: Core) -> None:
        """Opens the gate."""
        s.openGate()
        s.enter(State.SERVING, Change.SERVING, None)

    @Returning.upon(_Server._listenFailed).to(Offline)
    def stay(c: _Server, s: Core, failure: Failure) -> None:
        """Gives back the ports it did get, and tells why it stays offline."""
        s.stopListening()
        s.failure = failure
        s.enter(State.OFFLINE, Change.FAILED, s.order, text=failure.getErrorMessage())

    @Returning.upon(_Server.drain).to(Drained)
    @Returning.upon(_Server.slow).to(Drained)
    def turnBack(c: _Server, s: Core, order: Order) -> str:
        """Gives up listening again, sets the guard and shuts down associations that came up already."""
        s.forgetListening()
        s.setGuard(c, order)
        s.enter(State.DRAINED, Change.DRAINING, order)
        s.shutDown(c)
        s.tell(Change.DRAINED, order)
        return ""

    return machine.build(), Offline


LifecycleMachine, OFFLINE = makeMachine()
