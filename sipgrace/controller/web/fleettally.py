"""
What a controller tells Prometheus of its fleet.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from sipgrace import __version__
from sipgrace.controller.facts import ENDED, Notice
from sipgrace.controller.fleet import Fleet
from sipgrace.controller.web.overview import Overview

__all__ = ["FleetCollector"]

_CONFLICTS: Final = ("reach", "unreached", "reached", "unlinked", "association")
_ENDED: Final = frozenset(str(outcome) for outcome in ENDED)
_PROGRESS: Final = ("running", "paused", "done", "stopped", "trouble")


class FleetCollector(Collector):
    """
    Reads the fleet whenever it is scraped, and counts orders and the like as they are told of.
    """

    def __init__(self, name: str, fleet: Fleet, overview: Overview) -> None:
        """
        @param name: the controller's.
        """
        self._name = name
        self._fleet = fleet
        self._overview = overview
        self._orders: Counter[tuple[str, str]] = Counter()
        self._rollings: Counter[str] = Counter()
        self._alerts = 0
        self._progress: dict[str, str] = {}
        fleet.observe(self._noticed)

    def _noticed(self, notice: Notice) -> None:
        facts = notice.facts
        if notice.kind == "order":
            # Those of other controllers are counted there.
            if str(facts["outcome"]) in _ENDED and facts.get("by", self._name) == self._name:
                self._orders[str(facts["order"]["kind"]), str(facts["outcome"])] += 1
        elif notice.kind == "rolling":
            progress = str(facts["progress"])
            if self._progress.get(facts["id"]) != progress:
                self._rollings[progress] += 1
            if progress in ("done", "stopped"):
                self._progress.pop(facts["id"], None)
            else:
                self._progress[facts["id"]] = progress
        elif notice.kind == "alert" and facts.get("state") == "firing":
            self._alerts += 1

    def collect(self) -> Iterator[Metric]:
        """
        See C{Collector}.
        """
        info = {"name": self._name, "version": __version__}
        yield InfoMetricFamily("sipgrace_controller", "Which controller this is.", info)
        yield from self._nodes()
        yield from self._reach()
        orders = CounterMetricFamily(
            "sipgrace_controller_orders",
            "Orders that have ended, by what became of them.",
            labels=("kind", "outcome"),
        )
        for (kind, outcome), times in sorted(self._orders.items()):
            orders.add_metric((kind, outcome), times)
        yield orders
        rollings = CounterMetricFamily(
            "sipgrace_controller_rollings",
            "How often a rolling maintenance came to be so.",
            labels=("progress",),
        )
        open_ = GaugeMetricFamily(
            "sipgrace_controller_rollings_open",
            "Rolling maintenances that have not ended.",
            labels=("progress",),
        )
        now = Counter(self._progress.values())
        for progress in _PROGRESS:
            rollings.add_metric((progress,), self._rollings[progress])
            if progress not in ("done", "stopped"):
                open_.add_metric((progress,), now[progress])
        yield rollings
        yield open_
        yield CounterMetricFamily("sipgrace_controller_alerts", "Alerts raised.", self._alerts)
        yield CounterMetricFamily("sipgrace_controller_notices", "Changes told of.", self._fleet.number)

    def _nodes(self) -> Iterator[Metric]:
        labels = ("node", "role", "group")
        linked = GaugeMetricFamily(
            "sipgrace_controller_node_linked", "Whether its link is up.", labels=labels
        )
        state = GaugeMetricFamily(
            "sipgrace_controller_node_state", "1, with the state it was in last.", labels=(*labels, "state")
        )
        waiting = GaugeMetricFamily(
            "sipgrace_controller_node_calls_waiting",
            "Accepted calls that are not settled yet.",
            labels=labels,
        )
        seen = GaugeMetricFamily(
            "sipgrace_controller_node_last_seen_timestamp_seconds",
            "When it was heard of last.",
            labels=labels,
        )
        for member in self._fleet.members():
            which = (member.name, member.role, member.group)
            linked.add_metric(which, float(member.link is not None))
            state.add_metric((*which, member.state), 1.0)
            waiting.add_metric(which, float(member.standing.get("waiting") or 0))
            seen.add_metric(which, member.lastSeen)
        yield from (linked, state, waiting, seen)

    def _reach(self) -> Iterator[Metric]:
        view = self._overview.facts()
        reach: Counter[tuple[str, str]] = Counter()
        overdue: Counter[str] = Counter()
        for entry in view["mesh"]:
            if not entry["old"]:
                word = "skipped" if entry["skipped"] else "active" if entry["active"] else "away"
                reach[entry["server"], word] += 1
                overdue[entry["server"]] += bool(entry["overdue"])
        clients = GaugeMetricFamily(
            "sipgrace_controller_server_clients",
            "Clients by whether they send a server calls.",
            labels=("server", "reach"),
        )
        late = GaugeMetricFamily(
            "sipgrace_controller_server_overdue",
            "Clients that wait for a server to be back.",
            labels=("server",),
        )
        for server in sorted(overdue):
            for word in ("active", "away", "skipped"):
                clients.add_metric((server, word), reach[server, word])
            late.add_metric((server,), overdue[server])
        yield clients
        yield late
        conflicts = GaugeMetricFamily(
            "sipgrace_controller_conflicts", "Servers of which nodes say what does not fit.", labels=("kind",)
        )
        kinds = Counter(one["kind"] for one in view["conflicts"])
        for kind in _CONFLICTS:
            conflicts.add_metric((kind,), kinds[kind])
        yield conflicts
