"""
What the core makes of a request before a context takes it: RFC 3261 §16.3 to §16.6, §16.10 and §16.11, and
what it writes into messages.
"""

from __future__ import annotations

import gc
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.errors import TransportError
from sipgrace.message.message import Request, Response
from sipgrace.proxy.context import ResponseContext
from sipgrace.proxy.target import Answer, Hop
from sipgrace.testing import MemoryElement, MemoryNetwork, Recorder, makeRequest, makeResponse
from tests.proxyrig import ProxyRig
from tests.test_proxy_context import ScenarioCase

#: Two sides of one element: the same host and port, by different transports.
INTERFACE = b"<sip:192.0.2.100:5060;transport=udp;lr>"
NETWORK = b"<sip:192.0.2.100:5060;transport=sctp;lr>"


def listener(transport: bytes, host: str = "192.0.2.100", port: int = 5060) -> MemoryElement:
    return MemoryElement(MemoryNetwork(), Recorder(), host, port, transport, "")


def edge(**settings: Any) -> ProxyRig:
    """
    An element between an interface, over UDP, and a network, over SCTP.
    """
    rig = ProxyRig(caller=b"UDP", zones=("interface", "network"), **settings)
    rig.identity.addListener(listener(b"UDP"), "interface")
    rig.identity.addListener(listener(b"SCTP"), "network")
    return rig


def sent(rig: ProxyRig, name: str = "a") -> Request:
    """
    The last request that was sent there.
    """
    return rig.lines[name].last()


def routes(request: Request) -> list[bytes]:
    return request.elements(b"Route")


class CheckTests(ScenarioCase):
    """
    What goes no further (§16.3).
    """

    def refused(self, data: bytes, **settings: Any) -> Response:
        rig = ProxyRig(**settings)
        rig.receive(data)
        (answer,) = rig.lines["caller"].sent
        assert isinstance(answer, Response)
        self.assertEqual((len(rig.ledger), rig.lines["a"].sent, rig.core.counters["refused"]), (0, [], 1))
        return answer

    def test_scheme(self) -> None:
        for uri in (b"http://example.com/", b"mailto:bob@example.com", b"urn:nena:service:sos"):
            self.assertEqual(self.refused(makeRequest(b"INVITE", uri=uri)).status, 416)
        for uri in (b"SIP:bob@example.com", b"sips:bob@example.com", b"tel:+49301234", b"urn:service:sos"):
            rig = ProxyRig()
            rig.receive(makeRequest(b"INVITE", uri=uri))
            self.assertEqual((rig.take(), sent(rig).uri), (["caller 100", "a INVITE"], uri))

    def test_maxForwards(self) -> None:
        """
        One that may go no further goes no further, not even an OPTIONS that nobody here answers.
        """
        for method in (b"INVITE", b"BYE", b"OPTIONS", b"FOO"):
            data = makeRequest(method, toTag=b"b1").replace(b"Max-Forwards: 70", b"Max-Forwards: 0")
            self.assertEqual(self.refused(data).status, 483)

    def test_maxForwardsOnTheWay(self) -> None:
        for header, then in (
            (b"Max-Forwards: 70\r\n", 69),
            (b"Max-Forwards: 1\r\n", 0),
            (b"", 70),
        ):
            rig = ProxyRig()
            rig.receive(makeRequest(b"INVITE").replace(b"Max-Forwards: 70\r\n", header))
            self.assertEqual(sent(rig).getAll(b"Max-Forwards"), [b"%d" % then])

    def test_proxyRequire(self) -> None:
        """
        The answer names what we do not know, which is all.
        """
        answer = self.refused(
            makeRequest(b"INVITE", headers=((b"Proxy-Require", b"foo, bar"), (b"Proxy-Require", b"baz")))
        )
        self.assertEqual((answer.status, answer.elements(b"Unsupported")), (420, [b"foo", b"bar", b"baz"]))

    def test_breadth(self) -> None:
        """
        RFC 5393 §5.3.3: a request without gets one, one that may not be forked any more is refused.
        """
        answer = self.refused(makeRequest(b"INVITE", headers=((b"Max-Breadth", b"0"),)))
        self.assertEqual((answer.status, answer.reason), (440, b"Max-Breadth Exceeded"))
        for value, then in ((None, b"60"), (b"12", b"12"), (b"61", b"60"), (b"rubbish", b"60")):
            rig = ProxyRig()
            rig.receive(makeRequest(b"INVITE", headers=() if value is None else ((b"Max-Breadth", value),)))
            self.assertEqual(sent(rig).getAll(b"Max-Breadth"), [then])

    def test_malformedRoute(self) -> None:
        """
        What routing depends on must be readable, and a SIP URI.
        """
        for route in (b"<sip:a:99999;lr>", b"<sip:;lr>", b"<>", b"<tel:+4930>"):
            answer = self.refused(makeRequest(b"INVITE", headers=((b"Route", route),)))
            self.assertEqual(answer.status, 400, route)
        self.assertEqual(answer.reason, b"Route that is no SIP URI")

    def test_admission(self) -> None:
        """
        The role's word, with its headers; an answer that is no refusal is not counted as one.
        """
        rig = ProxyRig()
        rig.role.admits = {
            b"INVITE": Answer(503, ((b"Retry-After", b"30"),), b"Leaving"),
            b"OPTIONS": Answer(200),
        }
        self.play("INVITE | caller 503\nOPTIONS | caller 200 OPTIONS", rig)
        answer = rig.lines["caller"].sent[0]
        assert isinstance(answer, Response)
        self.assertEqual((answer.reason, answer.get(b"Retry-After")), (b"Leaving", b"30"))
        self.assertEqual((rig.core.counters["refused"], rig.core.counters["answered"]), (1, 1))
        self.assertEqual(rig.ledger.accepted, 0)

    def test_ownTag(self) -> None:
        """
        Answers of our own have a To tag, the same for a copy of the request (§8.2.6.2); a 100 has none.
        """
        rig = ProxyRig()
        rig.role.plan = []
        rig.step("INVITE")
        trying, refusal = rig.lines["caller"].sent
        self.assertEqual(trying.toTag, b"")
        self.assertNotEqual(refusal.toTag, b"")

    def test_fault(self) -> None:
        """
        An exception of the role costs this request alone, and no place in the ledger.
        """
        rig = ProxyRig()
        rig.role.plan = ["z"]
        rig.step("INVITE")
        self.assertEqual(rig.take(), ["caller 100", "caller 500"])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        rig.step("ACK")
        self.assertEqual((rig.take(), len(rig.ledger)), (["settled"], 0))


