"""
A server leaves: seen by the peers of its SCTP associations, by callers and by callees.
"""

from __future__ import annotations

from signal import SIGCONT, SIGSTOP, SIGTERM

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.trial.unittest import TestCase

from sipgrace.errors import TransportError
from sipgrace.interfaces import IAssociation
from sipgrace.message.message import Request
from tests.scenarios.network import Network
from tests.scenarios.phones import Phone, Ring, answer, answerAfter, keepRinging
from tests.scenarios.processes import Role
from tests.scenarios.waiting import poll, reactor

#: By so many seconds a busy machine may be late.
TOLERANCE = 1.0


class PeerTests(TestCase):
    """
    The test process itself is the peer of a server's associations, in the place of two clients.
    """

    timeout = 90

    async def start(self, guard: float, margin: float = 0.5) -> tuple[Network, Role]:
        """
        One server, and two peers: C{self.caller} has an association with it from the address of client 1,
        C{self.callee} from that of client 2.
        """
        network = Network(self, clients=3, guard=guard, margin=margin)
        server = network.startServer(1)
        await server.said("lifecycle: serving")
        self.caller, self.callee = Phone(self, "caller"), Phone(self, "callee", keepRinging)
        await self.meet(network)
        return network, server

    async def meet(self, network: Network, more: str = "") -> None:
        """
        Opens the associations.
        """
        self.out = await self.caller.connect(network.toServer(1, network.clientHost(1)) + more)
        await self.callee.connect(network.toServer(1, network.clientHost(2)))

    def lostAt(self, association: IAssociation) -> tuple[float, type]:
        """
        When an association went, and how.
        """
        for phone in (self.caller, self.callee):
            if association in phone.lost:
                return phone.lost[association]
        raise AssertionError(f"{association} is still there")

    async def test_guard(self) -> None:
        """
        An accepted call that is answered after 3 s completes. One that would be answered after the guard gets
        its final answer before the guard, and its callee CANCEL. At the guard no association is left, those
        that carried no call included; all end in order, and the process with status 0.
        """
        network, server = await self.start(6, 1.5)
        idle = await self.caller.connect(network.toServer(1, network.clientHost(3)))
        calls = []
        for seconds in (3.0, 20.0):
            self.callee.ringing = answerAfter(seconds)
            calls.append(self.caller.call("2001", self.out))
            await calls[-1].has(180)
        soon, late = calls
        ringing = self.callee.rings[1]

        began = reactor.seconds()
        server.signal(SIGTERM)
        await server.said("lifecycle: draining")
        refused = await self.caller.call("2001", self.out).done()
        self.assertEqual(refused.status, 503)
        left = int(refused.get(b"Retry-After") or b"0")
        self.assertTrue(5 <= left <= 6, left)

        self.assertEqual((await soon.done()).status, 200)
        self.assertTrue(3 <= soon.finalAt - self.callee.rings[0].at < 3 + TOLERANCE)
        forced = await late.done()
        self.assertEqual(forced.status, 503)
        self.assertIsNone(forced.get(b"Retry-After"), "it is to be tried elsewhere")
        await self.callee.until(lambda: ringing.cancelledAt, "CANCEL")
        assert ringing.cancelledAt is not None
        for at in (late.finalAt, ringing.cancelledAt):
            self.assertTrue(3 < at - began < 6, at - began)
        self.assertIn(b"cause=503", ringing.reason)

        associations = [*self.caller.associations, *self.callee.associations]
        self.assertEqual(len(associations), 3)
        self.assertIn(idle, associations)
        for phone in (self.caller, self.callee):
            await phone.until(
                lambda phone=phone: len(phone.lost) == len(phone.associations), "the associations' end"
            )
        for association in associations:
            at, why = self.lostAt(association)
            self.assertLess(at - began, 6)
            self.assertIs(why, ConnectionDone)
        self.assertEqual(await server.end(), 0)
        self.assertEqual([ring.cancelledAt is None for ring in self.callee.rings], [True, False])
        self.assertEqual(server.warnings(), [])

    async def test_empty(self) -> None:
        """
        Without calls nobody waits for the guard; after the last call nobody does, either.
        """
        _, server = await self.start(60)
        self.callee.ringing = answerAfter(0.5)
        call = self.caller.call("2001", self.out)
        await call.has(180)
        began = reactor.seconds()
        server.signal(SIGTERM)
        self.assertEqual((await call.done()).status, 200)
        self.assertEqual(await server.end(), 0)
        self.assertLess(reactor.seconds() - began, 10)
        await self.caller.until(lambda: self.caller.lost, "the association's end")
        self.assertIs(self.lostAt(self.out)[1], ConnectionDone)

    async def test_deaf(self) -> None:
        """
        A peer that answers nothing, not even SHUTDOWN, keeps nobody: at the guard its association is aborted,
        as it hears when it listens again.
        """
        network = Network(self, guard=3)
        server = network.startServer(1)
        client = network.startClient(1, f"sip:{network.host}", servers=(1,))
        await network.ready()
        client.signal(SIGSTOP)
        began = reactor.seconds()
        server.signal(SIGTERM)
        self.assertEqual(await server.end(), 0)
        self.assertTrue(3 <= reactor.seconds() - began < 3 + 2 * TOLERANCE, "the guard is what ended it")
        self.assertTrue(server.every("lifecycle: offline"))
        client.signal(SIGCONT)
        began = reactor.seconds()
        await client.said("server-1 is off the active list")
        self.assertLess(reactor.seconds() - began, 5, "it was told, and did not have to find out")

    async def test_twice(self) -> None:
        """
        A second SIGTERM ends the process at once: associations are aborted.
        """
        _, server = await self.start(60)
        await self.caller.call("2001", self.out).has(180)
        server.signal(SIGTERM)
        await server.said("lifecycle: draining")
        began = reactor.seconds()
        server.signal(SIGTERM)
        self.assertEqual(await server.end(), -SIGTERM)
        await self.caller.until(lambda: self.caller.lost, "the association's end")
        at, why = self.lostAt(self.out)
        self.assertLess(at - began, 5)
        self.assertIs(why, ConnectionAborted)

    async def test_cancelled(self) -> None:
        """
        A drain that is taken back leaves associations and calls alone, and new calls are taken again.
        """
        network, server = await self.start(20)
        control = await network.control("server", 1)
        call = self.caller.call("2001", self.out)
        await call.has(180)
        self.assertEqual((await control.drain()).state, "draining")
        self.assertEqual((await self.caller.call("2001", self.out).done()).status, 503)
        self.assertEqual((await control.order("cancel")).state, "serving")
        self.callee.ringing = answer
        self.assertEqual((await self.caller.call("2001", self.out).done()).status, 200)
        self.callee.rings[0].respond(200)
        self.assertEqual((await call.done()).status, 200)
        self.assertEqual((self.caller.lost, self.callee.lost), ({}, {}))
        self.assertEqual(server.warnings(), [])

    async def test_resume(self) -> None:
        """
        After a drain the process is still there; when it is told to resume, associations can be opened and
        calls made as before. More than once.
        """
        network, server = await self.start(5)
        self.callee.ringing = answer
        control = await network.control("server", 1)
        await control.watch()
        for _ in range(2):
            self.assertEqual((await self.caller.call("2001", self.out).done()).status, 200)
            gone = await control.when(["offline"], await control.drain())
            self.assertEqual((gone["change"], gone["associations"]), ("offline", 0))
            await self.caller.until(lambda: self.out in self.caller.lost, "the association's end")
            with self.assertRaises(TransportError):
                await self.meet(network, ":timeout=1")
            await control.when(["serving"], await control.resume())
            await self.meet(network)
        self.assertEqual((await self.caller.call("2001", self.out).done()).status, 200)
        self.assertEqual(server.warnings(), [])


