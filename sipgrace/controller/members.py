"""
A node of the fleet, as it says of itself, or as another controller says of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sipgrace.controller.facts import Hello
from sipgrace.controller.seams import INodeLink

__all__ = ["Adopted", "Member"]

Facts = Mapping[str, Any]


class Member:
    """
    One node.

    @ivar link: the way to it; C{None} while there is none.
    @ivar since: since when it has been linked, or lost: seconds since the epoch.
    @ivar lastSeen: when it said something last.
    @ivar lost: why its link was lost; empty while it is linked.
    @ivar number: the number of the last event known.
    @ivar before: events up to this number are older than the link.
    """

    __slots__ = (
        "address",
        "before",
        "hello",
        "lastEvent",
        "lastSeen",
        "link",
        "lost",
        "name",
        "number",
        "role",
        "since",
        "standing",
    )

    def __init__(self, hello: Hello) -> None:
        self.name = hello.name
        self.role = hello.role
        self.hello = hello
        self.link: INodeLink | None = None
        self.address = ""
        self.since = 0.0
        self.lastSeen = 0.0
        self.lost = ""
        self.number = 0
        self.before = 0
        self.standing: Facts = {}
        self.lastEvent: Facts | None = None

    @property
    def group(self) -> str:
        """
        Whose budget it counts in.
        """
        return self.hello.group or "default"

    @property
    def labels(self) -> Facts:
        """
        What selectors go by.
        """
        return self.hello.labels

    @property
    def state(self) -> str:
        """
        Where its lifecycle stands, as far as it has said.
        """
        return str(self.standing.get("state", "unknown"))

    def view(self) -> dict[str, Any]:
        """
        @return: the same for display, fit for JSON.
        """
        hello = self.hello
        return {
            "name": self.name,
            "role": self.role,
            "version": hello.version,
            "labels": dict(hello.labels),
            "group": hello.group or "default",
            "linked": self.link is not None,
            "address": self.address,
            "since": self.since,
            "lastSeen": self.lastSeen,
            "lost": self.lost,
            "boot": hello.boot,
            "state": self.standing.get("state", "unknown"),
            "standing": self.standing,
            "lastEvent": self.lastEvent,
        }


class Adopted:
    """
    A node of another controller's, as that one tells of it. It is not ours to order.

    @ivar owner: whose it is.
    @ivar lost: why that controller cannot be asked; empty while it can.
    @ivar since: since when it cannot, in seconds since the epoch.
    """

    __slots__ = ("_view", "lost", "name", "owner", "role", "since", "standing")

    def __init__(self, owner: str, view: Facts) -> None:
        self.owner = owner
        self.lost = ""
        self.since = 0.0
        self.name = str(view["name"])
        self.role = str(view["role"])
        standing = view.get("standing")
        self.standing: Facts = standing if isinstance(standing, Mapping) else {}
        self._view = view

    @property
    def group(self) -> str:
        """
        Whose budget it counts in.
        """
        return str(self._view.get("group") or "default")

    @property
    def labels(self) -> Facts:
        """
        What selectors go by.
        """
        labels = self._view.get("labels")
        return labels if isinstance(labels, Mapping) else {}

    @property
    def link(self) -> str | None:
        """
        Its owner, while there is a way to it; C{None} when that is not so.
        """
        return self.owner if self._view.get("linked") and not self.lost else None

    @property
    def state(self) -> str:
        """
        Where its lifecycle stands, as far as its owner has said.
        """
        return str(self._view.get("state", "unknown"))

    def view(self) -> dict[str, Any]:
        """
        @return: as L{Member.view}, and C{controller}: whose it is.
        """
        view = {**self._view, "controller": self.owner}
        return {**view, "linked": False, "lost": self.lost, "since": self.since} if self.lost else view