class LoopTests(SynchronousTestCase):
    """
    Loops, spirals and merges (§16.3 step 4, §8.2.2.2, RFC 5393).
    """

    def back(self, rig: ProxyRig, line: str, **changes: bytes) -> list[str]:
        """
        What was sent to a comes back by some line, through another element.
        """
        request = sent(rig).copy()
        for name, value in changes.items():
            setattr(request, name, value)
        request.pushVia(b"SIP/2.0/SCTP 192.0.2.11:5060;branch=z9hG4bKelsewhere%d" % rig.count)
        rig.count += 1
        rig.take()
        rig.receive(request.toBytes(), line)
        return rig.take()

    def test_loop(self) -> None:
        rig = edge(detectMerges=False)
        rig.step("INVITE")
        self.assertEqual(self.back(rig, "caller"), ["caller 482"])
        self.assertEqual((rig.core.counters["loops"], len(rig.ledger)), (1, 1))

    def test_otherSide(self) -> None:
        """
        From the other side it is on its way to the callee: caller and callee are users of the same client.
        """
        rig = edge(detectMerges=False)
        rig.step("INVITE")
        self.assertEqual(self.back(rig, "b"), ["b 100", "a INVITE"])

    def test_loopOfTheSpiral(self) -> None:
        """
        The second time round on that side it is a loop.
        """
        rig = edge(detectMerges=False)
        rig.step("INVITE")
        self.back(rig, "b")
        self.assertEqual(self.back(rig, "c"), ["c 482"])

    def test_otherURI(self) -> None:
        """
        It was forwarded to somebody else: a spiral.
        """
        rig = edge(detectMerges=False)
        rig.step("INVITE")
        self.assertEqual(self.back(rig, "caller", uri=b"sip:carol@example.com"), ["caller 100", "a INVITE"])

    def test_otherRoute(self) -> None:
        rig = edge(detectMerges=False)
        rig.step("INVITE")
        request = sent(rig)
        request.add(b"Route", b"<sip:192.0.2.12;lr>")
        self.assertEqual(self.back(rig, "caller"), ["caller 100", "a INVITE"])

    def test_nobodyElse(self) -> None:
        """
        Another element's branch is no sign of a loop, whatever it looks like.
        """
        rig = edge()
        rig.step("INVITE")
        mark = sent(rig).branch[-9:]
        rig.receive(
            makeRequest(
                b"INVITE", via=b"SIP/2.0/UDP 192.0.2.100:5060", branch=b"z9hG4bK1" + mark, callId=b"2"
            )
        )
        self.assertEqual(rig.take()[2:], ["caller 100", "a INVITE"])

    def test_branches(self) -> None:
        """
        Each attempt has a branch of its own (§16.6 step 7).
        """
        rig = ProxyRig()
        rig.role.plan = ["a", "b"]
        rig.step("INVITE")
        rig.step("a 503")
        branches = {sent(rig, "b").branch, rig.lines["a"].last(b"INVITE").branch}
        self.assertEqual(len(branches), 2)
        for branch in branches:
            self.assertTrue(branch.startswith(b"z9hG4bK"))

    def test_merged(self) -> None:
        """
        A copy that came another way while the first is under way is refused, by servers.
        """
        rig = ProxyRig()
        rig.step("INVITE")
        rig.receive(rig.make(b"INVITE"), "other")
        self.assertEqual(rig.take(), ["caller 100", "a INVITE", "other 482"])
        self.assertEqual(rig.core.counters["merged"], 1)
        rig.step("a 200")
        rig.take()
        rig.receive(rig.make(b"INVITE"), "other")
        self.assertEqual(rig.take(), ["other 100", "a INVITE"])

    def test_mergedAfterSuccess(self) -> None:
        """
        On UDP as long as the 2xx may be asked for.
        """
        rig = ProxyRig(caller=b"UDP")
        rig.play("INVITE |\na 200 |")
        rig.receive(rig.make(b"INVITE"), "other")
        self.assertEqual(rig.take(), ["other 482"])

    def test_notMerged(self) -> None:
        """
        Another call, another try of the same, another part of it: these are no copies.
        """
        for changes in (
            {"callId": b"another"},
            {"cseq": 2},
            {"uri": b"sip:carol@example.com"},
            {"toTag": b"a"},
        ):
            rig = ProxyRig()
            rig.step("INVITE")
            rig.take()
            rig.receive(rig.make(b"INVITE", **changes), "other")
            self.assertEqual(rig.take(), ["other 100", "a INVITE"])

    def test_tryAgain(self) -> None:
        """
        After a refusal its sender may try again by another way, at once.
        """
        rig = ProxyRig(caller=b"UDP")
        rig.play("INVITE |\na 503 |")
        rig.receive(rig.make(b"INVITE"), "other")
        self.assertEqual(rig.take(), ["other 100", "a INVITE"])
        self.assertEqual(len(rig.core._merging), 1)

    def test_tryAgainAfterLoss(self) -> None:
        rig = ProxyRig()
        rig.step("INVITE")
        rig.lose("caller")
        rig.take()
        rig.receive(rig.make(b"INVITE"), "other")
        self.assertEqual(rig.take(), ["other 100", "a INVITE"])

    def test_nothingKept(self) -> None:
        """
        What was settled is not remembered.
        """
        rig = ProxyRig()
        for status in (200, 404):
            rig.play(f"INVITE |\na {status} |")
        self.assertEqual(rig.core._merging, {})


