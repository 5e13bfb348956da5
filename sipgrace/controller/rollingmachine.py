"""
One server's way through a rolling maintenance::

    Waiting      its turn has not come, or its drain was taken back
    Draining     the order to drain is given (or waits for the budget)
    Maintaining  it is offline, and its maintenance runs
    Returning    the order to resume is given
    Settling     it serves again; its clients must reach it for a while without a break
    Done         it has been maintained, and is back
    Trouble      it needs somebody

The grid. A dot is an input that changes nothing there::

                     Waiting   Draining     Maintaining  Returning  Settling  Done  Trouble
    begin            Draining  .            .            .          .         .     .
    takeUp           .         drain        drain        resume     watch     .     .
    _maintaining     .         Maintaining  .            .          .         .     .
    _drained         .         Returning    Returning    .          .         .     .
    _undone          .         Waiting      .            .          .         .     .
    _serves          .         .            .            Settling   .         .     .
    _settled         .         .            .            .          Done      .     .
    _failed          .         Trouble      Trouble      Trouble    Trouble   .     .
    takeBack         .         cancel       .            .          .         .     .
    goOn             .         .            .            .          .         .     Waiting
    goOnReturning    .         .            .            .          .         .     Returning
    goOnSettling     .         .            .            .          .         .     Settling

Each state is in the store before what belongs to it is done, and C{takeUp} does that (again): after a restart
a server's machine begins in the state that is stored, and takes it up. Orders are known by their ids, which
are stored with the state: one that was given already is not given again, but followed.

 - After trouble it goes by where the server is: one that is offline is to return, one that serves and has
   been drained is to settle, any other waits for its turn anew.
 - C{takeBack} gives an order to cancel. Where that comes too late, the drain goes on, and the server returns.
"""

from __future__ import annotations

from typing import Any, Protocol

from automat import TypeMachineBuilder

from sipgrace.controller.rollingcore import RollingCore

__all__ = ["STATES", "RollingStep", "rollingMachine"]


class RollingStep(Protocol):
    """
    The inputs.
    """

    def begin(self) -> None:
        """
        Its turn has come.
        """

    def takeUp(self) -> None:
        """
        Do what belongs to the state.
        """

    def takeBack(self) -> None:
        """
        The maintenance is stopped: a drain is to be taken back.
        """

    def goOn(self) -> None:
        """
        Somebody has seen to the trouble; it waits for its turn anew.
        """

    def goOnReturning(self) -> None:
        """
        The same, and it is offline.
        """

    def goOnSettling(self) -> None:
        """
        The same, and it serves already.
        """

    def _maintaining(self) -> None:
        """
        The drain is over, its maintenance runs.
        """

    def _drained(self) -> None:
        """
        The order to drain has been carried out, with all that follows.
        """

    def _undone(self) -> None:
        """
        The drain was taken back, since the maintenance was stopped.
        """

    def _serves(self) -> None:
        """
        It is in service again.
        """

    def _settled(self) -> None:
        """
        Its clients have reached it for long enough.
        """

    def _failed(self, why: str) -> None:
        """
        Something went wrong.
        """


