"""
Alerts: servers that are not back when they said they would be, rolling maintenances in trouble, schedules
whose time came for nothing. Each goes to the log, to those who watch the fleet, and to whoever else wants to
know: a metric, a webhook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from sipgrace.controller.facts import Notice, Progress
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.views import isOverdue

__all__ = ["Alerts"]

#: Is told of each alert: C{alert} (C{"overdue"}, C{"trouble"}, C{"schedule"}), C{name}, C{state}
#: (C{"firing"}, C{"resolved"}), C{controller}, C{at}, C{text}, and what else belongs to it.
Hook = Callable[[Mapping[str, Any]], object]


class Alerts:
    """
    Watches the fleet. A client whose link is lost is taken at its last word, so that an alert does not end
    for want of somebody to tell of it.

    @ivar firing: the alerts that are on: by kind and name.
    @ivar hooks: who else is told.
    """

    _log = Logger()

    def __init__(
        self,
        name: str,
        clock: IReactorTime,
        fleet: Fleet,
        wallClock: Callable[[], float],
        after: float = 0.0,
    ) -> None:
        """
        @param after: seconds for which a server must be overdue.
        """
        self._name = name
        self._clock = clock
        self._fleet = fleet
        self._wallClock = wallClock
        self._after = after
        self._late: dict[str, set[str]] = {}
        self._waiting: dict[str, IDelayedCall] = {}
        self.firing: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.hooks: list[Hook] = []

    def start(self) -> None:
        """
        Begins to watch.
        """
        self._fleet.observe(self._noticed)

    def stop(self) -> None:
        """
        Watches no more.
        """
        self._fleet.unobserve(self._noticed)
        for call in self._waiting.values():
            call.cancel()
        self._waiting.clear()

    def _noticed(self, notice: Notice) -> None:
        facts = notice.facts
        if "controller" in facts:
            # Whose node it is, that controller tells of it.
            return
        if notice.kind == "node" and facts.get("forgotten"):
            self._says(notice.node, set())
        elif notice.kind == "node" and facts.get("role") == "client" and facts.get("linked"):
            peers = facts["standing"].get("peers")
            if peers is not None:
                self._says(notice.node, {peer["name"] for peer in peers if isOverdue(peer)})
        elif notice.kind == "rolling":
            self._rolling(facts)
        elif notice.kind == "schedule":
            self._schedule(facts)

    # ------------------------------------------------------------------ overdue servers

    def _says(self, client: str, late: set[str]) -> None:
        """
        A client says which of its servers are overdue.
        """
        for server in late:
            clients = self._late.setdefault(server, set())
            if not clients:
                self._waiting[server] = self._clock.callLater(self._after, self._overdue, server)
            clients.add(client)
        for server, clients in list(self._late.items()):
            if client in clients and server not in late:
                clients.discard(client)
                if not clients:
                    self._back(server)

    def _overdue(self, server: str) -> None:
        del self._waiting[server]
        clients = sorted(self._late[server])
        self._fire("overdue", server, f"{server} is not back at the time that it announced", clients=clients)

    def _back(self, server: str) -> None:
        del self._late[server]
        call = self._waiting.pop(server, None)
        if call is not None:
            call.cancel()
        self._resolve("overdue", server, f"{server}, which was overdue, is back")

    # ------------------------------------------------------------------ rolling maintenances

    def _rolling(self, facts: Mapping[str, Any]) -> None:
        id = facts["id"]
        if facts["progress"] == Progress.TROUBLE:
            self._fire("trouble", id, f"the rolling maintenance {id} has stopped: {facts['text']}")
        else:
            self._resolve("trouble", id, f"the rolling maintenance {id} is {facts['progress']}")

    def _schedule(self, facts: Mapping[str, Any]) -> None:
        id, error = facts["id"], facts.get("error")
        if error:
            # Each time that it is not done is news.
            self.firing.pop(("schedule", id), None)
            self._fire("schedule", id, f"the schedule {id}: {error}")
        else:
            self._resolve("schedule", id, f"the schedule {id} is over, or was done")

    # ------------------------------------------------------------------ telling

    def _fire(self, alert: str, name: str, text: str, **more: Any) -> None:
        if (alert, name) not in self.firing:
            self._log.warn("{text}", text=text)
            self.firing[(alert, name)] = self._tell(alert, name, "firing", text, **more)

    def _resolve(self, alert: str, name: str, text: str) -> None:
        if self.firing.pop((alert, name), None) is not None:
            self._log.info("{text}", text=text)
            self._tell(alert, name, "resolved", text)

    def _tell(self, alert: str, name: str, state: str, text: str, **more: Any) -> Mapping[str, Any]:
        facts = {
            "alert": alert,
            "name": name,
            "state": state,
            "controller": self._name,
            "at": self._wallClock(),
            "text": text,
            **more,
        }
        self._fleet.publish("alert", name if alert == "overdue" else "", facts)
        for hook in self.hooks:
            try:
                hook(facts)
            except Exception:
                self._log.failure("{alert} was not told", alert=alert)
        return facts