class MessageTests(SynchronousTestCase):
    """
    What goes out is what came in, but for what a proxy must write.
    """

    maxDiff = None

    def test_request(self) -> None:
        rig = ProxyRig()
        data = makeRequest(
            b"INVITE", headers=((b"subject", b" as it was , typed"), (b"X-Odd", b"\xff\xfe")), body=b"v=0\r\n"
        )
        rig.receive(data)
        out = sent(rig).toBytes()
        branch = sent(rig).branch
        self.assertEqual(
            out,
            data.replace(
                b"Via: SIP/2.0/SCTP 192.0.2.1",
                b"Via: SIP/2.0/SCTP 192.0.2.100:5060;branch=" + branch + b"\r\nVia: SIP/2.0/SCTP 192.0.2.1",
            )
            .replace(b"Max-Forwards: 70", b"Max-Forwards: 69")
            .replace(b"\r\n\r\n", b"\r\nMax-Breadth: 60\r\n\r\n"),
        )

    def test_response(self) -> None:
        rig = ProxyRig()
        rig.step("INVITE")
        data = makeResponse(sent(rig), 200, headers=((b"server", b"odd  one"),))
        rig.receive(data, "a")
        via = b"Via: " + (sent(rig).get(b"Via") or b"") + b"\r\n"
        self.assertEqual(rig.lines["caller"].sent[-1].toBytes(), data.replace(via, b""))

    def test_contentLength(self) -> None:
        """
        What came over UDP without a length gets one where its end could not be seen (§16.6 step 9).
        """
        rig = ProxyRig(caller=b"UDP")
        rig.receive(rig.make(b"INVITE").replace(b"Content-Length: 0\r\n", b""))
        self.assertEqual(sent(rig).getAll(b"Content-Length"), [b"0"])
        data = makeResponse(sent(rig), 200).replace(b"Content-Length: 0\r\n", b"")
        self.assertNotIn(b"Content-Length", data)
        rig.receive(data, "a")
        self.assertEqual(rig.lines["caller"].sent[-1].getAll(b"Content-Length"), [])

    def test_uri(self) -> None:
        """
        Of the target, where it has one (§16.6 step 2).
        """
        rig = ProxyRig()
        rig.role.uri = b"sip:bob@192.0.2.55:5070"
        rig.step("INVITE")
        self.assertEqual(sent(rig).uri, b"sip:bob@192.0.2.55:5070")

    def test_eachAnew(self) -> None:
        """
        Every attempt begins with the request as it came (§16.6 step 1).
        """
        rig = edge(recordRoute=True)
        rig.role.plan = ["a", "b"]
        rig.step("INVITE")
        rig.step("a 503")
        first, second = rig.lines["a"].last(b"INVITE"), sent(rig, "b")
        self.assertEqual(second.toBytes().replace(second.branch, first.branch), first.toBytes())

    def test_recordRoute(self) -> None:
        """
        Both sides, the one ahead on top (RFC 5658 §5), before those that are there.
        """
        rig = edge(recordRoute=True)
        rig.receive(rig.make(b"INVITE", headers=((b"Record-Route", b"<sip:before;lr>"),)))
        self.assertEqual(sent(rig).elements(b"Record-Route"), [NETWORK, INTERFACE, b"<sip:before;lr>"])

    def test_recordRouteOfOneSide(self) -> None:
        """
        Where both sides are the same, once.
        """
        rig = ProxyRig(recordRoute=True)
        rig.step("INVITE")
        self.assertEqual(sent(rig).elements(b"Record-Route"), [NETWORK])

    def test_recordRouteWhere(self) -> None:
        """
        Where a dialog can begin or its path can change, which may be so for methods that nobody knows
        (§16.6 step 4).
        """
        rig = edge(recordRoute=True)
        for method, tag, there in (
            (b"INVITE", b"", True),
            (b"INVITE", b"a", True),
            (b"SUBSCRIBE", b"", True),
            (b"NOTIFY", b"", True),
            (b"REFER", b"", True),
            (b"UPDATE", b"a", True),
            (b"FOO", b"", True),
            (b"BYE", b"a", False),
            (b"INFO", b"a", False),
            (b"MESSAGE", b"", False),
            (b"OPTIONS", b"", False),
            (b"PRACK", b"a", False),
            (b"PUBLISH", b"", False),
            (b"REGISTER", b"", False),
        ):
            rig.receive(rig.make(method, toTag=tag, callId=b"call-" + method + tag))
            self.assertEqual(sent(rig).has(b"Record-Route"), there, method)

    def test_notAsked(self) -> None:
        rig = edge()
        rig.step("INVITE")
        self.assertFalse(sent(rig).has(b"Record-Route"))


