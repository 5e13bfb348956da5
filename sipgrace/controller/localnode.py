"""
The controller at its own control socket: it shows how it stands, and takes no orders there.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail

from sipgrace import __version__
from sipgrace.control.commands import NotOffered
from sipgrace.control.node import Announced
from sipgrace.errors import OrderRefused
from sipgrace.lifecycle.authorization import Giver
from sipgrace.lifecycle.door import Obeyed

__all__ = ["ControllerNode"]


class ControllerNode:
    """
    See L{sipgrace.control.node.Watched}.
    """

    number = 0

    def __init__(self, name: str, status: Callable[[], Mapping[str, Any]]) -> None:
        self._name = name
        self._status = status

    def watch(self, watcher: Callable[[dict[str, Any]], None]) -> None:
        """
        Nothing happens to a controller that has a lifecycle; what happens to its fleet is told by the API.
        """

    def unwatch(self, watcher: Callable[[dict[str, Any]], None]) -> None:
        """
        See L{watch}.
        """

    def since(self, number: int) -> list[dict[str, Any]]:
        """
        See L{watch}.
        """
        return []

    @property
    def announced(self) -> Announced:
        """
        Nobody speaks to it for servers.

        @raise NotOffered: always.
        """
        raise NotOffered("a controller has no servers of its own")

    def status(self) -> dict[str, Any]:
        """
        How it stands.
        """
        return {"version": __version__, "pid": os.getpid(), **self._status()}

    def reroutes(self, since: int) -> tuple[list[dict[str, Any]], int]:
        """
        It reroutes no calls.

        @raise NotOffered: always.
        """
        raise NotOffered("a controller reroutes no calls; ask its clients")

    def order(self, giver: Giver, kind: str, why: str, **values: Any) -> Deferred[Obeyed]:
        """
        Refuses.
        """
        return self._refused()

    def signed(self, giver: Giver, values: object) -> Deferred[Obeyed]:
        """
        Refuses.
        """
        return self._refused()

    def _refused(self) -> Deferred[Obeyed]:
        return fail(
            OrderRefused(
                f"{self._name} is a controller, and in no call's path; orders for its fleet go to its HTTP "
                "API (--controller URL)"
            )
        )