class UserTests(TestCase):
    """
    What users of clients notice.
    """

    timeout = 90

    async def start(
        self,
        guard: float,
        servers: tuple[int, ...],
        margin: float = 0.5,
        more: str = "",
        routes: str = "",
        users: str = "",
    ) -> Network:
        """
        Two clients, one user at each.

        @param more: further sections of every file; C{routes}: of the servers'; C{users}: of the clients',
            C{{}} in it the user's URI.
        """
        network = Network(self, guard=guard, margin=margin)
        self.caller = await Phone(self, "caller").listen(network.host)
        self.callee = await Phone(self, "callee", keepRinging).listen(network.host)
        for number in servers:
            network.startServer(number, more + routes)
        for number, phone in ((1, self.caller), (2, self.callee)):
            uri = f"sip:{network.host}:{phone.port}"
            network.startClient(number, uri, servers=servers, more=more + users.replace("{}", uri))
        await network.ready()
        return network

    async def test_priority(self) -> None:
        """
        Every server leaves, and clients know it: a call that goes before others, and an emergency call, are
        set up by one of them, which waits for them as for those before; others are refused. In the path of
        the calls none is left.
        """
        network = await self.start(
            6,
            (1, 2),
            more='[priority]\nresources = ["wps.0"]\nemergency = true\n',
            routes='[[routes]]\nuri = "urn:service:sos"\nto = ["client-2"]\n',
            users='[[users]]\nuri = "urn:service:sos"\ncontact = "{}"\n',
        )
        calls = [self.caller.call("2001", network.users(1)) for _ in range(2)]
        for call in calls:
            await call.has(180)
        for server in network.servers.values():
            server.signal(SIGTERM)
        for server in network.servers.values():
            for client in network.clients.values():
                await client.said(f"{server.name} is left alone")
        began = reactor.seconds()
        for headers in ((), ((b"Resource-Priority", b"wps.1"),)):
            refused = self.caller.call("2001", network.users(1), headers=headers)
            self.assertEqual((await refused.done()).status, 503)
        self.callee.ringing = answerAfter(1)
        urgent = self.caller.call("2001", network.users(1), headers=((b"Resource-Priority", b"WPS.0"),))
        await urgent.has(180)
        emergency = self.caller.call("urn:service:sos.fire", network.users(1))
        await emergency.has(180)
        for ring in self.callee.rings[:2]:
            ring.respond(200)
        self.assertEqual((await urgent.done()).status, 200)
        self.assertTrue(1 <= urgent.finalAt - began < 1 + 2 * TOLERANCE)
        self.assertEqual((await emergency.done()).status, 200)
        for server in network.servers.values():
            self.assertEqual(await server.end(), 0)
        self.assertLess(reactor.seconds() - began, 4, "nobody waited for the guard")
        self.assertEqual(len(self.callee.rings), 4)
        for ring, call in zip(self.callee.rings[2:], (urgent, emergency), strict=True):
            await self.callee.until(lambda ring=ring: ring.acked, "ACK")
            await call.hangUp()
        network.check()

    async def test_answeredLate(self) -> None:
        """
        A call that rings when its only server begins to leave is answered 3 s later, and goes on when there
        is no server any more: either side can hang up.
        """
        network = await self.start(5, (1,))
        self.callee.ringing = answerAfter(3)
        calls = [self.caller.call("2001", network.users(1)) for _ in range(2)]
        for call in calls:
            await call.has(180)
        server = network.servers[1]
        server.signal(SIGTERM)
        for call in calls:
            self.assertEqual((await call.done()).status, 200)
        self.assertEqual(await server.end(), 0)
        rings = {ring.invite.callId: ring for ring in self.callee.rings}
        self.assertEqual(len(rings), 2)
        for ring in rings.values():
            await self.callee.until(lambda ring=ring: ring.acked, "ACK")
        await calls[0].hangUp()
        rings[calls[1].invite.callId].hangUp()
        await self.caller.until(lambda: calls[1].ended, "BYE")
        network.check()

    async def test_forcedElsewhere(self) -> None:
        """
        What a server cannot finish before its guard is set up by another: the callee's phone is taken back
        and rings again.
        """
        network = await self.start(2, (1, 2), 1)

        def second(ring: Ring) -> None:
            ring.respond(180)
            if len(self.callee.rings) == 2:
                ring.respond(200)

        self.callee.ringing = second
        call = self.caller.call("2001", network.users(1))
        await call.has(180)
        began = reactor.seconds()
        network.servers[1].signal(SIGTERM)
        self.assertEqual((await call.done()).status, 200)
        self.assertLess(call.finalAt - began, 2 + TOLERANCE)
        first, other = self.callee.rings
        self.assertIsNotNone(first.cancelledAt)
        self.assertTrue(other.final == 200 and other.cancelledAt is None)
        self.assertEqual(await network.servers[1].end(), 0)
        await call.hangUp()
        network.check()

    async def test_atOnce(self) -> None:
        """
        A server leaves at once, by a second SIGTERM, while a call rings: another one takes it over. Where the
        phone hears of that at all, because the CANCEL is faster than the ABORT, and takes its time over it,
        it is rung again only when it has got the ACK of its 487: a strict one refuses that before (482).
        """
        network = await self.start(20, (1, 2))
        cancel = Ring.cancel

        def slowly(ring: Ring, request: Request) -> None:
            self.callee.pending.append(reactor.callLater(0.2, cancel, ring, request))

        self.patch(Ring, "cancel", slowly)
        self.callee.ringing = answerAfter(0.5)
        call = self.caller.call("2001", network.users(1))
        await call.has(180)
        server = network.servers[1]
        server.signal(SIGTERM)
        await server.said("lifecycle: draining")
        server.signal(SIGTERM)
        self.assertEqual((await call.done()).status, 200)
        self.assertEqual(await server.end(), -SIGTERM)
        self.assertEqual(self.callee.copies, [])
        self.assertEqual(self.callee.rings[-1].final, 200)
        self.assertTrue(all(ring.final == 487 for ring in self.callee.rings[:-1]), self.callee.rings)
        await call.hangUp()

    async def test_forcedAlone(self) -> None:
        """
        Where there is no other server the caller gets a final answer before the guard, and the phone stops
        ringing. Later calls are told when to come back.
        """
        network = await self.start(3, (1,), 1.5)
        call = self.caller.call("2001", network.users(1))
        await call.has(180)
        began = reactor.seconds()
        network.servers[1].signal(SIGTERM)
        final = await call.done()
        self.assertIn(final.status, (500, 503))
        self.assertLess(call.finalAt - began, 3)
        await self.callee.until(lambda: self.callee.rings[0].cancelledAt, "CANCEL")
        self.assertEqual(await network.servers[1].end(), 0)
        self.assertEqual((await self.caller.call("2001", network.users(1)).done()).status, 503)
        self.assertEqual(len(self.callee.rings), 1)
        network.check()

    async def test_away(self) -> None:
        """
        A server that drains with no other in its place: new calls get 503 with a Retry-After that covers the
        drain, and when it is back clients return by themselves.
        """
        network = await self.start(3, (1,))
        self.callee.ringing = answer
        control = await network.control("server", 1)
        await control.watch()
        gone = await control.when(["offline"], await control.drain())
        self.assertEqual(gone["forced"], 0)
        refused = await self.caller.call("2001", network.users(1)).done()
        self.assertEqual(refused.status, 503)
        await control.when(["serving"], await control.resume())
        for client in network.clients.values():
            await client.said("server-1 is active", 2)
        call = self.caller.call("2001", network.users(1))
        self.assertEqual((await call.done()).status, 200)
        await poll(lambda: self.callee.rings[-1].acked, "ACK")
        network.check()
