"""
The life of a node's link to one controller::

    Idle        nothing is wanted of it
    Connecting  a connection is being opened; whoever is there shows who it is
    Greeting    we have said who we are
    Linked      the controller knows us, and is told of all that happens
    Waiting     there is no connection; the next attempt waits for its back-off

The grid. A dot is an input that changes nothing there: it comes too late, or cannot come::

                Idle        Connecting  Greeting    Linked      Waiting
    start       Connecting  .           .           .           .
    stop        .           Idle        Idle        Idle        Idle
    _connected  .           Greeting    .           .           .
    _failed     .           Waiting     Waiting     Waiting     .
    _welcomed   .           .           Linked      .           .
    _lost       .           .           Waiting     Waiting     .
    _due        .           .           .           ask         Connecting

 - Whoever leaves a state cancels what that state had under way (timer, attempt, question), so that no late
   answer can be about a state that is gone. Each of these has a limit of its own, and fails when it is over.
 - C{_failed} in Greeting: the controller does not want us, or does not answer; in Linked: it has not answered
   when asked whether it is still there.
 - C{_due} in Linked asks that, time and again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from automat import TypeMachineBuilder

from sipgrace.control.uplinkcore import UplinkCore, Uplinking


def _machine() -> TypeMachineBuilder[Uplinking, UplinkCore[Any]]:
    """
    The grid above as a machine.
    """
    machine: TypeMachineBuilder[Uplinking, UplinkCore[Any]] = TypeMachineBuilder(Uplinking, UplinkCore)

    Idle = machine.state("Idle")
    Connecting = machine.state("Connecting")
    Greeting = machine.state("Greeting")
    Linked = machine.state("Linked")
    Waiting = machine.state("Waiting")

    # What changes nothing, state by state.

    Input = Callable[[Uplinking], None]
    U = Uplinking
    ignored: list[tuple[Any, list[Input]]] = [
        (Idle, [U.stop, U._connected, U._failed, U._welcomed, U._lost, U._due]),
        (Connecting, [U.start, U._welcomed, U._lost, U._due]),
        (Greeting, [U.start, U._connected, U._due]),
        (Linked, [U.start, U._connected, U._welcomed]),
        (Waiting, [U.start, U._connected, U._failed, U._welcomed, U._lost]),
    ]
    for state, inputs in ignored:
        for given in inputs:
            state.upon(given).loop().returns(None)

    @Idle.upon(Uplinking.start).to(Connecting)
    @Waiting.upon(Uplinking._due).to(Connecting)
    def connect(uplink: Uplinking, core: UplinkCore[Any]) -> None:
        """
        Opens a connection.
        """
        core.enter("Connecting")
        core.attempt(uplink)

    @Connecting.upon(Uplinking._connected).to(Greeting)
    def greet(uplink: Uplinking, core: UplinkCore[Any]) -> None:
        """
        Says who we are.
        """
        core.enter("Greeting")
        core.greet(uplink)

    @Greeting.upon(Uplinking._welcomed).to(Linked)
    def link(uplink: Uplinking, core: UplinkCore[Any]) -> None:
        """
        Tells the controller what it does not know yet.
        """
        core.enter("Linked")
        core.wait(core.ASK, uplink._due)
        core.linked()

    @Linked.upon(Uplinking._due).loop()
    def ask(uplink: Uplinking, core: UplinkCore[Any]) -> None:
        """
        Asks whether the controller is still there.
        """
        core.wait(core.ASK, uplink._due)
        core.ask(uplink)

    @Connecting.upon(Uplinking._failed).to(Waiting)
    @Greeting.upon(Uplinking._failed).to(Waiting)
    @Greeting.upon(Uplinking._lost).to(Waiting)
    @Linked.upon(Uplinking._failed).to(Waiting)
    @Linked.upon(Uplinking._lost).to(Waiting)
    def wait(uplink: Uplinking, core: UplinkCore[Any]) -> None:
        """
        Ends what there is of a connection, and waits for the next attempt.
        """
        core.enter("Waiting")
        core.unlink(abort=True)
        core.wait(core.delay(), uplink._due)

    @Connecting.upon(Uplinking.stop).to(Idle)
    @Greeting.upon(Uplinking.stop).to(Idle)
    @Linked.upon(Uplinking.stop).to(Idle)
    @Waiting.upon(Uplinking.stop).to(Idle)
    def rest(uplink: Uplinking, core: UplinkCore[Any]) -> None:
        """
        Ends what there is of a connection.
        """
        core.enter("Idle")
        core.unlink(abort=False)
        core.failures = 0

    return machine


#: The builder, from which the documentation's transition table is generated.
uplinkBuilder = _machine()
#: Makes a machine for one link.
uplinkMachine = uplinkBuilder.build()
