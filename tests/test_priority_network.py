"""
Calls that go before others, through whole servers and clients while servers leave.
"""

from __future__ import annotations

from sipgrace.proxy.pace import LEAST
from tests.memorynet import Call
from tests.test_network_memory import DRAIN, ROUTES, NetworkCase

PRIORITY = """
[priority]
resources = ["wps", "esnet.0"]
emergency = true
"""


class PriorityCase(NetworkCase):
    """
    Guard 10, margin 1: new calls that go before others are let in for 8.5 s.
    """

    def makeServer(self, name: str) -> None:
        desk = '[[routes]]\nuri = "urn:service:sos"\nto = ["client-112"]\n'
        self.world.server(name, ROUTES + desk + DRAIN + PRIORITY)

    def further(self, name: str) -> str:
        desk = '[[users]]\nuri = "urn:service:sos"\ncontact = "sip:desk@192.0.2.2"\n' if name == "112" else ""
        return desk + PRIORITY

    def urgent(self, number: str = "1121", value: bytes = b"wps.3") -> Call:
        return self.alice.call(number, "110", ((b"Resource-Priority", value),))

    def invites(self) -> list[str]:
        """
        Those between elements, and to Bob, since this was asked last.
        """
        sent = [line for line in self.world.take() if line.endswith(" INVITE")]
        return [line for line in sent if not line.startswith("alice>")]

    def leave(self, *names: str) -> None:
        """
        These servers begin to leave, each with a call to wait for.
        """
        self.bob.rings = None
        end = self.world.clock.seconds() + 0.2 + 10
        for name in names:
            self.alice.call("1121", "110")
            self.world.run(0.2)
            self.world.drain(name, guard=end - self.world.clock.seconds())
            # The client learns of it by its next call.
            self.alice.call("1102", "110")
            self.world.run(0.2)
        self.bob.rings = 0.0
        self.dora.take()
        self.world.take()