def _machine() -> tuple[TypeMachineBuilder[RollingStep, RollingCore], dict[str, Any]]:
    """
    The grid above as a machine, and its states by the step that is stored.
    """
    machine = TypeMachineBuilder(RollingStep, RollingCore)

    Waiting = machine.state("Waiting")
    Draining = machine.state("Draining")
    Maintaining = machine.state("Maintaining")
    Returning = machine.state("Returning")
    Settling = machine.state("Settling")
    Done = machine.state("Done")
    Trouble = machine.state("Trouble")

    inner = [
        RollingStep._maintaining,
        RollingStep._drained,
        RollingStep._undone,
        RollingStep._serves,
        RollingStep._settled,
    ]
    goOns = [RollingStep.goOn, RollingStep.goOnReturning, RollingStep.goOnSettling]
    for state, moves in [
        (Waiting, [RollingStep.begin]),
        (Draining, [RollingStep._maintaining, RollingStep._drained, RollingStep._undone]),
        (Maintaining, [RollingStep._drained]),
        (Returning, [RollingStep._serves]),
        (Settling, [RollingStep._settled]),
        (Done, []),
        (Trouble, goOns),
    ]:
        for given in [RollingStep.begin, *inner, *goOns]:
            if given not in moves:
                state.upon(given).loop().returns(None)
        if state is not Draining:
            state.upon(RollingStep.takeBack).loop().returns(None)
    for state in (Waiting, Done, Trouble):
        state.upon(RollingStep.takeUp).loop().returns(None)
        state.upon(RollingStep._failed).loop().returns(None)

    @Waiting.upon(RollingStep.begin).to(Draining)
    def begin(c: RollingStep, s: RollingCore) -> None:
        """
        Chooses the order's id; when that is stored, gives the order.
        """
        s.enter(c, "draining", newOrder=True)

    @Draining.upon(RollingStep.takeUp).loop()
    @Maintaining.upon(RollingStep.takeUp).loop()
    def drain(c: RollingStep, s: RollingCore) -> None:
        """
        Gives the order to drain, unless that was done; follows it.
        """
        s.drain(c)

    @Draining.upon(RollingStep.takeBack).loop()
    def cancel(c: RollingStep, s: RollingCore) -> None:
        """
        Withdraws the order where it waits, or has it cancelled.
        """
        s.cancel(c)

    @Draining.upon(RollingStep._undone).to(Waiting)
    def wait(c: RollingStep, s: RollingCore) -> None:
        """
        It is as it was.
        """
        s.enter(c, "waiting")

    @Draining.upon(RollingStep._maintaining).to(Maintaining)
    def maintain(c: RollingStep, s: RollingCore) -> None:
        """
        Notes it; the order to drain is followed on.
        """
        s.note("maintaining")

    @Draining.upon(RollingStep._drained).to(Returning)
    @Maintaining.upon(RollingStep._drained).to(Returning)
    @Trouble.upon(RollingStep.goOnReturning).to(Returning)
    def bringBack(c: RollingStep, s: RollingCore) -> None:
        """
        Chooses the order's id; when that is stored, gives the order to resume.
        """
        s.enter(c, "returning", newOrder=True)

    @Returning.upon(RollingStep.takeUp).loop()
    def resume(c: RollingStep, s: RollingCore) -> None:
        """
        Gives the order to resume, unless that was done; follows it.
        """
        s.resume(c)

    @Returning.upon(RollingStep._serves).to(Settling)
    @Trouble.upon(RollingStep.goOnSettling).to(Settling)
    def settle(c: RollingStep, s: RollingCore) -> None:
        """
        Watches whether its clients reach it.
        """
        s.enter(c, "settling")

    @Settling.upon(RollingStep.takeUp).loop()
    def watch(c: RollingStep, s: RollingCore) -> None:
        """
        Watches whether its clients reach it.
        """
        s.watch(c)

    @Settling.upon(RollingStep._settled).to(Done)
    def finish(c: RollingStep, s: RollingCore) -> None:
        """
        The next may begin.
        """
        s.leave("done")

    @Draining.upon(RollingStep._failed).to(Trouble)
    @Maintaining.upon(RollingStep._failed).to(Trouble)
    @Returning.upon(RollingStep._failed).to(Trouble)
    @Settling.upon(RollingStep._failed).to(Trouble)
    def fail(c: RollingStep, s: RollingCore, why: str) -> None:
        """
        No further server is begun.
        """
        s.leave("trouble", why)

    @Trouble.upon(RollingStep.goOn).to(Waiting)
    def again(c: RollingStep, s: RollingCore) -> None:
        """
        Its turn will come again.
        """
        s.enter(c, "waiting")

    states = (Waiting, Draining, Maintaining, Returning, Settling, Done, Trouble)
    return machine, {state.name.lower(): state for state in states}


_builder, STATES = _machine()
#: Makes a machine for one server, which begins in one of L{STATES}.
rollingMachine = _builder.build()
