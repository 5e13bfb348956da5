"""
L{sipgrace.client.activelist}.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.client.activelist import ActiveList
from sipgrace.client.strategies import PrimarySecondary, Priority, RoundRobin

NAMES = ("102", "104", "106", "108")


@dataclass(eq=False)
class Server:
    """
    As much of a link as the list needs.
    """

    name: str
    cost: int = 0


SERVERS = {name: Server(name) for name in NAMES}


def listOf(*active: str) -> ActiveList[Server]:
    """
    A list of four configured servers, of which some are active, in round robin.
    """
    made: ActiveList[Server] = ActiveList(NAMES, RoundRobin())
    for name in active:
        made.add(SERVERS[name])
    return made


def order(active: ActiveList[Server]) -> str:
    """
    The candidates as one string.
    """
    return " ".join(server.name for server in active.candidates())


class MembershipTests(SynchronousTestCase):
    """
    Who is on it.
    """

    def test_configuredOrder(self) -> None:
        """
        However they come, they stand as configured.
        """
        active = listOf("106", "102", "108", "104")
        self.assertEqual([server.name for server in active], list(NAMES))

    def test_onceEach(self) -> None:
        """
        Added twice is added once; removed twice is removed once.
        """
        active = listOf("104", "104", "102")
        self.assertEqual([server.name for server in active], ["102", "104"])
        active.remove(SERVERS["102"])
        active.remove(SERVERS["102"])
        active.remove(SERVERS["108"])
        self.assertEqual([server.name for server in active], ["104"])
        self.assertEqual(len(active), 1)

    def test_contains(self) -> None:
        """
        C{in} tells who is active.
        """
        active = listOf("104")
        self.assertTrue(SERVERS["104"] in active)
        self.assertFalse(SERVERS["102"] in active)

    def test_replaced(self) -> None:
        """
        A new link to a server takes the place of the one before.
        """
        active = listOf("102", "104")
        another = Server("102")
        active.add(another)
        self.assertEqual(list(active), [another, SERVERS["104"]])

    def test_unknown(self) -> None:
        """
        A server that was not configured has no place.
        """
        self.assertRaises(KeyError, listOf().add, Server("110"))

    def test_changedWhileRead(self) -> None:
        """
        Whoever goes through the list may change it meanwhile.
        """
        active = listOf(*NAMES)
        for server in active:
            active.remove(server)
        self.assertEqual(len(active), 0)


class PointerTests(SynchronousTestCase):
    """
    The pointer that marks the last one used.
    """

    def test_none(self) -> None:
        """
        At first nobody was used: from the top.
        """
        active = listOf(*NAMES)
        self.assertIsNone(active.lastUsed)
        self.assertEqual(order(active), "102 104 106 108")

    def test_askingDoesNotMoveIt(self) -> None:
        """
        Only use does.
        """
        active = listOf(*NAMES)
        order(active)
        self.assertEqual(order(active), "102 104 106 108")

    def test_nextAfterLast(self) -> None:
        """
        The next after the last one used comes first, and the others follow around the ring.
        """
        active = listOf(*NAMES)
        orders = []
        for name in NAMES:
            active.used(SERVERS[name])
            orders.append(order(active))
        self.assertEqual(orders, ["104 106 108 102", "106 108 102 104", "108 102 104 106", "102 104 106 108"])

    def test_lastUsedLeaves(self) -> None:
        """
        When the one it marks leaves, the next is still the one after; when that comes back, it is last.
        """
        active = listOf(*NAMES)
        active.used(SERVERS["104"])
        active.remove(SERVERS["104"])
        self.assertEqual(order(active), "106 108 102")
        self.assertEqual(active.lastUsed, "104")
        active.add(SERVERS["104"])
        self.assertEqual(order(active), "106 108 102 104")

    def test_anotherLeavesAndReturns(self) -> None:
        """
        Those that come and go before the pointer do not move it.
        """
        active = listOf(*NAMES)
        active.used(SERVERS["106"])
        active.remove(SERVERS["102"])
        self.assertEqual(order(active), "108 104 106")
        active.add(SERVERS["102"])
        self.assertEqual(order(active), "108 102 104 106")

    def test_theEndLeaves(self) -> None:
        """
        Past the end it begins at the top.
        """
        active = listOf(*NAMES)
        active.used(SERVERS["106"])
        active.remove(SERVERS["108"])
        self.assertEqual(order(active), "102 104 106")

    def test_empty(self) -> None:
        """
        Nobody is nobody.
        """
        active = listOf()
        self.assertEqual(active.candidates(), [])
        self.assertEqual(list(active.attempts()), [])
        active.used(SERVERS["104"])
        self.assertEqual(active.candidates(), [])


class AttemptTests(SynchronousTestCase):
    """
    One INVITE tried at one server after another.
    """

    def test_eachOnce(self) -> None:
        """
        All of them, each once, the pointer following.
        """
        active = listOf(*NAMES)
        active.used(SERVERS["104"])
        seen = [(server.name, active.lastUsed) for server in active.attempts()]
        self.assertEqual(seen, [("106", "106"), ("108", "108"), ("102", "102"), ("104", "104")])

    def test_takenOneByOne(self) -> None:
        """
        Four INVITEs that each succeed at once go to four servers, and the fifth to the first again.
        """
        active = listOf(*NAMES)
        self.assertEqual(
            [next(active.attempts()).name for _ in range(5)], ["102", "104", "106", "108", "102"]
        )

    def test_leftSince(self) -> None:
        """
        A server that has left the list since the INVITE came is passed over.
        """
        active = listOf(*NAMES)
        attempts = active.attempts()
        self.assertEqual(next(attempts).name, "102")
        active.remove(SERVERS["104"])
        self.assertEqual([server.name for server in attempts], ["106", "108"])

    def test_cameSince(self) -> None:
        """
        One that has come is tried, too.
        """
        active = listOf("102")
        attempts = active.attempts()
        self.assertEqual(next(attempts).name, "102")
        active.add(SERVERS["108"])
        self.assertEqual([server.name for server in attempts], ["108"])

    def test_failedOverCallsSpread(self) -> None:
        """
        Calls that a failed server had taken go on to the others in turn, not all to its neighbour.
        """
        active = listOf(*NAMES)
        calls = [active.attempts() for _ in range(12)]
        first = [next(call).name for call in calls]
        failed = [call for call, name in zip(calls, first, strict=True) if name == "102"]
        active.remove(SERVERS["102"])
        self.assertEqual([next(call).name for call in failed], ["104", "106", "108"])

    def test_primary(self) -> None:
        """
        The strategy orders: the primary until it leaves.
        """
        active: ActiveList[Server] = ActiveList(NAMES, PrimarySecondary())
        for server in SERVERS.values():
            active.add(server)
        taken = [next(active.attempts()).name for _ in range(2)]
        active.remove(SERVERS["102"])
        taken.append(next(active.attempts()).name)
        active.add(SERVERS["102"])
        taken.append(next(active.attempts()).name)
        self.assertEqual(taken, ["102", "102", "104", "102"])

    def test_priority(self) -> None:
        """
        The two near ones take turns; the far ones are for when those are gone.
        """
        near, far, nearToo, farToo = (
            Server("102", 1),
            Server("104", 5),
            Server("106", 1),
            Server("108", 5),
        )
        active: ActiveList[Server] = ActiveList(NAMES, Priority())
        for server in (near, far, nearToo, farToo):
            active.add(server)
        taken = [next(active.attempts()).name for _ in range(4)]
        active.remove(near)
        taken += [next(active.attempts()).name for _ in range(2)]
        active.remove(nearToo)
        taken += [next(active.attempts()).name for _ in range(4)]
        self.assertEqual(taken, ["102", "106", "102", "106", "106", "106", "108", "104", "108", "104"])
