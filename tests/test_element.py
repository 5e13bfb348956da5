"""
What a server and a client are both made of, put together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace import element as elementModule
from sipgrace.config.sections import Limits, Timers
from sipgrace.config.server import Drain
from sipgrace.element import Element
from sipgrace.testing import MemoryNetwork, Recorder
from sipgrace.transport.pool import AssociationPool


class ElementTests(SynchronousTestCase):
    """
    What it hands to the transports, and what it shows of them.
    """

    def setUp(self) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.listener = MemoryNetwork().element(Recorder(), "192.0.2.1", zone="network")
        for name, make in (
            ("listen", lambda: succeed(self.listener)),
            ("connect", lambda: succeed(None)),
            ("AssociationPool", lambda: AssociationPool(MemoryReactorClock(), Recorder(), "network")),
        ):
            self.patch(elementModule, name, self.recorder(name, make))

    def recorder(self, name: str, make: Callable[[], object]) -> Callable[..., object]:
        """
        Takes down with which named arguments something is called.
        """

        def record(*args: object, **named: Any) -> object:
            self.asked.append((name, named))
            return make()

        return record

    def make(self, *places: tuple[str, str], timers: Timers | None = None) -> Element:
        """
        An element that listens there.
        """
        timers = timers or Timers()
        made = Element(MemoryReactorClock(), "one", places, None, "userspace", timers, Limits(), Drain())
        self.asked.clear()
        return made

    def test_counters(self) -> None:
        """
        What arrives anywhere is counted in one place, which the status shows.
        """
        element = self.make(("tcp:5060", "network"))
        self.successResultOf(element.connect("tcp:host=192.0.2.2:port=5060", "network"))
        element.addPool("network")
        self.successResultOf(element.associations.listen())
        self.assertEqual([name for name, _ in self.asked], ["connect", "AssociationPool", "listen"])
        for _, named in self.asked:
            self.assertIs(named["counters"], element.counters)
        element.counters.refused += 3
        found = element.status()["transport"]
        self.assertEqual({name: count for name, count in found.items() if count}, {"refused": 3})

    def test_stack(self) -> None:
        """
        An SCTP string that names no stack gets the configured one; what only looks like one is left alone.
        """
        element = self.make()
        for given, expected in (
            ("sctp:5060", "sctp:5060:stack=userspace"),
            ("sctp:5060:stack=kernel", "sctp:5060:stack=kernel"),
            ("sctp:5060:interface=\\:\\:1", "sctp:5060:interface=\\:\\:1:stack=userspace"),
            ("tcp:5060", "tcp:5060"),
        ):
            self.assertEqual(element.withStack(given), expected)

    def test_via(self) -> None:
        """
        What is opened bears the Via of the listener of the same transport and side, or its own.
        """
        element = self.make()
        element.associations.listeners.append(self.listener)
        transport = self.listener.transport.decode("ascii").lower()
        for description, zone, expected in (
            (f"{transport}:host=192.0.2.2:port=5060", "network", self.listener.via),
            (f"{transport}:host=192.0.2.2:port=5060", "interface", None),
            ("tls:host=192.0.2.2:port=5061", "network", None),
        ):
            self.successResultOf(element.connect(description, zone))
            self.assertEqual(self.asked.pop()[1]["via"], expected)

    def test_idle(self) -> None:
        """
        An association that was opened for a call is not idle while the call may ring.
        """
        for timerC, expected in ((181.0, 300.0), (600.0, 610.0)):
            timers = Timers.model_validate({"timer_c": timerC})
            self.make(timers=timers).addPool("network")
            self.assertEqual(self.asked.pop()[1]["idle"], expected)