class DrainTests(PriorityCase):
    def test_othersInService(self) -> None:
        """
        A server in service is preferred; one that has not been heard of takes the call without delay.
        """
        self.leave("102")
        call = self.urgent()
        self.world.run(0.3)
        self.ended(call, 180, 200)
        self.assertEqual(self.invites(), ["110>104 INVITE", "104>112 INVITE", "112>bob INVITE"])
        self.assertEqual(self.world.servers["102"].element.gate.yielded, 0)

    def test_notYetHeardOf(self) -> None:
        """
        The client does not know yet that the server leaves: such a call is let in. Its answers tell (RFC
        7339), so that the next one goes elsewhere.
        """
        self.bob.rings = None
        self.alice.call("1121", "110")
        self.world.run(0.2)
        self.world.drain("102")
        self.bob.rings = 0.0
        self.world.take()
        call = self.urgent()
        self.world.run(0.3)
        self.ended(call, 180, 200)
        self.assertEqual(self.invites(), ["110>102 INVITE", "102>112 INVITE", "112>bob INVITE"])
        again = self.urgent(value=b"esnet.0")
        self.world.run(0.3)
        self.ended(again, 180, 200)
        self.assertEqual(self.invites()[0], "110>104 INVITE")
        gate = self.world.servers["102"].element.gate
        self.assertEqual((gate.yielded, gate.refused), (1, 0))

    def test_allLeave(self) -> None:
        """
        Every server leaves: such a call goes to one of them, is in its ledger like any other, and is waited
        for; others are refused.
        """
        self.leave("102", "104")
        self.assertEqual(self.active("110"), [])
        self.bob.rings = 2.0
        call = self.urgent()
        self.world.run(0.3)
        self.assertEqual(self.invites(), ["110>102 INVITE", "102>112 INVITE", "112>bob INVITE"])
        ledger = self.world.servers["102"].element.ledger
        self.assertEqual(len(ledger), 2)
        other = self.alice.call("1121", "110")
        self.world.run(0.3)
        self.ended(other, 503)
        self.assertEqual(self.invites(), [])
        # The others give up; it is the last one that the server waits for.
        for waiting in self.alice.calls[:4]:
            waiting.cancel()
        self.world.run(0.3)
        self.assertEqual((self.world.state("102"), len(ledger)), ("draining", 1))
        self.world.run(2)
        self.ended(call, 180, 200)
        self.assertEqual((self.world.state("102"), ledger.forced), ("offline", 0))

    def test_nothingToWaitFor(self) -> None:
        """
        It does not hold up a server that has nothing left: where that is offline, it is.
        """
        self.world.drain("102")
        self.world.run(0.1)
        self.assertEqual(self.world.state("102"), "offline")
        call = self.urgent()
        self.world.run(0.3)
        self.ended(call, 180, 200)
        self.assertEqual(self.invites()[0], "110>104 INVITE")

    def test_tooLate(self) -> None:
        """
        When the guard leaves no time they are refused as all others, with Retry-After.
        """
        self.leave("102", "104")
        # A callee that obeys nobody keeps the servers from going early.
        self.bob.messageReceived = lambda message, association: None
        self.world.run(8.0)
        self.assertEqual((self.world.state("102"), self.world.state("104")), ("draining", "draining"))
        self.world.take()
        call = self.urgent()
        self.world.run(0.05)
        self.ended(call, 503)
        assert call.final is not None
        self.assertEqual(call.final.get(b"Retry-After"), b"2")
        self.assertEqual(self.invites(), ["110>102 INVITE", "110>104 INVITE"])
        # Both have said so, and are not asked again.
        again = self.urgent()
        self.world.run(0.05)
        self.ended(again, 503)
        self.assertEqual(self.invites(), [])

    def test_emergency(self) -> None:
        """
        An emergency call, in service and while every server leaves; also one that says which way to go.
        """
        route = (b"Route", b"<sip:192.0.2.110;lr>")
        for headers in ((), (route,)):
            call = self.alice.call("urn:service:sos.fire", "110", headers)
            self.world.run(0.3)
            self.ended(call, 180, 200)
            self.assertEqual(self.invites(), ["110>102 INVITE", "102>112 INVITE", "112>bob INVITE"])
        self.leave("102", "104")
        for headers in ((), (route,)):
            call = self.alice.call("urn:service:sos", "110", headers)
            self.world.run(0.3)
            self.ended(call, 180, 200)
            self.assertEqual(self.invites(), ["110>102 INVITE", "102>112 INVITE", "112>bob INVITE"])
        self.assertEqual(self.world.servers["102"].element.gate.yielded, 2)
        # Who wants advice waits.
        call = self.alice.call("urn:service:counseling", "110")
        self.world.run(0.3)
        self.ended(call, 503)

    def test_gradual(self) -> None:
        """
        A drain that begins gradually refuses none of them.
        """
        self.world.drain("102", over=4.0)
        calls = []
        for _ in range(30):
            calls.append(self.urgent())
            self.world.run(0.1)
        self.assertEqual(self.world.state("102"), "slowing")
        self.assertEqual({tuple(call.answers) for call in calls}, {(180, 200)})
        self.assertEqual(self.world.clients["110"].reroutes.total, 0)
        self.assertEqual(self.world.servers["102"].element.gate.refused, 0)


class WithinCallsTests(PriorityCase):
    """
    What belongs to accepted calls passes in every drain, whether or not these go before others.
    """

    def test_cancel(self) -> None:
        """
        CANCEL, and the ACK of the 487.
        """
        self.leave("102", "104")
        self.bob.rings = None
        call = self.urgent()
        self.world.run(0.2)
        self.bob.take()
        call.cancel()
        self.world.run(0.2)
        self.assertEqual(self.bob.take(), ["cancelled"])
        self.ended(call, 180, 487)
        self.assertEqual(len(self.world.servers["102"].element.ledger), 1)


class CloggedTests(PriorityCase):
    """
    First answers take long wherever clients and servers send calls to.
    """

    def test_clogged(self) -> None:
        """
        A call that goes before others is sent all the same. Others are answered 503, and counted.
        """
        for service in (*self.world.clients.values(), *self.world.servers.values()):
            core = service.element.core
            assert core is not None
            for association in service.element.associations._associations:
                for _ in range(LEAST + 1):
                    core.paces.sent(association)
                core.paces.heard(association, 0.0)
        client = self.world.clients["110"]
        other = self.alice.call("1121", "110")
        self.world.run(0.1)
        self.ended(other, 503)
        assert other.final is not None
        self.assertFalse(other.final.has(b"Retry-After"))
        self.assertEqual(self.invites(), [])
        self.assertEqual([reroute.reason for reroute in client.reroutes.since(0)], ["clogged", "clogged"])
        self.assertEqual(client.status()["unserved"], 1)
        call = self.urgent()
        self.world.run(0.3)
        self.ended(call, 180, 200)
        self.assertEqual(self.invites(), ["110>102 INVITE", "102>112 INVITE", "112>bob INVITE"])
