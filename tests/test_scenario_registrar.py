"""
Users who register at a client, over real sockets: calls find them, also after the client was killed and
started again.
"""

from __future__ import annotations

from signal import SIGKILL, SIGTERM

from twisted.trial.unittest import TestCase

from sipgrace.interfaces import IAssociation
from sipgrace.message.headers import NameAddr
from sipgrace.message.message import Request, Response
from tests.scenarios.network import PORT, Network
from tests.scenarios.phones import Phone, Ring, keepRinging, token
from tests.test_client_digest import answer

REGISTRAR = """
[registrar]
database = "users.sqlite"
domains = ["example.org"]
[[registrar.accounts]]
user = "2001"
password = "secret"
[[registrar.accounts]]
user = "3001"
password = "secret"
"""


class RegisteredTests(TestCase):
    """
    Two servers, two clients; users of the second one register there, all others of its numbers are at one
    telephone.
    """

    timeout = 90

    async def setUp(self) -> None:
        self.network = network = Network(self)
        self.caller = await Phone(self, "caller").listen(network.host)
        self.bob = await Phone(self, "bob").listen(network.host)
        self.reception = await Phone(self, "reception").listen(network.host)
        for number in (1, 2):
            network.startServer(number, '[[routes]]\nprefix = "3"\nto = ["client-2"]\n')
        network.startClient(1, "sip:127.0.0.1:9")
        self.startClient()
        await network.ready()

    def startClient(self) -> None:
        contact = f"sip:{self.network.host}:{self.reception.port}"
        self.network.startClient(2, contact, more=REGISTRAR)

    async def ask(
        self,
        phone: Phone,
        way: IAssociation,
        user: str,
        callId: bytes,
        cseq: int,
        headers: list[tuple[bytes, bytes]],
    ) -> Response:
        """
        @return: the answer to one REGISTER.
        """
        record = b"<sip:%b@example.org>" % user.encode()
        request = Request.make(
            b"REGISTER",
            b"sip:example.org",
            [
                (b"Max-Forwards", b"70"),
                (b"From", record + b";tag=" + token()),
                (b"To", record),
                (b"Call-ID", callId),
                (b"CSeq", b"%d REGISTER" % cseq),
                *headers,
            ],
        )
        request.pushVia(b"%b;branch=z9hG4bK%b;rport" % (way.via, token()))
        way.send(request.toBytes())

        def found() -> Response | None:
            for _, message, _ in phone.received:
                if isinstance(message, Response) and (message.callId, message.cseq) == (callId, cseq):
                    return message
            return None

        response: Response = await phone.until(found, "an answer to REGISTER")
        return response

    async def register(
        self, phone: Phone, way: IAssociation, user: str, which: int, contact: bytes = b""
    ) -> list[bytes]:
        """
        Registers a telephone, with the challenge that it likes.

        @return: where the user is now.
        """
        callId = token()
        contacts = [(b"Contact", b"<%b>;expires=600" % (contact or phone.contact(way)))]
        response = await self.ask(phone, way, user, callId, 1, contacts)
        self.assertEqual(response.status, 401)
        challenges = response.getAll(b"WWW-Authenticate")
        self.assertEqual(len(challenges), 2)
        given = answer(challenges[which], user.encode(), uri=b"sip:example.org")
        response = await self.ask(phone, way, user, callId, 2, [*contacts, (b"Authorization", given)])
        self.assertEqual(response.status, 200)
        return [bytes(NameAddr.parse(one).uri) for one in response.elements(b"Contact")]

    async def call(self, user: str, phone: Phone) -> None:
        """
        A call that this telephone answers; the caller hangs up.
        """
        before = len(phone.rings)
        call = self.caller.call(user, self.network.users(1))
        self.assertEqual((await call.done()).status, 200)
        self.assertEqual(len(phone.rings), before + 1)
        await phone.until(lambda: phone.rings[-1].acked, "ACK")
        await call.hangUp()
        self.assertTrue(phone.rings[-1].ended)

    async def test_restart(self) -> None:
        """
        Over UDP. The client is killed right after its 200; the one that is started in its place knows where
        the user is. Others ring at the prefix's telephone.
        """
        way = self.bob.way(*self.network.users(2))
        self.assertEqual(await self.register(self.bob, way, "2001", 0), [self.bob.contact(way)])
        self.network.clients[2].signal(SIGKILL)
        await self.network.clients[2].end()
        self.startClient()
        await self.network.ready()
        await self.call("2001", self.bob)
        await self.call("2002", self.reception)
        node = await self.network.control("client", 2)
        self.assertEqual((await node.status())["registrar"], {"users": 1, "bindings": 1, "refused": 0})
        self.network.check()

    async def test_connection(self) -> None:
        """
        Over TCP: calls, and what follows within them, come over the connection of the REGISTER, though the
        telephone listens nowhere. One that has not registered is not there, or where the prefix is.
        """
        await self.call("2001", self.reception)
        missing = self.caller.call("3001", self.network.users(1))
        self.assertEqual((await missing.done()).status, 480)
        carol = Phone(self, "carol")
        host, _ = self.network.users(2)
        way = await carol.connect(f"tcp:host={host}:port={PORT}:bindAddress={self.network.host}")
        self.assertEqual(await self.register(carol, way, "3001", 1), [carol.contact(way)])
        await self.call("3001", carol)
        self.assertEqual(len(carol.associations), 1)
        # Over UDP the same user is somewhere else besides: the later one rings.
        bobs = self.bob.way(*self.network.users(2))
        places = await self.register(self.bob, bobs, "3001", 0)
        self.assertEqual(places, [self.bob.contact(bobs), carol.contact(way)])
        await self.call("3001", self.bob)
        self.network.check()

    async def test_hungUpByCallee(self) -> None:
        """
        A caller over TCP has the connection's own address in its Contact, where nobody listens: what the
        callee sends comes over the connection all the same, registered or not.
        """
        dave = Phone(self, "dave")
        host, _ = self.network.users(1)
        way = await dave.connect(f"tcp:host={host}:port={PORT}:bindAddress={self.network.host}")
        call = dave.call("2001", way)
        self.assertEqual((await call.done()).status, 200)
        ring = self.reception.rings[-1]
        await self.reception.until(lambda: ring.acked, "ACK")
        self.reception.within(ring.dialog, b"BYE")
        await dave.until(lambda: call.ended, "BYE")
        self.assertEqual(len(dave.associations), 1)
        self.network.check()

    async def test_draining(self) -> None:
        """
        A client that drains, because a call still rings, goes on registering its users.
        """
        self.reception.ringing = keepRinging
        call = self.caller.call("2001", self.network.users(1))
        await call.has(180)
        self.network.clients[2].signal(SIGTERM)
        await self.network.clients[2].said("lifecycle: draining")
        way = self.bob.way(*self.network.users(2))
        self.assertEqual(await self.register(self.bob, way, "2001", 0), [self.bob.contact(way)])
        self.reception.rings[0].respond(200)
        self.assertEqual((await call.done()).status, 200)
        self.assertEqual(await self.network.clients[2].end(), 0)
        self.network.check()

    async def test_severalPlaces(self) -> None:
        """
        The telephone that registered last is asked first. When that is busy, or has gone without a word, the
        other one rings.
        """

        def refuse(ring: Ring) -> None:
            ring.respond(486)

        bobs = self.bob.way(*self.network.users(2))
        await self.register(self.bob, bobs, "2001", 0)
        busy = await Phone(self, "busy", refuse).listen(self.network.host)
        await self.register(busy, busy.way(*self.network.users(2)), "2001", 1)
        await self.call("2001", self.bob)
        self.assertEqual([ring.acked for ring in busy.rings], [True])
        await busy.stop()
        await self.call("2001", self.bob)
        self.assertEqual((len(busy.rings), len(self.bob.rings)), (1, 2))
        self.network.check()
