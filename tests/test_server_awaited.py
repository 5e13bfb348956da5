"""
Tests of L{sipgrace.server.awaited}: which clients a server waits for when it is back.
"""

from __future__ import annotations

from ipaddress import ip_network

from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.config.load import parseServer
from sipgrace.lifecycle.events import Change, Event, State
from sipgrace.lifecycle.gate import Gate
from sipgrace.server.awaited import Awaited
from sipgrace.server.clients import Clients
from sipgrace.server.service import ServerService
from sipgrace.testing import MemoryAssociation, MemoryElement, MemoryNetwork, Recorder

LOST = Failure(ConnectionDone())

HOSTS = {"a": "192.0.2.1", "b": "192.0.2.2", "c": "192.0.2.3", "?": "198.51.100.1"}

STATES = {
    Change.SLOWING: State.SLOWING,
    Change.DRAINING: State.DRAINING,
    Change.OFFLINE: State.OFFLINE,
    Change.RETURNING: State.RETURNING,
    Change.SERVING: State.SERVING,
    Change.CANCELLED: State.SERVING,
}

CONFIG = """
[server]
name = "server-1"
listen = {listen}
{server}
[[clients]]
name = "comes"
networks = ["192.0.2.1"]
[[clients]]
name = "opened"
open = "sctp:host=192.0.2.2:port=5060"
[[clients]]
name = "reached"
networks = ["192.0.2.3"]
address = "sip:192.0.2.3"
"""


class AwaitedCase(SynchronousTestCase):
    """
    A server with three clients, and its clock.
    """

    def setUp(self) -> None:
        self.begin()

    def begin(self, within: float = 60.0, known: str = "abc") -> None:
        """
        Its process begins.
        """
        self.clock = Clock()
        self.clients = Clients((name, [ip_network(HOSTS[name])]) for name in "abc")
        self.element = MemoryElement(MemoryNetwork(), Recorder(), "192.0.2.9", 5060, b"SCTP", "network")
        self.gate = Gate(self.clock)
        self.gate.close(0.0, "")
        self.told: list[dict[str, list[str]]] = []
        self.up: dict[str, MemoryAssociation] = {}
        self.awaited = Awaited(
            self.clock,
            self.clients,
            self.gate,
            known,
            within,
            lambda: self.told.append(self.awaited.facts()),
        )

    def comes(self, *names: str) -> None:
        """
        Clients open associations.
        """
        for name in names:
            made = self.up[name] = MemoryAssociation(
                self.element.network,
                self.element.user,
                b"SCTP",
                "network",
                ("192.0.2.9", 5060),
                (HOSTS[name], 5060),
                False,
                None,
            )
            self.clients.associationMade(made)

    def goes(self, *names: str) -> None:
        """
        Associations end.
        """
        for name in names:
            self.up[name].up = False
            self.clients.associationLost(self.up[name], LOST)

    def happens(self, change: Change, until: float | None = None) -> None:
        """
        The lifecycle moves on.
        """
        if change in (Change.SERVING, Change.CANCELLED):
            self.gate.openAgain()
        elif change is not Change.SLOWING:
            self.gate.close(0.0, "")
        self.awaited.onChange(Event(1, change, STATES[change], self.clock.seconds(), None, 0, 0, until=until))

    def drained(self, *names: str, until: float = 0.0) -> None:
        """
        It leaves service, and with it these associations; then it returns.
        """
        self.happens(Change.DRAINING, until)
        self.goes(*names)
        self.happens(Change.OFFLINE, until)
        self.happens(Change.RETURNING)

    def stands(self, awaited: str = "", missing: str = "") -> None:
        """
        Asserts who is waited for, and who is missing.
        """
        self.assertEqual(self.awaited.facts(), {"awaited": list(awaited), "missing": list(missing)})


