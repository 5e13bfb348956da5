"""
The fleet: every node with what it says of itself, what happened to it, and the link to it while there is
one. Pure: no I/O, no timers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from twisted.logger import Logger

from sipgrace.controller.facts import Hello, NodeRecord, Notice
from sipgrace.controller.members import Adopted, Member
from sipgrace.controller.seams import INodeLink
from sipgrace.controller.views import conflictsOf, meshOf
from sipgrace.errors import Unknown

__all__ = ["Fleet"]

#: So many notices are kept for those who were away for a moment.
KEPT: Final = 1000

#: What an event says of the node itself; the standing has the same names.
_STANDING: Final = ("state", "waiting", "associations", "guardLeft", "retryAfter", "order")

Facts = Mapping[str, Any]


def _shared(facts: Facts, before: Facts) -> Facts:
    """
    @return: the same facts, with the peers that have not changed as they are in memory already: a server has
        many, and every notice that is kept holds them.
    """
    peers, known = facts.get("peers"), before.get("peers")
    if not isinstance(peers, list) or not isinstance(known, list):
        return facts
    if peers == known:
        return {**facts, "peers": known}
    pairs = zip(peers, known, strict=False)
    shared = [old if new == old else new for new, old in pairs]
    return {**facts, "peers": shared + peers[len(shared) :]}


class Fleet:
    """
    All nodes that have ever had a link to this controller, also to a run before. One without a link is shown
    as lost, and dropped only when somebody says that it will not come back.

    @ivar number: the number of the last notice.
    """

    _log = Logger()

    def __init__(self, wallClock: Callable[[], float]) -> None:
        self._wallClock = wallClock
        self._members: dict[str, Member] = {}
        self._adopted: dict[str, dict[str, Adopted]] = {}
        self._observers: dict[Callable[[Notice], None], None] = {}
        self._notices: deque[Notice] = deque(maxlen=KEPT)
        self._untold: deque[Notice] = deque()
        self._telling = False
        self.number = 0

    # ------------------------------------------------------------------ what nodes say

    def restore(self, record: NodeRecord) -> None:
        """
        A node is known from a run of the controller before, and has no link yet.
        """
        if record.name in self._members:
            return
        hello = Hello(record.name, record.role, "", "", 0, record.labels, record.group)
        member = self._members[record.name] = Member(hello)
        member.since = self._wallClock()
        member.lastSeen = record.seen
        member.lost = "it has not linked up since the controller began"
        self.publish("node", member.name, member.view())

    def hello(self, hello: Hello, link: INodeLink, address: str) -> int:
        """
        A node's link came up. One that it had before is ended.

        @return: the number of the last event known of that run of the node, 0 for another run: the node
            tells again what came after.
        """
        member = self._members.get(hello.name)
        if member is None:
            member = self._members[hello.name] = Member(hello)
        elif member.hello.boot != hello.boot:
            member.number = 0
            member.standing = {}
            member.lastEvent = None
        before, member.link = member.link, link
        member.hello = hello
        member.role = hello.role
        member.before = hello.number
        member.address = address
        member.since = member.lastSeen = self._wallClock()
        member.lost = ""
        if before is not None and before is not link:
            before.end()
        self.publish("node", hello.name, member.view())
        return member.number

    def standing(self, name: str, facts: Facts) -> None:
        """
        A node says how it stands; also as a sign of life, which nobody is told of.

        @raise Unknown: for one that has not said hello.
        """
        member = self._member(name)
        member.lastSeen = self._wallClock()
        if facts != member.standing:
            member.standing = _shared(facts, member.standing)
            self.publish("node", name, member.view())

    def happened(self, name: str, event: Facts) -> None:
        """
        Something happened to a node. What is known already is told twice by nobody.

        @param event: as L{sipgrace.control.commands.Happened} has it.
        @raise Unknown: for one that has not said hello.
        """
        member = self._member(name)
        member.lastSeen = self._wallClock()
        number = event.get("number", 0)
        if number <= member.number:
            return
        member.number = number
        member.lastEvent = event
        changed = number > member.before
        if changed:
            # What happened before the link came up says nothing about how things stand now.
            known = {key: event[key] for key in _STANDING if key in event}
            member.standing = {**member.standing, **known}
        self.publish("event", name, event)
        if changed:
            self.publish("node", name, member.view())

    def reported(self, name: str, at: float, report: Facts) -> None:
        """
        The report of a finished drain has come.

        @param at: when that drain began.
        """
        self._member(name).lastSeen = self._wallClock()
        self.publish("report", name, {"node": name, "at": at, "report": report})

    def lost(self, name: str, link: INodeLink, why: str) -> None:
        """
        A link was lost; the node itself may be well. Where it has a newer one, nothing changes.
        """
        member = self._members.get(name)
        if member is None or member.link is not link:
            return
        member.link = None
        member.since = self._wallClock()
        member.lost = why or "lost"
        self.publish("node", name, member.view())

    def forget(self, name: str) -> None:
        """
        Drops a node. Those who watch are told C{forgotten} in place of its view.

        @raise Unknown: for one that is not known.
        """
        self._member(name)
        del self._members[name]
        self.publish("node", name, {"name": name, "forgotten": True})

    # ------------------------------------------------------------------ what other controllers say

    def adopt(self, owner: str, view: Facts) -> None:
        """
        Another controller tells of a node of its own. Where we have a link to it ourselves, that counts.

        @param view: its L{Member.view}.
        """
        adopted = self._adopted.setdefault(owner, {})
        node = adopted[str(view["name"])] = Adopted(owner, view)
        if self._seen(node.name) is node:
            self.publish("node", node.name, node.view())

    def adoptedOf(self, owner: str) -> list[str]:
        """
        @return: the names of the nodes that another controller tells of.
        """
        return list(self._adopted.get(owner, ()))

    def adoptOnly(self, owner: str, names: Collection[str]) -> None:
        """
        Another controller has no nodes but these. Those who watch are told of the others as L{forget} has it,
        or how they are known otherwise.
        """
        adopted = self._adopted.get(owner, {})
        for name in [name for name in adopted if name not in names]:
            shown = self._seen(name)
            gone = adopted.pop(name)
            left = self._seen(name)
            if left is not None and shown is gone:
                self.publish("node", name, left.view())
            elif left is None:
                self.publish("node", name, {"name": name, "controller": owner, "forgotten": True})

    def disown(self, owner: str, why: str) -> None:
        """
        Another controller cannot be asked any more. Its nodes are shown as lost.
        """
        for node in self._adopted.get(owner, {}).values():
            if not node.lost:
                node.since = self._wallClock()
            node.lost = f"{owner} cannot be reached: {why}"
            if self._seen(node.name) is node:
                self.publish("node", node.name, node.view())

    def ownerOf(self, name: str) -> str:
        """
        @return: the controller by which there is a way to a node, or by which there was one last; empty for
            this one, or for a node that is not known.
        """
        node = self._seen(name)
        return node.owner if isinstance(node, Adopted) else ""

    def roleOf(self, name: str) -> str:
        """
        @return: what a node is: C{server}, C{client}; empty for one that is not known.
        """
        node = self._seen(name)
        return "" if node is None else node.role

    def isServer(self, name: str) -> bool:
        """
        @return: whether that is a server, or a client says that it has one of that name, which may be none of
            sipgrace's.
        """
        if self.roleOf(name) == "server":
            return True
        peers = (node.standing.get("peers") for node in self.seen("client"))
        return any(peer.get("name") == name for some in peers if isinstance(some, list) for peer in some)

    def _seen(self, name: str) -> Member | Adopted | None:
        """
        The best that is known of a node: our own link, another's, what was known last.
        """
        own = self._members.get(name)
        if own is not None and own.link is not None:
            return own
        others = [nodes[name] for nodes in self._adopted.values() if name in nodes]
        others.sort(key=lambda node: (node.link is None, node.owner))
        if others and (own is None or others[0].link is not None):
            return others[0]
        return own

    def _all(self) -> list[Member | Adopted]:
        names = {*self._members, *(name for nodes in self._adopted.values() for name in nodes)}
        return [node for name in sorted(names) if (node := self._seen(name)) is not None]

    # ------------------------------------------------------------------ how things stand

    def _member(self, name: str) -> Member:
        member = self._members.get(name)
        if member is None:
            raise Unknown(f"{name[:100]!r} is no node of this fleet, or has not linked up yet")
        return member

    def member(self, name: str) -> Member:
        """
        @raise Unknown: for one that is not known.
        """
        return self._member(name)

    def members(self, role: str = "") -> list[Member]:
        """
        @return: all, or all of that role, by name.
        """
        found = [member for member in self._members.values() if not role or member.role == role]
        found.sort(key=lambda member: member.name)
        return found

    def seen(self, role: str = "") -> list[Member | Adopted]:
        """
        @return: as L{members}, and those of other controllers.
        """
        return [node for node in self._all() if not role or node.role == role]

    def node(self, name: str) -> dict[str, Any]:
        """
        @return: one node for display; see L{Member.view}.
        @raise Unknown: for one that is not known.
        """
        return (self._seen(name) or self._member(name)).view()

    def nodes(self) -> list[dict[str, Any]]:
        """
        @return: all, by name; those of other controllers, too.
        """
        return [node.view() for node in self._all()]

    def mesh(self) -> list[dict[str, Any]]:
        """
        @return: see L{sipgrace.controller.views.meshOf}.
        """
        return meshOf(self._all())

    def view(self) -> dict[str, Any]:
        """
        @return: C{nodes}; C{mesh}, see L{sipgrace.controller.views.meshOf}; C{conflicts}, see
            L{sipgrace.controller.views.conflictsOf}; C{number}, that of the last notice: what follows from
            there on is news.
        """
        nodes = self._all()
        mesh = meshOf(nodes)
        return {
            "nodes": [node.view() for node in nodes],
            "mesh": mesh,
            "conflicts": conflictsOf(nodes, mesh),
            "number": self.number,
        }

    def linkOf(self, name: str) -> INodeLink | None:
        """
        @return: the way to a node; C{None} while there is none, or for a node that is not known.
        """
        member = self._members.get(name)
        return None if member is None else member.link

    # ------------------------------------------------------------------ notices

    def observe(self, observer: Callable[[Notice], None]) -> None:
        """
        Has someone told of every notice from now on. What they raise is logged, and goes no further.
        """
        self._observers[observer] = None

    def unobserve(self, observer: Callable[[Notice], None]) -> None:
        """
        Tells them no longer.
        """
        self._observers.pop(observer, None)

    def publish(self, kind: str, node: str, facts: Facts) -> Notice:
        """
        Tells those who watch. What they publish in turn is told after this one, so that all hear of all in
        the same order.
        """
        self.number += 1
        notice = Notice(self.number, kind, node, facts)
        self._notices.append(notice)
        if not self._observers:
            return notice
        self._untold.append(notice)
        if self._telling:
            return notice
        self._telling = True
        try:
            while self._untold:
                self._tell(self._untold.popleft())
        finally:
            self._telling = False
        return notice

    def _tell(self, notice: Notice) -> None:
        for observer in list(self._observers):
            try:
                observer(notice)
            except Exception:
                self._log.failure("a watcher of the fleet failed at {kind}", kind=notice.kind)

    def since(self, number: int) -> list[Notice] | None:
        """
        @return: the notices of a higher number; C{None} where the first of them is not kept any more, or
            where that number is of another run of the controller.
        """
        if number > self.number or number < self.number - len(self._notices):
            return None
        missed = self.number - number
        return [self._notices[at] for at in range(len(self._notices) - missed, len(self._notices))]
