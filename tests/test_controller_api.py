"""
Tests of L{sipgrace.controller.web}: the API, over a real port.
"""

from __future__ import annotations

import json
import re
from typing import Any

from klein import Klein
from openapi_spec_validator import OpenAPIV31SpecValidator
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from sipgrace.control.remote import Unreachable
from sipgrace.controller.facts import Outcome, Person, Progress
from sipgrace.controller.seams import IController
from sipgrace.controller.web import bodies
from sipgrace.controller.web.bodies import LONGEST
from sipgrace.controller.web.openapi import document
from sipgrace.controller.web.overview import Overview
from sipgrace.controller.web.routes import OPERATIONS, PREFIX
from sipgrace.controller.web.tokens import Attempts, Tokens, digestOf, newToken
from sipgrace.errors import OrderRefused, StoreError
from sipgrace.lifecycle.authorization import Role
from tests.controllerfake import FakeController, Token
from tests.scenarios.waiting import moment
from tests.webcase import WebCase


class Holding(SynchronousTestCase):
    """
    Tokens by themselves.
    """

    def test_known(self) -> None:
        """
        A token is known by its hash, whatever the case of the scheme.
        """
        token, digest = newToken()
        self.assertRegex(token, r"\Asgt_[\w-]{43}\Z")
        self.assertEqual(digest, digestOf(token))
        tokens = Tokens(
            [Token("alice", Role.ADMIN, digest.upper()), Token("bob", Role.VIEWER, digestOf("b"))]
        )
        self.assertEqual(tokens.personWith(f"Bearer {token}"), Person("alice", Role.ADMIN))
        self.assertEqual(tokens.personWith("bearer  b "), Person("bob", Role.VIEWER))
        for header in (
            "",
            "Bearer",
            "Bearer ",
            f"Basic {token}",
            token,
            f"Bearer {token}x",
            f"Bearer {digest}",
        ):
            self.assertIsNone(tokens.personWith(header), header)

    def test_attempts(self) -> None:
        """
        After ten wrong ones within a minute nothing from there is looked at until the minute is over.
        """
        clock = Clock()
        attempts = Attempts(clock.seconds)
        for _ in range(Attempts.MOST):
            self.assertEqual(attempts.wait("192.0.2.1"), 0)
            attempts.wrong("192.0.2.1")
            clock.advance(1)
        self.assertEqual((attempts.wait("192.0.2.1"), attempts.wait("192.0.2.2")), (50, 0))
        clock.advance(50)
        self.assertEqual(attempts.wait("192.0.2.1"), 0)
        attempts.wrong("192.0.2.1")
        self.assertEqual(attempts.wait("192.0.2.1"), 0)

    def test_bounded(self) -> None:
        """
        No more addresses are remembered than fit; the oldest are forgotten.
        """
        attempts = Attempts(Clock().seconds)
        for _ in range(Attempts.MOST):
            attempts.wrong("first")
        for number in range(Attempts.KEPT):
            attempts.wrong(str(number))
        self.assertEqual((len(attempts._wrong), attempts.wait("first")), (Attempts.KEPT, 0))


class Described(SynchronousTestCase):
    """
    The OpenAPI document.
    """

    def test_valid(self) -> None:
        """
        It is one.
        """
        facts = json.loads(json.dumps(document("controller-120")))
        self.assertEqual([str(error) for error in OpenAPIV31SpecValidator(facts).iter_errors()], [])

    def test_routes(self) -> None:
        """
        What it says is there is there, and nothing else: Klein's own map is looked at.
        """
        from sipgrace.controller.web.api import API

        app = Klein()
        API(FakeController(), Tokens([]), Clock(), None, None).routes(app)
        routed = {
            (method, re.sub(r"<string:(\w+)>", r"{\1}", rule.rule))
            for rule in app.url_map.iter_rules()
            for method in rule.methods or ()
            if method != "HEAD"
        }
        described = {
            (method.upper(), path) for path, methods in document("c")["paths"].items() for method in methods
        }
        self.assertEqual(routed, described)
        self.assertEqual(len(routed), len(OPERATIONS))

    def test_words(self) -> None:
        """
        Descriptions are for people: none of epytext is left in them.
        """
        text = json.dumps(document("c"))
        self.assertEqual(re.findall(r"[CLIU]\{|@ivar", text), [])
        order = document("c")["components"]["schemas"]["OrderRecord"]
        self.assertEqual(order["properties"]["node"], {"type": "string", "description": "whom it is for."})