class AwaitedTests(AwaitedCase):
    """
    Who is waited for.
    """

    def test_start(self) -> None:
        """
        When its process has begun: whom its configuration names.
        """
        self.stands("abc")
        self.comes("b")
        self.happens(Change.SERVING)
        self.stands("ac")
        self.comes("a", "c")
        self.stands()
        self.assertEqual((self.clock.getDelayedCalls(), self.told), ([], []))

    def test_resume(self) -> None:
        """
        After a drain: who was there, from when they go, so that nobody sees it serve and wait for none.
        """
        self.begin(known="")
        self.happens(Change.SERVING)
        self.comes("a", "b", "?")
        self.stands()
        self.happens(Change.DRAINING, 50.0)
        self.stands()
        self.goes("b", "?")
        self.stands("b")
        self.goes("a")
        self.stands("ab")
        self.happens(Change.OFFLINE, 50.0)
        self.happens(Change.RETURNING)
        self.happens(Change.SERVING)
        self.stands("ab")
        self.comes("a", "?", "c")
        self.stands("b")
        self.comes("b")
        self.stands()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        # The next time that is true of the one that is new.
        self.drained("a", "b", "c", "?")
        self.stands("abc")

    def test_atOnce(self) -> None:
        """
        Taken offline at once: the associations go before that is told.
        """
        self.comes("a", "b")
        self.happens(Change.SERVING)
        self.gate.close(0.0, "")
        self.goes("a", "b")
        self.happens(Change.OFFLINE)
        self.happens(Change.SERVING)
        self.stands("abc")

    def test_late(self) -> None:
        """
        It waits until the time is over for which they were asked to stay away, and so long beyond; then it
        speaks of those that are missing until they come.
        """
        self.comes("a", "b", "c")
        self.happens(Change.SERVING)
        self.drained("a", "b", "c", until=20.0)
        self.clock.advance(5)
        self.happens(Change.SERVING)
        self.comes("b")
        self.clock.advance(74.9)
        self.stands("ac")
        self.clock.advance(0.1)
        self.stands("", "ac")
        self.assertEqual(self.told, [{"awaited": [], "missing": ["a", "c"]}])
        self.comes("c")
        self.stands("", "a")
        # Nor is it waited for the next time.
        self.drained("b", "c")
        self.happens(Change.SERVING)
        self.stands("bc")
        self.clock.advance(59.9)
        self.stands("bc")
        self.comes("a", "b", "c")
        self.drained("a", "b", "c")
        self.stands("abc")

    def test_left(self) -> None:
        """
        Who leaves while it serves is not waited for, unless it has not been seen since.
        """
        self.comes("a", "b")
        self.happens(Change.SERVING)
        self.goes("a")
        self.stands("c")
        self.comes("a")
        self.comes("a")
        first = self.up["a"]
        self.comes("a")
        self.goes("a", "b")
        self.stands("c")
        self.assertTrue(first.up)
        self.happens(Change.DRAINING)
        self.happens(Change.OFFLINE)
        self.happens(Change.SERVING)
        self.stands("c")

    def test_cancelled(self) -> None:
        """
        A drain that is taken back has sent nobody away; who was not back before still is not.
        """
        self.comes("a", "b")
        self.happens(Change.SERVING)
        self.clock.advance(59)
        for change in (Change.SLOWING, Change.DRAINING):
            self.happens(change, 500.0)
            self.assertEqual(self.clock.getDelayedCalls(), [])
            self.happens(Change.CANCELLED)
            self.stands("c")
            self.clock.advance(59)
        self.clock.advance(1)
        self.stands("", "c")
        self.happens(Change.DRAINING)
        self.happens(Change.CANCELLED)
        self.stands()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_takenOfflineLater(self) -> None:
        """
        What clients were told in a drain that was taken back is no reason to wait any longer for them.
        """
        self.comes("a", "b", "c")
        self.happens(Change.SERVING)
        self.happens(Change.DRAINING, 5000.0)
        self.happens(Change.CANCELLED)
        self.goes("a")
        self.comes("a")
        self.gate.close(0.0, "")
        self.goes("a", "b", "c")
        self.happens(Change.OFFLINE)
        self.happens(Change.SERVING)
        self.stands("abc")
        self.clock.advance(60)
        self.stands("", "abc")

    def test_again(self) -> None:
        """
        It leaves once more before all are back.
        """
        self.comes("a", "b", "c")
        self.happens(Change.SERVING)
        self.drained("a", "b", "c")
        self.happens(Change.SERVING)
        self.comes("b")
        self.drained("b")
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.happens(Change.SERVING)
        self.stands("abc")

    def test_never(self) -> None:
        """
        Where it is not wanted.
        """
        self.begin(within=0.0)
        self.stands()
        self.happens(Change.SERVING)
        self.comes("a")
        self.drained("a")
        self.happens(Change.SERVING)
        self.stands()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_opened(self) -> None:
        """
        One that the server has found at another address.
        """
        self.happens(Change.SERVING)
        self.comes("?")
        self.stands("abc")
        self.clients.opened("b", self.up["?"])
        self.stands("ac")


class ConfiguredTests(SynchronousTestCase):
    """
    Who is known by the configuration.
    """

    def awaited(self, listen: str, server: str = "") -> list[str]:
        """
        @return: who is waited for by a server that has just begun.
        """
        config = parseServer(CONFIG.format(listen=listen, server=server), "server.toml")
        service = ServerService(Clock(), config)
        self.assertEqual(service.status()["awaited"], service.standing()["awaited"])
        self.assertEqual((service.status()["missing"], service.standing()["missing"]), ([], []))
        found: list[str] = service.status()["awaited"]
        return found

    def test_known(self) -> None:
        """
        All but those whom it reaches itself when there is a call, and who come by UDP.
        """
        self.assertEqual(self.awaited('["udp:5060:interface=192.0.2.9"]'), ["opened"])
        both = '["udp:5060:interface=192.0.2.9", "tcp:5060:interface=192.0.2.9"]'
        self.assertEqual(self.awaited(both), ["comes", "opened"])
        self.assertEqual(self.awaited(both, "await_clients = 0"), [])
