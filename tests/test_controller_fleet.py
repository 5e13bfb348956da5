"""
The fleet, and the views of it as a whole.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.controller.facts import Hello, Notice
from sipgrace.controller.fleet import KEPT, Fleet
from sipgrace.errors import Unknown


class Link:
    """
    Stands for a link; knows whether it was ended.
    """

    ended = False

    def end(self) -> None:
        """
        Ends it.
        """
        self.ended = True


def server(name: str, boot: str = "b1", number: int = 0, **more: Any) -> Hello:
    """
    What a server says first.
    """
    return Hello(name, "server", "1.0", boot, number, **more)


def client(name: str) -> Hello:
    """
    What a client says first.
    """
    return Hello(name, "client", "1.0", "b1", 0)


def event(number: int, change: str = "draining", state: str = "draining") -> dict[str, Any]:
    """
    Something that happened.
    """
    return {"number": number, "change": change, "state": state, "waiting": 3, "associations": 4, "text": ""}


def peer(name: str, active: bool = True, **more: Any) -> dict[str, Any]:
    """
    A client's word for a server.
    """
    state = "active" if active else "counting"
    return {"name": name, "state": state, "associated": active, "active": active, **more}


class Base(SynchronousTestCase):
    """
    A fleet that is watched.
    """

    maxDiff = None

    def setUp(self) -> None:
        """
        Nobody is there yet.
        """
        self.clock = Clock()
        self.clock.advance(1000.0)
        self.fleet = Fleet(self.clock.seconds)
        self.told: list[tuple[str, str]] = []
        self.fleet.observe(self.heard)

    def heard(self, notice: Notice) -> None:
        """
        Notes what is told.
        """
        self.told.append((notice.kind, notice.node))

    def take(self) -> list[tuple[str, str]]:
        """
        What was told since.
        """
        told, self.told = self.told, []
        return told


class Nodes(Base):
    """
    What nodes say of themselves.
    """

    def test_hello(self) -> None:
        """
        A node that links up is there, as it said.
        """
        link = Link()
        hello = server("server-102", labels={"site": "north"}, group="core")
        self.assertEqual(self.fleet.hello(hello, link, "127.0.0.1:4"), 0)
        self.assertEqual(
            self.fleet.node("server-102"),
            {
                "name": "server-102",
                "role": "server",
                "version": "1.0",
                "labels": {"site": "north"},
                "group": "core",
                "linked": True,
                "address": "127.0.0.1:4",
                "since": 1000.0,
                "lastSeen": 1000.0,
                "lost": "",
                "boot": "b1",
                "state": "unknown",
                "standing": {},
                "lastEvent": None,
            },
        )
        self.assertIs(self.fleet.linkOf("server-102"), link)
        self.assertEqual(self.take(), [("node", "server-102")])

    def test_unknown(self) -> None:
        """
        Who has not said hello is not there.
        """
        self.assertRaises(Unknown, self.fleet.node, "server-109")
        self.assertRaises(Unknown, self.fleet.standing, "server-109", {})
        self.assertRaises(Unknown, self.fleet.happened, "server-109", event(1))
        self.assertRaises(Unknown, self.fleet.reported, "server-109", 0.0, {})
        self.assertIsNone(self.fleet.linkOf("server-109"))
        self.fleet.lost("server-109", Link(), "gone")
        self.assertEqual((self.fleet.nodes(), self.take()), ([], []))

    def test_standing(self) -> None:
        """
        News is told, a sign of life is not.
        """
        self.fleet.hello(server("server-102"), Link(), "")
        self.take()
        self.fleet.standing("server-102", {"state": "serving", "waiting": 0})
        self.assertEqual(self.take(), [("node", "server-102")])
        self.clock.advance(10)
        self.fleet.standing("server-102", {"state": "serving", "waiting": 0})
        self.assertEqual(self.take(), [])
        node = self.fleet.node("server-102")
        self.assertEqual((node["lastSeen"], node["state"]), (1010.0, "serving"))

    def test_sharedPeers(self) -> None:
        """
        Peers that are as they were take no further room, however many notices there are.
        """
        self.fleet.hello(server("server-102"), Link(), "")
        first = [{"name": "client-110", "up": True}, {"name": "client-111", "up": True}]
        self.fleet.standing("server-102", {"waiting": 0, "peers": first})
        self.fleet.standing("server-102", {"waiting": 1, "peers": [dict(one) for one in first]})
        self.assertIs(self.fleet.node("server-102")["standing"]["peers"], first)
        changed = [dict(first[0]), {"name": "client-111", "up": False}, {"name": "client-112", "up": True}]
        self.fleet.standing("server-102", {"waiting": 1, "peers": list(changed)})
        peers = self.fleet.node("server-102")["standing"]["peers"]
        self.assertEqual(peers, changed)
        self.assertIs(peers[0], first[0])

    def test_happened(self) -> None:
        """
        An event is told, and says how the node stands.
        """
        self.fleet.hello(server("server-102"), Link(), "")
        self.fleet.standing("server-102", {"state": "serving", "refused": 7})
        self.take()
        self.fleet.happened("server-102", event(1))
        self.assertEqual(self.take(), [("event", "server-102"), ("node", "server-102")])
        node = self.fleet.node("server-102")
        self.assertEqual(node["lastEvent"], event(1))
        self.assertEqual(
            node["standing"], {"state": "draining", "refused": 7, "waiting": 3, "associations": 4}
        )

    def test_toldAgain(self) -> None:
        """
        A link that comes up again begins where the former ended; what is known is not told twice, and what
        happened meanwhile does not take the place of how things stand now.
        """
        first, second = Link(), Link()
        self.fleet.hello(server("server-102"), first, "")
        self.fleet.happened("server-102", event(1))
        self.fleet.lost("server-102", first, "")
        self.assertEqual(self.fleet.hello(server("server-102", number=3), second, ""), 1)
        self.fleet.standing("server-102", {"state": "offline"})
        self.take()
        self.fleet.happened("server-102", event(1))
        self.fleet.happened("server-102", event(2, "drained", "drained"))
        self.fleet.happened("server-102", event(3, "offline", "offline"))
        self.assertEqual(self.take(), [("event", "server-102"), ("event", "server-102")])
        self.assertEqual(self.fleet.node("server-102")["state"], "offline")
        self.fleet.happened("server-102", event(4, "returning", "returning"))
        self.assertEqual(self.fleet.node("server-102")["state"], "returning")

    def test_anotherRun(self) -> None:
        """
        Another run of the process counts its events anew.
        """
        self.fleet.hello(server("server-102"), Link(), "")
        self.fleet.happened("server-102", event(9))
        self.assertEqual(self.fleet.hello(server("server-102", "b2"), Link(), ""), 0)
        self.assertEqual(self.fleet.node("server-102")["state"], "unknown")
        self.take()
        self.fleet.happened("server-102", event(1))
        self.assertEqual(self.take(), [("event", "server-102"), ("node", "server-102")])

    def test_lost(self) -> None:
        """
        A node whose link is lost is shown as lost, with what it said last, and not as gone.
        """
        link = Link()
        self.fleet.hello(server("server-102"), link, "")
        self.fleet.standing("server-102", {"state": "draining"})
        self.clock.advance(5)
        self.take()
        self.fleet.lost("server-102", link, "connection reset")
        node = self.fleet.node("server-102")
        self.assertEqual(
            (node["linked"], node["lost"], node["since"], node["lastSeen"], node["state"]),
            (False, "connection reset", 1005.0, 1000.0, "draining"),
        )
        self.assertIsNone(self.fleet.linkOf("server-102"))
        self.assertEqual(self.take(), [("node", "server-102")])

    def test_newerLink(self) -> None:
        """
        A link that comes while another is there takes its place; the end of the former changes nothing.
        """
        first, second = Link(), Link()
        self.fleet.hello(server("server-102"), first, "")
        self.fleet.hello(server("server-102"), second, "")
        self.assertEqual((first.ended, second.ended), (True, False))
        self.fleet.lost("server-102", first, "it was replaced")
        self.assertIs(self.fleet.linkOf("server-102"), second)

    def test_reported(self) -> None:
        """
        Reports are passed on.
        """
        self.fleet.hello(server("server-102"), Link(), "")
        self.fleet.reported("server-102", 990.0, {"forced": 0})
        notice = (self.fleet.since(self.fleet.number - 1) or [])[0]
        self.assertEqual(notice.kind, "report")
        self.assertEqual(notice.facts, {"node": "server-102", "at": 990.0, "report": {"forced": 0}})


class Notices(Base):
    """
    What is told, and told again.
    """

    def test_since(self) -> None:
        """
        Numbers run without gaps; who was away for a moment misses nothing, who was away too long is told so.
        """
        for number in range(KEPT + 5):
            self.fleet.publish("alert", "", {"n": number})
        self.assertEqual(self.fleet.number, KEPT + 5)
        self.assertIsNone(self.fleet.since(4))
        whole = self.fleet.since(5)
        assert whole is not None
        self.assertEqual([notice.number for notice in whole], list(range(6, KEPT + 6)))
        last = self.fleet.since(KEPT + 4)
        assert last is not None
        self.assertEqual([notice.facts for notice in last], [{"n": KEPT + 4}])
        self.assertEqual(self.fleet.since(KEPT + 5), [])
        # A number of another run of the controller.
        self.assertIsNone(self.fleet.since(KEPT + 6))

    def test_inOrder(self) -> None:
        """
        What a watcher publishes in turn comes after: everybody hears of all in the same order.
        """
        seen: list[int] = []

        def echo(notice: Notice) -> None:
            if notice.kind == "alert":
                self.fleet.publish("order", "", {})

        self.fleet.observe(echo)
        self.fleet.observe(lambda notice: seen.append(notice.number))
        self.fleet.publish("alert", "", {})
        self.assertEqual(seen, [1, 2])
        self.assertEqual(self.take(), [("alert", ""), ("order", "")])

    def test_faultyWatcher(self) -> None:
        """
        A watcher that fails keeps nobody else from being told.
        """

        def faulty(notice: Notice) -> None:
            raise ValueError("x")

        self.fleet.unobserve(self.heard)
        self.fleet.observe(faulty)
        self.fleet.observe(self.heard)
        self.fleet.publish("alert", "", {})
        self.assertEqual(self.take(), [("alert", "")])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.fleet.unobserve(faulty)
        self.fleet.publish("alert", "", {})
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 0)


class Views(Base):
    """
    Who reaches whom.
    """

    def network(self, reaching: int, state: str = "serving") -> None:
        """
        One server, and four clients of which so many reach it.
        """
        clients = [f"client-{110 + n}" for n in range(4)]
        self.links = {name: Link() for name in ["server-102", *clients]}
        self.fleet.hello(server("server-102"), self.links["server-102"], "")
        self.fleet.standing("server-102", {"state": state})
        for n, name in enumerate(clients):
            self.fleet.hello(client(name), self.links[name], "")
            self.fleet.standing(name, {"state": "serving", "peers": [peer("server-102", n < reaching)]})

    def conflicts(self) -> list[tuple[str, str]]:
        """
        Kinds and texts.
        """
        return [(one["kind"], one["text"]) for one in self.fleet.view()["conflicts"]]

    def test_mesh(self) -> None:
        """
        Each pair has an entry, with the words of both sides.
        """
        self.network(1)
        peers = [{"name": "client-110", "up": True}, {"name": "192.0.2.7", "up": True}]
        self.fleet.standing("server-102", {"state": "serving", "peers": peers})
        self.fleet.standing(
            "client-111", {"peers": [peer("server-102", False, countdown=12.5, overdue=True, latency=0.1)]}
        )
        mesh = self.fleet.view()["mesh"]
        common = {"server": "server-102", "skipped": False, "old": False}
        self.assertEqual(
            mesh[:2],
            [
                {
                    **common,
                    "client": "client-110",
                    "state": "active",
                    "active": True,
                    "associated": True,
                    "overdue": False,
                    "countdown": None,
                    "latency": None,
                    "serverSays": True,
                },
                {
                    **common,
                    "client": "client-111",
                    "state": "counting",
                    "active": False,
                    "associated": False,
                    "overdue": True,
                    "countdown": 12.5,
                    "latency": 0.1,
                    "serverSays": None,
                },
            ],
        )
        self.assertEqual([entry["client"] for entry in mesh[2:]], ["client-112", "client-113"])

    def test_serverAlone(self) -> None:
        """
        Of a client that is known and has said nothing yet, the server's word is there.
        """
        self.fleet.hello(server("server-102"), Link(), "")
        self.fleet.hello(client("client-110"), Link(), "")
        self.fleet.standing("server-102", {"peers": [{"name": "client-110", "up": True}, {"name": "x"}]})
        view = self.fleet.view()
        self.assertEqual(
            [(one["client"], one["state"], one["serverSays"], one["old"]) for one in view["mesh"]],
            [("client-110", "unknown", True, True)],
        )
        self.assertEqual(view["conflicts"], [])

    def test_agreement(self) -> None:
        """
        Where all agree there is no conflict.
        """
        self.network(4)
        self.assertEqual(self.conflicts(), [])
        self.network(0, "offline")
        self.assertEqual(self.conflicts(), [])

    def test_someReach(self) -> None:
        """
        Three of four clients reach the server.
        """
        self.network(3)
        self.assertEqual(
            self.fleet.view()["conflicts"],
            [
                {
                    "server": "server-102",
                    "kind": "reach",
                    "reach": ["client-110", "client-111", "client-112"],
                    "not": ["client-113"],
                    "text": "3 of 4 clients reach server-102; client-113 does not",
                }
            ],
        )

    def test_whileItGoes(self) -> None:
        """
        While a server drains, clients hear of it one after another: that is no conflict.
        """
        self.network(3, "draining")
        self.assertEqual(self.conflicts(), [])

    def test_skipped(self) -> None:
        """
        A client that was told to leave the server alone has no say.
        """
        self.network(3)
        self.fleet.standing("client-113", {"peers": [peer("server-102", False, skipped=True)]})
        self.assertEqual(self.conflicts(), [])

    def test_counting(self) -> None:
        """
        Nor has one that leaves it alone for as long as it asked, though it is back early; but one that has
        waited in vain has.
        """
        self.network(4)
        for overdue, conflicts in ((False, []), (True, ["reach"])):
            self.fleet.standing(
                "client-113", {"peers": [peer("server-102", False, countdown=9.5, overdue=overdue)]}
            )
            kinds = [one["kind"] for one in self.fleet.view()["conflicts"]]
            self.assertEqual([kind for kind in kinds if kind != "association"], conflicts)

    def test_lostClient(self) -> None:
        """
        Nor has one whose link is lost; what it said last is marked as old.
        """
        self.network(3)
        self.fleet.lost("client-113", self.links["client-113"], "")
        self.assertEqual(self.conflicts(), [])
        self.assertEqual([entry["old"] for entry in self.fleet.mesh()], [False, False, False, True])

    def test_others(self) -> None:
        """
        The other ways in which words do not fit together.
        """
        self.network(0)
        self.assertEqual(
            self.conflicts(), [("unreached", "server-102 says that it serves, and no client reaches it")]
        )
        self.network(2, "offline")
        self.assertEqual(
            self.conflicts(), [("reached", "server-102 says that it is offline, and 2 of 4 clients reach it")]
        )
        self.network(4)
        self.fleet.standing(
            "server-102", {"state": "serving", "peers": [{"name": "client-111", "up": False}]}
        )
        self.assertEqual(
            self.conflicts(),
            [("association", "server-102 and client-111 are of two minds about their association")],
        )
        self.network(4)
        self.fleet.lost("server-102", self.links["server-102"], "reset")
        self.assertEqual(
            self.conflicts(), [("unlinked", "the link to server-102 is lost, and 4 of 4 clients reach it")]
        )

    def test_many(self) -> None:
        """
        A text stays short however many clients there are.
        """
        self.network(1)
        for n in range(10):
            self.fleet.hello(client(f"client-{120 + n}"), Link(), "")
            self.fleet.standing(f"client-{120 + n}", {"peers": [peer("server-102", False)]})
        self.assertEqual(
            self.conflicts(),
            [
                (
                    "reach",
                    "1 of 14 clients reach server-102; "
                    "client-111, client-112, client-113, client-120 and 9 others do not",
                )
            ],
        )