class Drawn(SynchronousTestCase):
    """
    The overview: drawn up each time, unless that takes long.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.controller = FakeController()
        self.spent = 0.0
        self.each = 0.001
        self.drawn = 0
        view = self.controller.fleet.view

        def drawing() -> Any:
            self.spent += self.each
            self.drawn += 1
            return view()

        self.controller.fleet.view = drawing
        self.overview = Overview(self.controller.fleet, self.clock.seconds, lambda: self.spent)

    def look(self) -> tuple[int, int]:
        """
        How old it is, and how often it was drawn up.
        """
        self.controller.server(f"server-{self.drawn}", clients=["client-1"])
        number = json.loads(self.overview.text())["number"]
        return self.controller.fleet.number - number, self.drawn

    def test_small(self) -> None:
        self.assertEqual([self.look() for _ in range(3)], [(0, 1), (0, 2), (0, 3)])
        # Nothing has changed.
        self.overview.facts()
        self.assertEqual(self.drawn, 3)

    def test_large(self) -> None:
        """
        What took half a second is given again for five; then it is new.
        """
        self.each = 0.5
        self.assertEqual(self.look(), (0, 1))
        self.clock.advance(4.9)
        late, drawn = self.look()
        self.assertEqual((late > 0, drawn), (True, 1))
        self.clock.advance(0.2)
        self.assertEqual(self.look(), (0, 2))


class Asking(WebCase):
    """
    What can be asked.
    """

    def setUp(self) -> None:
        super().setUp()
        self.controller.server("server-102", clients=["client-110"])
        self.controller.client("client-110", {"server-102": {}})

    def test_fake(self) -> None:
        """
        The controller of these tests is one.
        """
        verifyObject(IController, self.controller)

    async def test_me(self) -> None:
        status, facts, _ = await self.ask("GET", "/api/v1/me", role="viewer")
        self.assertEqual(status, 200)
        self.assertEqual(
            facts,
            {"name": "viewer", "role": "viewer", "may": ["rehearse"], "controller": "controller-120"},
        )

    async def test_fleet(self) -> None:
        """
        The fleet, its mesh alone, one node, and that node's own word.
        """
        _, fleet, headers = await self.ask("GET", "/api/v1/fleet")
        self.assertEqual(headers.getRawHeaders("content-type"), ["application/json"])
        self.assertEqual([node["name"] for node in fleet["nodes"]], ["client-110", "server-102"])
        self.assertEqual(
            [(one["server"], one["client"], one["active"]) for one in fleet["mesh"]],
            [("server-102", "client-110", True)],
        )
        _, mesh, _ = await self.ask("GET", "/api/v1/mesh")
        self.assertEqual(
            mesh, {"mesh": fleet["mesh"], "conflicts": [], "number": self.controller.fleet.number}
        )
        _, node, _ = await self.ask("GET", "/api/v1/nodes/server-102")
        self.assertEqual(node, fleet["nodes"][1])
        _, status, _ = await self.ask("GET", "/api/v1/nodes/server-102/status")
        self.assertEqual((status["name"], status["state"]), ("server-102", "serving"))

    async def test_unlinked(self) -> None:
        """
        A node that is known and not linked cannot be asked itself.
        """
        fleet = self.controller.fleet
        link = fleet.linkOf("server-102")
        assert link is not None
        fleet.lost("server-102", link, "no sign of life")
        status, problem, _ = await self.ask("GET", "/api/v1/nodes/server-102/status")
        self.assertEqual((status, problem["detail"]), (502, "server-102 has no link to controller-120 now"))
        status, _, _ = await self.ask("GET", "/api/v1/nodes/other/status")
        self.assertEqual(status, 404)

    async def test_forget(self) -> None:
        """
        A node that will not come back.
        """
        self.assertEqual((await self.ask("DELETE", "/api/v1/nodes/server-102"))[0], 403)
        status, body, _ = await self.ask("DELETE", "/api/v1/nodes/server-102", role="admin")
        self.assertEqual((status, body), (204, b""))
        self.assertEqual(self.controller.asked[-1], ("forget", "server-102", "admin"))
        self.assertEqual((await self.ask("DELETE", "/api/v1/nodes/other", role="admin"))[0], 404)

    async def test_order(self) -> None:
        """
        An order reaches the controller as it was given, by whose token it was.
        """
        asked = {"node": "server-102", "kind": "drain", "why": "neuer Kern 🛠", "guard": 30, "queue": True}
        status, record, _ = await self.ask("POST", "/api/v1/orders", asked)
        self.assertEqual((status, record["outcome"], record["who"]), (201, "obeyed", "operator"))
        self.assertEqual(self.controller.asked, [("order", asked, "operator")])
        _, again, _ = await self.ask("GET", f"/api/v1/orders/{record['id']}")
        self.assertEqual(again, record)
        _, listed, _ = await self.ask("GET", "/api/v1/orders?limit=5&node=server-102")
        self.assertEqual(listed, {"orders": [record]})
        _, other, _ = await self.ask("GET", "/api/v1/orders?node=server-104")
        self.assertEqual(other, {"orders": []})

    async def test_withdraw(self) -> None:
        self.controller.becomes = Outcome.QUEUED
        _, record, _ = await self.ask("POST", "/api/v1/orders", {"node": "server-102", "kind": "drain"})
        path = f"/api/v1/orders/{record['id']}/withdraw"
        status, record, _ = await self.ask("POST", path)
        self.assertEqual((status, record["outcome"]), (200, "undone"))
        status, problem, _ = await self.ask("POST", path)
        self.assertEqual(status, 409)
        self.assertIn("only what is queued can be withdrawn", problem["detail"])

    async def test_rolling(self) -> None:
        """
        Begun, paused, gone on with, stopped, listed.
        """
        status, record, _ = await self.ask("POST", "/api/v1/rollings", {"select": {}, "settle": 2})
        self.assertEqual((status, record["servers"], record["progress"]), (201, ["server-102"], "running"))
        path = f"/api/v1/rollings/{record['id']}"
        for verb, progress in (
            ("pause", Progress.PAUSED),
            ("proceed", Progress.RUNNING),
            ("stop", Progress.STOPPED),
        ):
            status, record, _ = await self.ask("POST", f"{path}/{verb}")
            self.assertEqual((status, record["progress"]), (200, progress))
        self.assertEqual((await self.ask("GET", path))[1], record)
        self.assertEqual((await self.ask("GET", "/api/v1/rollings"))[1], {"rollings": [record]})
        self.assertEqual((await self.ask("GET", "/api/v1/rollings/other"))[0], 404)

    async def test_schedule(self) -> None:
        """
        An order, or a rolling maintenance, for later.
        """
        for what, values in (
            ("order", {"node": "server-102", "kind": "drain", "announce": "both"}),
            ("rolling", {"servers": ["server-102"], "atOnce": 2}),
        ):
            asked = {"what": what, "values": values, "cron": "30 3 * * SUN", "zone": "Europe/Berlin"}
            status, record, _ = await self.ask("POST", "/api/v1/schedules", asked)
            self.assertEqual((status, record["values"]), (201, values))
            self.assertEqual(self.controller.asked[-1], ("schedule", asked, "operator"))
        _, listed, _ = await self.ask("GET", "/api/v1/schedules")
        self.assertEqual([one["id"] for one in listed["schedules"]], ["schedule-1", "schedule-2"])
        status, body, _ = await self.ask("DELETE", "/api/v1/schedules/schedule-1")
        self.assertEqual((status, body), (204, b""))
        self.assertEqual((await self.ask("DELETE", "/api/v1/schedules/schedule-1"))[0], 404)

    async def test_announce(self) -> None:
        """
        On a server's behalf, and taken back.
        """
        path = "/api/v1/announcements/gateway%20%C3%A4"
        status, facts, _ = await self.ask("POST", path, {"retryAfter": 120.5, "why": "hangs"})
        self.assertEqual((status, facts), (200, {"server": "gateway ä", "told": ["client-110"]}))
        status, facts, _ = await self.ask("DELETE", f"{path}?why=well%20again")
        self.assertEqual((status, facts["told"]), (200, ["client-110"]))
        self.assertEqual(
            self.controller.asked,
            [
                ("announce", ("gateway ä", 120.5, None, "hangs"), "operator"),
                ("unannounce", ("gateway ä", "well again"), "operator"),
            ],
        )

    async def test_records(self) -> None:
        """
        The audit log, and reports.
        """
        self.controller.records = [{"at": 3.0, "what": "refused"}, {"at": 2.0, "what": "order"}]
        self.controller.drains = [{"node": "server-102", "at": 2.0, "report": {"settled": 3}}]
        _, audit, _ = await self.ask("GET", "/api/v1/audit?limit=1")
        self.assertEqual(audit, {"records": [{"at": 3.0, "what": "refused"}]})
        _, reports, _ = await self.ask("GET", "/api/v1/reports?node=server-102")
        self.assertEqual(reports, {"reports": self.controller.drains})

    async def test_openapi(self) -> None:
        """
        The description needs no token.
        """
        status, facts, _ = await self.ask("GET", "/api/v1/openapi.json", role=None)
        self.assertEqual((status, facts["openapi"]), (200, "3.1.0"))

    async def test_gone(self) -> None:
        """
        What was begun goes on when whoever asked for it has gone.
        """
        pending: list[Deferred[Any]] = []

        def order(values: object, person: object) -> Deferred[Any]:
            pending.append(Deferred())
            return pending[-1]

        self.controller.order = order
        body = b'{"node": "server-102", "kind": "drain"}'
        head = (
            b"POST /api/v1/orders HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer operator's\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        )
        raw = await rawTo(self.port.getHost().port, head % len(body) + body)
        await self.until(lambda: pending)
        raw.transport.abortConnection()
        await raw.ended
        await moment(0.05)
        self.assertFalse(pending[0].called)
        pending[0].errback(OrderRefused("too late to be told"))
        await moment(0)


class Raw(Protocol):
    """
    Keeps what comes.
    """

    def __init__(self) -> None:
        self.data = b""
        self.ended: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """
        See C{IProtocol}.
        """
        self.data += data

    def connectionLost(self, reason: Any = None) -> None:
        """
        See C{IProtocol}.
        """
        self.ended.callback(None)


async def rawTo(port: int, data: bytes) -> Raw:
    """
    A connection that has sent this.
    """
    raw = await connectProtocol(HostnameEndpoint(reactor, "127.0.0.1", port), Raw())
    raw.transport.write(data)
    return raw


class Refusing(WebCase):
    """
    What is turned away: with a problem, and no effect.
    """

    async def refused(
        self, status: int, detail: str, method: str, path: str, body: Any = None, **more: Any
    ) -> None:
        """
        Asserts that something is.
        """
        found, problem, headers = await self.ask(method, path, body, **more)
        self.assertEqual((found, problem.get("detail"), problem.get("status")), (status, detail, status))
        self.assertEqual(headers.getRawHeaders("content-type"), ["application/problem+json"])
        self.assertEqual(problem["type"], "about:blank")

    async def test_noToken(self) -> None:
        """
        Every operation but the description wants one; nobody is written down for having none.
        """
        for operation in OPERATIONS:
            if not operation.open:
                path = PREFIX + re.sub(r"\{\w+\}", "x", operation.path)
                status, _, headers = await self.ask(operation.method, path, role=None)
                self.assertEqual((status, operation.id), (401, operation.id))
                self.assertEqual(headers.getRawHeaders("www-authenticate"), ['Bearer realm="sipgrace"'])
        self.assertEqual((await self.ask("GET", "/metrics", role=None))[0], 401)
        self.assertEqual((self.controller.asked, self.controller.refused), ([], []))

    async def test_wrongToken(self) -> None:
        """
        It is written down; after too many no further one is looked at. Those who have a right one are not
        kept out, for they may come from the same address.
        """
        for _ in range(Attempts.MOST):
            await self.refused(401, "this token is not known here", "POST", "/api/v1/orders", role="nobody")
        self.assertEqual(
            self.controller.refused,
            [("127.0.0.1", "POST /api/v1/orders", "a token that is not known")] * Attempts.MOST,
        )
        status, _, headers = await self.ask("GET", "/api/v1/me", role="nobody")
        self.assertEqual(status, 429)
        self.assertEqual((await self.ask("GET", "/api/v1/me", role="admin"))[0], 200)
        (again,) = headers.getRawHeaders("retry-after") or [""]
        self.assertTrue(50 < int(again) <= 61, again)
        self.assertEqual((len(self.controller.refused), self.controller.asked), (Attempts.MOST, []))

    async def test_elsewhere(self) -> None:
        """
        A token in the address or in a cookie is none.
        """
        await self.refused(
            401,
            "a token is expected: Authorization: Bearer TOKEN",
            "GET",
            "/api/v1/me?token=admin's",
            role=None,
            Cookie="token=admin's",
        )

    async def test_role(self) -> None:
        """
        What the controller says of a role.
        """
        self.controller.server("server-102")
        await self.refused(
            403,
            "viewer is a viewer, who may not order drain",
            "POST",
            "/api/v1/orders",
            {"node": "server-102", "kind": "drain"},
            role="viewer",
        )

    async def test_errors(self) -> None:
        """
        Each error of the controller has its status.
        """
        order = {"node": "server-102", "kind": "drain"}
        for trouble, status in (
            (OrderRefused("the budget of default has no room"), 409),
            (StoreError("the disk is full"), 503),
            (Unreachable("it has not answered"), 502),
        ):
            self.controller.trouble = trouble
            await self.refused(status, str(trouble), "POST", "/api/v1/orders", order)
        await self.refused(
            404,
            "'server-102' is no node of this fleet, or has not linked up yet",
            "POST",
            "/api/v1/orders",
            order,
        )

    async def test_malformed(self) -> None:
        """
        Bodies that are not what is expected: the detail says where.
        """
        for body, detail in (
            (b"{", "Invalid JSON: EOF while parsing an object at line 1 column 1"),
            (b"\xff\xfe", "Invalid JSON: expected value at line 1 column 1"),
            ([], "Input should be an object"),
            ({"node": "a"}, "kind: Field required"),
            ({"node": "a", "kind": "drain", "gaurd": 3}, "gaurd: no such member is known"),
            (b'{"node": "a", "kind": "drain", "guard": NaN}', "guard: Input should be a finite number"),
            ({"node": "a", "kind": "drain", "guard": "30"}, "guard: Input should be a valid number"),
            (
                {"node": "a", "kind": "drain", "guard": -1},
                "guard: Input should be greater than or equal to 0",
            ),
            (
                {"node": "a", "kind": "drain", "guard": 99999999},
                "guard: Input should be less than or equal to 86400",
            ),
            (
                {"node": "a", "kind": "drain", "retryAfter": 1e12},
                "retryAfter: Input should be less than or equal to 604800",
            ),
            ({"node": "", "kind": "drain"}, "node: String should have at least 1 character"),
        ):
            await self.refused(400, detail, "POST", "/api/v1/orders", body)
        for body, detail in (
            ({}, "Value error, exactly one of servers and select is expected"),
            ({"servers": ["a", "a"]}, "servers: each is expected once"),
        ):
            await self.refused(400, detail.removeprefix("Value error, "), "POST", "/api/v1/rollings", body)
        order = {"node": "a", "kind": "drain"}
        for body, detail in (
            ({"what": "order", "values": order}, "order: exactly one of at and cron is expected"),
            ({"what": "order", "values": {"node": "a"}, "at": 1}, "order.values.kind: Field required"),
            (
                {"what": "else", "values": order, "at": 1},
                "Input tag 'else' found using 'what' does not match any of the expected tags: "
                "'order', 'rolling'",
            ),
        ):
            await self.refused(400, detail, "POST", "/api/v1/schedules", body)
        self.assertEqual(self.controller.asked, [])

    async def test_deep(self) -> None:
        """
        JSON that is nested too deeply is malformed, and no fault.
        """
        found, problem, _ = await self.ask("POST", "/api/v1/orders", b"[" * 60_000)
        self.assertEqual(found, 400)
        self.assertTrue(problem["detail"].startswith("Invalid JSON: recursion limit exceeded"), problem)

    async def test_notJSON(self) -> None:
        """
        What a form of another site could send without asking is not taken.
        """
        await self.refused(
            415,
            "Content-Type: application/json is expected, found text/plain",
            "POST",
            "/api/v1/orders",
            {"node": "a", "kind": "drain"},
            Content_Type="text/plain",
        )

    async def test_query(self) -> None:
        for query, detail in (
            ("limit=0", "limit: Input should be greater than or equal to 1"),
            ("limit=many", "limit: Input should be a valid integer, unable to parse string as an integer"),
            ("before=nan", "before: Input should be a finite number"),
            ("other=1", "other: no such member is known"),
            ("limit=1&limit=2", "limit: expected once"),
        ):
            await self.refused(400, detail, "GET", f"/api/v1/orders?{query}")

    async def test_tooLong(self) -> None:
        """
        A long body, said beforehand or not, is not kept.
        """
        long = b'"' + b"a" * LONGEST
        await self.refused(413, "a body of at most 65536 bytes is expected", "POST", "/api/v1/orders", long)
        head = (
            b"POST /api/v1/orders HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
            b"Authorization: Bearer operator's\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        chunk = b"%x\r\n%b\r\n" % (LONGEST // 2 + 1, b"a" * (LONGEST // 2 + 1))
        raw = await rawTo(self.port.getHost().port, head + chunk * 2 + b"0\r\n\r\n")
        await raw.ended
        self.assertTrue(raw.data.startswith(b"HTTP/1.1 413 "), raw.data[:50])
        for end in (b"", b"0\r\n\r\n"):
            await self.cutOff(head + chunk * 60 + end)

    async def cutOff(self, request: bytes) -> None:
        """
        It is answered all the same, once, when far too much has come.
        """
        self.patch(bodies, "_LINGER", 0.1)
        endless = await rawTo(self.port.getHost().port, request)
        await endless.ended
        answer, _, body = endless.data.partition(b"\r\n\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), endless.data[:50])
        self.assertEqual(json.loads(body)["detail"], "a body of at most 65536 bytes is expected")
        self.assertEqual(self.controller.asked, [])

    async def test_nowhere(self) -> None:
        """
        Addresses and methods that are not there.
        """
        detail = "there is nothing at this address; GET /api/v1/openapi.json says what is where"
        for path in ("/api/v1/", "/api/v1/nodes", "/api/v2/fleet", "/../etc/passwd", "/page/../api.py"):
            await self.refused(404, detail, "GET", path)
        await self.refused(404, "there is no such file", "GET", "/page/passwd")
        await self.refused(405, "this address takes GET, HEAD", "PUT", "/api/v1/fleet")
        _, _, headers = await self.ask("DELETE", "/api/v1/orders")
        self.assertEqual(headers.getRawHeaders("allow"), ["GET, HEAD, POST"])

    async def test_head(self) -> None:
        """
        What has a body for GET has none for HEAD, and ends; OPTIONS of another site's page gets nowhere.
        """
        for path in ("/", "/api/v1/me", "/api/v1/events"):
            status, body, _ = await self.ask("HEAD", path)
            self.assertEqual((status, body), (200, b""), path)
        self.assertEqual(self.site.feed.readers, 0)
        status, _, headers = await self.ask("OPTIONS", "/api/v1/orders", Origin="https://example.org")
        self.assertEqual((status, headers.getRawHeaders("access-control-allow-origin")), (405, None))

    async def test_fault(self) -> None:
        """
        A fault says nothing of itself, but in the log.
        """

        def audit(*_: Any) -> Any:
            raise ZeroDivisionError("secret")

        self.controller.audit = audit
        await self.refused(500, "a fault in this program; its log says more", "GET", "/api/v1/audit")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_headers(self) -> None:
        """
        Every answer, also one that refuses, has the headers that keep browsers in bounds.
        """
        for path in ("/", "/api/v1/me", "/api/v1/nothing"):
            _, _, headers = await self.ask("GET", path)
            found = {name: headers.getRawHeaders(name) for name in ("x-content-type-options", "server")}
            self.assertEqual(found, {"x-content-type-options": ["nosniff"], "server": ["sipgrace"]}, path)
            (policy,) = headers.getRawHeaders("content-security-policy") or [""]
            self.assertIn("default-src 'none'; script-src 'self';", policy)
            self.assertNotIn("unsafe", policy)
            self.assertIsNone(headers.getRawHeaders("access-control-allow-origin"))
            cache = ["no-cache"] if path == "/" else ["no-store"]
            self.assertEqual(headers.getRawHeaders("cache-control"), cache)

    async def test_cached(self) -> None:
        """
        A file that the browser has is not sent again.
        """
        _, page, headers = await self.ask("GET", "/", role=None)
        (tag,) = headers.getRawHeaders("etag") or [""]
        status, nothing, _ = await self.ask("GET", "/", role=None, If_None_Match=tag)
        self.assertEqual((status, nothing), (304, b""))
        self.assertTrue(page.startswith(b"<!DOCTYPE html>"))
