"""
Budgets.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.controller.budget import Budget, Presence, presences
from sipgrace.controller.facts import Hello
from sipgrace.controller.fleet import Fleet


class Link:
    """
    Stands for a link.
    """

    def end(self) -> None:
        """
        Ends it.
        """


def group(**away: str) -> list[Presence]:
    """
    Servers, and why they are away.
    """
    return [Presence(name, why) for name, why in away.items()]


class Refusals(SynchronousTestCase):
    """
    When a server may leave.
    """

    def test_unlimited(self) -> None:
        """
        Without limits anything goes.
        """
        self.assertEqual(Budget(group="core").refusal("a", group(a="", b="offline"), ["c"]), "")

    def test_away(self) -> None:
        """
        At most so many are away at once: those that are, and those that are claimed.
        """
        budget = Budget(group="core", away=2)
        self.assertEqual(budget.refusal("a", group(a="", b="", c="offline"), []), "")
        self.assertEqual(
            budget.refusal("a", group(a="", b="", c="offline"), ["b"]),
            "the budget of the group core lets 2 servers be away at once, and 2 are (b claimed, c offline)",
        )
        # One that is both counts once.
        self.assertEqual(budget.refusal("a", group(a="", b="", c="offline"), ["c"]), "")
        self.assertEqual(
            Budget(group="core", away=1).refusal("a", group(a="", b="draining"), []),
            "the budget of the group core lets 1 server be away at once, and 1 is (b draining)",
        )
        self.assertEqual(
            Budget(group="core", away=0).refusal("a", group(a=""), []),
            "the budget of the group core lets 0 servers be away at once, and 0 are",
        )

    def test_inService(self) -> None:
        """
        At least so many stay in service.
        """
        budget = Budget(group="core", inService=2)
        self.assertEqual(budget.refusal("a", group(a="", b="", c=""), []), "")
        self.assertEqual(
            budget.refusal("a", group(a="", b="", c=""), ["c"]),
            "the budget of the group core wants 2 servers in service, and without a there would be 1 "
            "(c claimed)",
        )

    def test_capacity(self) -> None:
        """
        At least so much capacity stays in service.
        """
        present = [Presence("a", "", 4.0), Presence("b", "", 1.5), Presence("c", "", 1.0)]
        budget = Budget(group="core", capacity=2.5)
        self.assertEqual(budget.refusal("a", present, []), "")
        self.assertEqual(
            budget.refusal("a", present, ["c"]),
            "the budget of the group core wants a capacity of 2.5 in service, and without a there would be "
            "1.5 (c claimed)",
        )

    def test_awayAlready(self) -> None:
        """
        A server that is away takes no more room by another order.
        """
        budget = Budget(group="core", away=1, inService=1)
        self.assertEqual(budget.refusal("b", group(a="", b="draining"), []), "")
        self.assertEqual(budget.refusal("b", group(a="", b=""), ["b"]), "")

    def test_seemsAway(self) -> None:
        """
        A server that serves, and that no client reaches yet, needs room like any other, and no more.
        """
        budget = Budget(group="core", away=1)
        for why in ("reached by no client", "of unknown state", "not linked, and reached by no client"):
            self.assertEqual(budget.refusal("b", group(a="", b=why), []), "")
            self.assertEqual(
                budget.refusal("b", group(a="offline", b=why), []),
                "the budget of the group core lets 1 server be away at once, and 1 is (a offline)",
            )
            self.assertEqual(budget.refusal("b", group(a="offline", b=why), ["b"]), "")

    def test_manyAway(self) -> None:
        """
        The reason stays short.
        """
        present = group(**{f"s{n}": "offline" for n in range(8)}, a="")
        self.assertTrue(
            Budget(group="core", away=3)
            .refusal("a", present, [])
            .endswith("and 8 are (s0 offline, s1 offline, s2 offline, s3 offline, s4 offline and 3 others)")
        )

    # How long one takes says how busy the machine is.
    @settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.lists(st.booleans(), min_size=1, max_size=12),
        st.integers(0, 12),
        st.integers(0, 12),
        st.sets(st.integers(0, 11)),
    )
    def test_never(self, away: list[bool], most: int, least: int, claims: set[int]) -> None:
        """
        Whatever the beginning, after as many claims as are granted no limit is passed that was not before.
        """
        names = [f"s{n}" for n in range(len(away))]
        present = [Presence(name, "offline" if gone else "") for name, gone in zip(names, away, strict=True)]
        budget = Budget(group="core", away=most, inService=least)
        claimed: set[str] = set()
        before = {one.name for one in present if one.away}
        for n in claims:
            name = f"s{n % len(names)}"
            if not budget.refusal(name, present, claimed):
                claimed.add(name)
        gone = before | claimed
        if gone != before:
            self.assertLessEqual(len(gone), most)
            self.assertGreaterEqual(len(names) - len(gone), least)


class Presences(SynchronousTestCase):
    """
    How the fleet's servers count.
    """

    def setUp(self) -> None:
        """
        Two servers of the group, one of another, and a client.
        """
        self.fleet = Fleet(lambda: 0.0)
        self.links = {name: Link() for name in ("a", "b", "x", "client-110")}
        for name in ("a", "b", "x"):
            labels = {"capacity": "2.5"} if name == "a" else {"capacity": "much"}
            of = "" if name == "x" else "core"
            self.fleet.hello(Hello(name, "server", "1", "b", 0, labels, of), self.links[name], "")
            self.fleet.standing(name, {"state": "serving"})
        self.fleet.hello(Hello("client-110", "client", "1", "b", 0), self.links["client-110"], "")

    def reach(self, **active: bool) -> None:
        """
        The client says which servers it reaches.
        """
        peers: list[dict[str, Any]] = [{"name": name, "active": on} for name, on in active.items()]
        self.fleet.standing("client-110", {"peers": peers})

    def away(self) -> dict[str, str]:
        """
        Who is away, and why.
        """
        return {one.name: one.away for one in presences(self.fleet, "core")}

    def test_capacity(self) -> None:
        """
        Capacity is a label; what is no number counts as 1.
        """
        self.assertEqual(
            presences(self.fleet, "core"), [Presence("a", "", 2.5), Presence("b", "", 1.0)]
        )
        self.assertEqual(presences(self.fleet, "default"), [Presence("x", "", 1.0)])

    def test_states(self) -> None:
        """
        Whoever is not serving is away.
        """
        for state in ("slowing", "draining", "drained", "offline", "returning"):
            self.fleet.standing("a", {"state": state})
            self.assertEqual(self.away(), {"a": state, "b": ""})
        self.fleet.standing("a", {})
        self.assertEqual(self.away(), {"a": "of unknown state", "b": ""})

    def test_lost(self) -> None:
        """
        A server whose link is lost is in service as long as a client reaches it.
        """
        self.fleet.lost("a", self.links["a"], "reset")
        self.assertEqual(self.away(), {"a": "not linked, and reached by no client", "b": ""})
        self.reach(a=True, b=True)
        self.assertEqual(self.away(), {"a": "", "b": ""})
        self.fleet.lost("client-110", self.links["client-110"], "reset")
        self.assertEqual(self.away(), {"a": "not linked, and reached by no client", "b": ""})

    def test_others(self) -> None:
        """
        Servers and clients of other controllers count, as those tell of them.
        """
        view = {"name": "c", "role": "server", "group": "core", "linked": True, "state": "serving"}
        self.fleet.adopt("controller-121", view | {"labels": {"capacity": "4"}})
        self.assertEqual(presences(self.fleet, "core")[2], Presence("c", "", 4.0))
        self.fleet.adopt("controller-121", view | {"state": "draining"})
        self.assertEqual(self.away(), {"a": "", "b": "", "c": "draining"})
        self.fleet.disown("controller-121", "gone")
        self.assertEqual(self.away()["c"], "not linked, and reached by no client")
        peers = [{"name": "c", "active": True}]
        self.fleet.adopt(
            "controller-122",
            {"name": "client-112", "role": "client", "linked": True, "standing": {"peers": peers}},
        )
        self.assertEqual(self.away(), {"a": "", "b": "", "c": ""})

    def test_awaiting(self) -> None:
        """
        A server that serves and waits for clients is away for others; to take it out needs room as well.
        """
        self.fleet.standing("a", {"state": "serving", "awaited": ["client-112"]})
        self.assertEqual(self.away(), {"a": "waiting for clients", "b": ""})
        budget = Budget(group="core", away=1)
        self.assertEqual(
            budget.refusal("b", presences(self.fleet, "core"), ()),
            "the budget of the group core lets 1 server be away at once, and 1 is (a waiting for clients)",
        )
        self.assertEqual(budget.refusal("a", presences(self.fleet, "core"), ()), "")
        self.fleet.standing("b", {"state": "draining"})
        self.assertIn("1 is (b draining)", budget.refusal("a", presences(self.fleet, "core"), ()))
        # How it stands it will say in a moment; the event alone says nothing new of that.
        self.fleet.happened("a", {"number": 1, "state": "serving"})
        self.assertEqual(self.away()["a"], "waiting for clients")
        self.fleet.standing("a", {"state": "serving", "awaited": [], "missing": ["client-112"]})
        self.assertEqual(self.away()["a"], "")

    def test_notReached(self) -> None:
        """
        A server that serves is away as long as none of the clients that have it reaches it.
        """
        self.reach(a=False)
        self.assertEqual(self.away(), {"a": "reached by no client", "b": ""})
        self.fleet.hello(Hello("client-111", "client", "1", "b", 0), Link(), "")
        self.fleet.standing("client-111", {"peers": [{"name": "a", "active": True}]})
        self.assertEqual(self.away(), {"a": "", "b": ""})