class RouteTests(SynchronousTestCase):
    """
    §16.4, §16.5, §16.6 step 6, §16.12.
    """

    def deliver(self, rig: ProxyRig, method: bytes = b"BYE", line: str = "caller", **changes: Any) -> Request:
        rig.receive(rig.make(method, **{"toTag": b"a", **changes}), line)
        return sent(rig)

    def test_own(self) -> None:
        """
        Both of ours are taken off; which side to go on to is what the second says.
        """
        rig = edge()
        request = self.deliver(rig, headers=((b"Route", INTERFACE), (b"Route", NETWORK)))
        self.assertEqual(routes(request), [])
        self.assertEqual(rig.role.asked, [("interface", "network", b"sip:bob@example.com")])

    def test_ownInOneLine(self) -> None:
        rig = edge()
        request = self.deliver(rig, headers=((b"Route", INTERFACE + b", " + NETWORK + b",<sip:next;lr>"),))
        self.assertEqual(routes(request), [b"<sip:next;lr>"])
        self.assertEqual(rig.role.asked, [(Hop(b"UDP", "next", 5060), "network")])

    def test_otherSpelling(self) -> None:
        """
        It is the address that counts.
        """
        for route in (
            b"<sip:192.0.2.100;lr;transport=UDP>",
            b'"us" <sip:me@192.0.2.100:5060;lr>;foo=bar',
            b"<sip:192.0.2.100;lr>",
        ):
            rig = edge()
            self.assertEqual(routes(self.deliver(rig, headers=((b"Route", route),))), [])
            self.assertEqual(rig.role.asked, [("interface", "interface", b"sip:bob@example.com")])

    def test_notOurs(self) -> None:
        """
        Another port or transport of our host is somebody else.
        """
        for route, hop in (
            (b"<sip:192.0.2.100:5070;lr>", Hop(b"UDP", "192.0.2.100", 5070)),
            (b"<sip:192.0.2.100;transport=tcp;lr>", Hop(b"TCP", "192.0.2.100", 5060)),
            (b"<sips:192.0.2.100;lr>", Hop(b"TLS", "192.0.2.100", 5061)),
            (b"<sip:192.0.2.11:5066;transport=sctp;lr>", Hop(b"SCTP", "192.0.2.11", 5066)),
        ):
            rig = edge()
            request = self.deliver(rig, headers=((b"Route", INTERFACE), (b"Route", route)))
            self.assertEqual(routes(request), [route])
            self.assertEqual(rig.role.asked, [(hop, "interface")])

    def test_onlyTheFirst(self) -> None:
        """
        Behind somebody else's, ours is for later.
        """
        rig = edge()
        request = self.deliver(rig, headers=((b"Route", b"<sip:next;lr>"), (b"Route", NETWORK)))
        self.assertEqual(routes(request), [b"<sip:next;lr>", NETWORK])
        self.assertEqual(rig.role.asked, [(Hop(b"UDP", "next", 5060), "interface")])

    def test_toStrictRouter(self) -> None:
        """
        §16.6 step 6, §16.12.1.2: it finds itself in the Request-URI.
        """
        rig = edge()
        request = self.deliver(
            rig, headers=((b"Route", INTERFACE), (b"Route", b"<sip:strict:5070>, <sip:then;lr>"))
        )
        self.assertEqual(request.uri, b"sip:strict:5070")
        self.assertEqual(routes(request), [b"<sip:then;lr>", b"<sip:bob@example.com>"])
        self.assertEqual(rig.role.asked, [(Hop(b"UDP", "strict", 5070), "interface")])

    def test_fromStrictRouter(self) -> None:
        """
        §16.4: it has put what we wrote into Record-Route into the Request-URI.
        """
        rig = edge()
        request = self.deliver(
            rig,
            uri=b"sip:192.0.2.100:5060;transport=udp;lr",
            headers=((b"Route", NETWORK), (b"Route", b"<sip:next;lr>"), (b"Route", b"<sip:bob@192.0.2.9>")),
        )
        self.assertEqual(request.uri, b"sip:bob@192.0.2.9")
        self.assertEqual(routes(request), [b"<sip:next;lr>"])
        rig = edge()
        request = self.deliver(
            rig,
            uri=b"sip:192.0.2.100:5060;transport=udp;lr",
            headers=((b"Route", b"<sip:bob@192.0.2.9>"),),
        )
        self.assertEqual((request.uri, routes(request)), (b"sip:bob@192.0.2.9", []))

    def test_lrOfOthers(self) -> None:
        """
        A Request-URI of somebody else that looks like it stays.
        """
        rig = edge()
        request = self.deliver(rig, uri=b"sip:192.0.2.9;lr", headers=((b"Route", b"<sip:next;lr>"),))
        self.assertEqual((request.uri, routes(request)), (b"sip:192.0.2.9;lr", [b"<sip:next;lr>"]))

    def test_maddr(self) -> None:
        """
        §16.4 and §16.5: somebody else's is where to go, ours is where we are.
        """
        rig = edge()
        request = self.deliver(rig, uri=b"sip:bob@example.com;maddr=192.0.2.9;transport=tcp")
        self.assertEqual(request.uri, b"sip:bob@example.com;maddr=192.0.2.9;transport=tcp")
        self.assertEqual(rig.role.asked, [(Hop(b"TCP", "192.0.2.9", 5060), "interface")])
        rig = edge()
        request = self.deliver(
            rig, uri=b"sip:bob@example.com:5060;maddr=192.0.2.100;transport=sctp;user=phone"
        )
        self.assertEqual(request.uri, b"sip:bob@example.com;user=phone")
        self.assertEqual(rig.role.asked, [("interface", None, b"sip:bob@example.com;user=phone")])
        for uri in (b"sip:bob@example.com;maddr=", b"tel:+4930;maddr=x"):
            rig = edge()
            self.assertEqual(self.deliver(rig, uri=uri).uri, uri)


class ACKTests(SynchronousTestCase):
    """
    The ACK of a 2xx is passed on without state (§16.11).
    """

    def ack(self, rig: ProxyRig, line: str = "caller", **changes: Any) -> list[str]:
        rig.receive(rig.make(b"ACK", **{"toTag": b"a", **changes}), line)
        return rig.take()

    def test_alongRoute(self) -> None:
        rig = edge(recordRoute=True)
        headers = ((b"Route", INTERFACE), (b"Route", NETWORK), (b"Route", b"<sip:next;lr>"))
        self.assertEqual(self.ack(rig, headers=headers), ["a ACK"])
        request = sent(rig)
        self.assertEqual(rig.role.asked, [(Hop(b"UDP", "next", 5060), "network")])
        self.assertEqual((routes(request), request.maxForwards), ([b"<sip:next;lr>"], 69))
        self.assertTrue(request.branch.startswith(b"z9hG4bK"))
        self.assertEqual(len(request.getAll(b"Via")), 2)
        self.assertFalse(request.has(b"Record-Route"))
        self.assertEqual((rig.ledger.accepted, rig.layer.counts()["inviteClients"]), (0, 0))

    def test_toTheFirst(self) -> None:
        """
        Without a Route where its INVITE would go first, with the Request-URI that it would get.
        """
        rig = edge()
        rig.role.plan = ["b", "a"]
        rig.role.uri = b"sip:bob@192.0.2.9"
        self.assertEqual(self.ack(rig), ["b ACK"])
        self.assertEqual(sent(rig, "b").uri, b"sip:bob@192.0.2.9")

    def test_reached(self) -> None:
        rig = edge()
        rig.role.plan = ["(b)"]
        self.assertEqual(self.ack(rig), ["b reaching"])
        rig.step("reached b")
        self.assertEqual(rig.take(), ["b ACK"])
        self.assertEqual(self.ack(rig), ["b ACK"])
        rig.role.reaching["b"] = Deferred()
        rig.role.plan = ["(nowhere)"]
        self.assertEqual(self.ack(rig), [])
        self.assertEqual(self.flushLoggedErrors(TransportError), [])

    def test_dropped(self) -> None:
        """
        Nowhere to go, no hop left, no dialog, not allowed, looped, unreadable.
        """
        rig = edge()
        rig.role.plan = []
        self.assertEqual(self.ack(rig), [])
        rig.role.plan = ["a"]
        rig.receive(rig.make(b"ACK", toTag=b"a").replace(b"Max-Forwards: 70", b"Max-Forwards: 0"))
        self.assertEqual(rig.take(), [])
        self.assertEqual(self.ack(rig, toTag=b""), [])
        rig.role.admits = {b"ACK": Answer(403)}
        self.assertEqual(self.ack(rig), [])
        rig.role.admits = {}
        self.assertEqual(self.ack(rig), ["a ACK"])
        again = sent(rig)
        again.pushVia(b"SIP/2.0/SCTP 192.0.2.11:5060;branch=z9hG4bKelsewhere")
        rig.receive(again.toBytes())
        self.assertEqual(rig.take(), [])
        self.assertEqual(self.ack(rig, headers=((b"Route", b"<sip:a:99999;lr>"),)), [])
        self.assertEqual(rig.core.counters["strayAcks"], 6)

    def test_withoutMaxForwards(self) -> None:
        rig = edge()
        rig.receive(rig.make(b"ACK", toTag=b"a").replace(b"Max-Forwards: 70\r\n", b""))
        self.assertEqual(sent(rig).maxForwards, 70)

    def test_sameBranch(self) -> None:
        """
        Some send the ACK of a 2xx with the INVITE's branch: it goes on just so.
        """
        rig = ProxyRig()
        rig.play("INVITE |\na 200 |")
        rig.step("ACK")
        self.assertEqual(rig.take(), ["a ACK"])


class StrayTests(SynchronousTestCase):
    """
    What belongs to nothing.
    """

    def test_response(self) -> None:
        """
        It must not go on (RFC 6026 §7.2).
        """
        rig = ProxyRig()
        rig.receive(makeResponse(makeRequest(b"INVITE", branch=b"z9hG4bKunknown"), 200), "a")
        self.assertEqual((rig.take(), rig.core.counters["strayResponses"]), ([], 1))


class GhostTests(SynchronousTestCase):
    """
    ACK and BYE for a call that nobody can be given.
    """

    def ghost(
        self, rig: ProxyRig, recorded: tuple[bytes, ...], contact: bytes = b""
    ) -> tuple[Request, Request]:
        """
        @param recorded: what elements after us have put on top of our Record-Route.
        """
        rig.receive(rig.make(b"INVITE", cseq=7, headers=((b"Record-Route", b"<sip:before;lr>"),)))
        rig.step("a 180")
        rig.lose("caller")
        invite = rig.lines["a"].last(b"INVITE")
        headers = [(b"Record-Route", value) for value in (*recorded, *invite.elements(b"Record-Route"))]
        if contact:
            headers.append((b"Contact", contact))
        rig.receive(makeResponse(invite, 200, headers=headers), "a")
        return rig.lines["a"].last(b"ACK"), rig.lines["a"].last(b"BYE")

    def test_messages(self) -> None:
        """
        In the caller's name, along the path beyond us.
        """
        rig = edge(recordRoute=True)
        ack, bye = self.ghost(
            rig, (b"<sip:last;lr>", b"<sip:next;lr>, <sip:nearest;lr>"), b'"Bob" <sip:bob@192.0.2.9>;q=1'
        )
        invite = rig.lines["a"].last(b"INVITE")
        for request, cseq in ((ack, 7), (bye, 8)):
            self.assertEqual(request.uri, b"sip:bob@192.0.2.9")
            self.assertEqual(routes(request), [b"<sip:nearest;lr>", b"<sip:next;lr>", b"<sip:last;lr>"])
            self.assertEqual((request.cseq, request.callId), (cseq, invite.callId))
            self.assertEqual((request.fromValue, request.toTag), (invite.fromValue, b"b1"))
            self.assertEqual(len(request.getAll(b"Via")), 1)
        self.assertNotEqual(ack.branch, bye.branch)

    def test_withoutPath(self) -> None:
        """
        No Record-Route beyond us, no Contact: to where the INVITE went.
        """
        ack, bye = self.ghost(edge(), ())
        self.assertEqual((ack.uri, routes(ack)), (b"sip:bob@example.com", []))
        self.assertEqual((bye.uri, routes(bye)), (b"sip:bob@example.com", []))

    def test_strictRouter(self) -> None:
        ack, _ = self.ghost(edge(), (b"<sip:last;lr>", b"<sip:strict>"), b"<sip:bob@192.0.2.9>")
        self.assertEqual(ack.uri, b"sip:strict")
        self.assertEqual(routes(ack), [b"<sip:last;lr>", b"<sip:bob@192.0.2.9>"])

    def test_unreadable(self) -> None:
        for recorded, contact in (((), b"<sip:>"), ((b"<sip:a:99999>",), b"<sip:bob@192.0.2.9>")):
            ack, _ = self.ghost(edge(), recorded, contact)
            self.assertEqual((ack.uri, routes(ack)), (b"sip:bob@example.com", []))

    def test_forked(self) -> None:
        """
        Each dialog is ended once, and every 2xx acknowledged.
        """
        rig = ProxyRig()
        rig.play("INVITE |\na 180 |\nlose caller |")
        invite = rig.lines["a"].last(b"INVITE")
        for tag in (b"one", b"two", b"one", b"two"):
            rig.receive(makeResponse(invite, 200, toTag=tag), "a")
        self.assertEqual(rig.take(), ["a ACK", "a BYE", "settled", "a ACK", "a BYE", "a ACK", "a ACK"])
        acks = [one.toTag for one in rig.lines["a"].sent if isinstance(one, Request) and one.method == b"ACK"]
        self.assertEqual(acks, [b"one", b"two", b"one", b"two"])

    def test_unanswered(self) -> None:
        """
        The answer to BYE, or none, is nobody's business.
        """
        rig = ProxyRig()
        rig.play("INVITE |\na 180 |\nlose caller |\na 200 |\na 481 BYE |")
        self.assertEqual(rig.take(), [])
        self.assertEqual(rig.layer.counts()["nonInviteClients"], 1)  # the CANCEL's
        rig.run(40)
        self.assertEqual({name: count for name, count in rig.layer.counts().items() if count}, {})


class MemoryTests(SynchronousTestCase):
    """
    Nothing stays behind.
    """

    def test_settled(self) -> None:
        """
        After Timers L, M and the like there is nothing left of a call, however it went.
        """
        rig = ProxyRig(caller=b"UDP", callee=b"UDP")
        rig.role.plan = ["a", "b"]
        for table in (
            "INVITE |\na 180 |\na 200 |",
            "INVITE |\na 503 |\nb 486 |\nACK |",
            "INVITE |\n+2.125 |\nb 200 |\na 200 |",
            "INVITE |\na 180 |\nCANCEL |\na 200 CANCEL |\na 487 |\nACK |",
            "MESSAGE |\na 200 |",
        ):
            rig.play(table)
            rig.run(70)
            self.assertEqual((len(rig.ledger), rig.core._merging), (0, {}), table)
            counts = {name: count for name, count in rig.layer.counts().items() if count}
            self.assertEqual(counts, {}, table)
        self.assertEqual(self.contexts(rig), 0)

    def contexts(self, rig: ProxyRig) -> int:
        gc.collect()
        found = [one for one in gc.get_objects() if isinstance(one, ResponseContext) and one.core is rig.core]
        return len(found)

    def test_transactionsAlone(self) -> None:
        """
        While transactions stay for what may still be repeated, what is settled does not stay with them. What
        the callee repeats is passed on nevertheless, by the way it would have taken before; what cannot be is
        dropped.
        """
        none: list[tuple[int, object]] = []
        for heard in (None, none):
            rig = ProxyRig(caller=b"UDP", callee=b"UDP")
            if heard is not None:
                rig.core.heard = lambda response, target, heard=heard: heard.append(
                    (response.status, target.token)
                )
            rig.play("INVITE |\na 200 |\nMESSAGE |\na 200 |")
            self.assertEqual(self.contexts(rig), 2)
            rig.run(5)
            self.assertEqual(self.contexts(rig), 0)
            counts = rig.layer.counts()
            self.assertEqual((counts["inviteServers"], counts["inviteClients"]), (1, 1))
            rig.take()
            rig.core.marks = lambda response, association: response.add(b"Marked", b"yes")
            invite = rig.lines["a"].last(b"INVITE")
            rig.receive(makeResponse(invite, 200, toTag=b"another"), "a")
            again = rig.lines["caller"].sent[-1]
            assert isinstance(again, Response)
            self.assertEqual((again.status, again.toTag, again.get(b"Marked")), (200, b"another", b"yes"))
            self.assertEqual(rig.take(), ["caller 200"])
            theirs = b"Via: " + invite.elements(b"Via")[1] + b"\r\n"
            for spoiled in (b"", b"Via: what is this\r\n"):
                rig.receive(makeResponse(invite, 200, toTag=b"a").replace(theirs, spoiled), "a")
                self.assertEqual(rig.take(), [])
            if heard is not None:
                self.assertEqual(heard, [(200, "a")] * 5)
            rig.run(32)
            self.assertEqual(rig.layer.counts()["inviteClients"], 0)
