"""
What a server or a client tells Prometheus.

Nothing is counted for this: it reads what the node tells of itself anyway, when it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

__all__ = ["STATES", "NodeCollector", "counter", "gauge"]

Facts = Mapping[str, Any]

#: As L{sipgrace.lifecycle.events.State} has them.
STATES: Final = ("serving", "slowing", "draining", "drained", "offline", "returning")

#: Name, status, what it is.
_GAUGES: Final = (
    ("calls_waiting", "waiting", "Accepted calls that are not settled yet."),
    ("calls_dialogs", "dialogs", "Calls that are known as a whole; 0 unless these are followed."),
    ("associations", "associations", "SIP associations that are up."),
    ("guard_left_seconds", "guardLeft", "Seconds until the guard of the drain under way."),
    ("retry_after_left_seconds", "retryAfter", "Seconds for which clients are asked to stay away."),
    ("refused_ratio", "refusedShare", "Share of new calls that is refused now."),
    ("back_in_seconds", "backIn", "Seconds until it comes back by itself."),
)
_COUNTERS: Final = (
    ("calls_accepted", "accepted", "Calls accepted."),
    ("calls_settled", "settled", "Calls settled, those ended by force among them."),
    ("calls_forced", "forced", "Calls ended by force."),
    ("calls_refused", "refused", "New calls refused because it was leaving service, or gone."),
    ("calls_yielded", "yielded", "Calls that go before others and passed a drain."),
    ("calls_rerouted", "reroutes", "Calls that were tried at another server."),
    ("calls_unserved", "unserved", "Calls answered 503 because no server took them."),
    ("calls_tdm", "tdm", "Calls sent to the TDM route."),
)
#: Of a client's servers.
_SERVER_GAUGES: Final = (
    ("server_active", "active", "Whether it sends calls there."),
    ("server_countdown_seconds", "countdown", "Seconds for which it leaves the server alone."),
    ("server_latency_seconds", "latency", "How long the last status test took."),
    ("server_calls", "underWay", "Calls under way there."),
    ("server_throttle_percent", "throttle", "Share of calls held back as the server asked (RFC 7339)."),
    ("server_overdue_seconds", "overdue", "For how long it has been expected back."),
)
_SERVER_COUNTS: Final = ("answered", "unanswered", "refused", "throttled", "spared")
_TRANSACTIONS: Final = ("inviteServers", "nonInviteServers", "inviteClients", "nonInviteClients")


def gauge(name: str, says: str, value: Any) -> Iterator[Metric]:
    """
    @return: a gauge without labels; with nothing in it where there is no value.
    """
    yield GaugeMetricFamily(f"sipgrace_{name}", says, None if value is None else float(value))


def counter(name: str, says: str, label: str, counts: Iterable[tuple[str, Any]]) -> Iterator[Metric]:
    """
    @return: a counter with one label.
    """
    family = CounterMetricFamily(f"sipgrace_{name}", says, labels=(label,))
    for which, count in counts:
        family.add_metric((which,), float(count))
    yield family


class NodeCollector(Collector):
    """
    Reads what a node tells of itself whenever it is scraped.

    @param read: how things stand; see L{sipgrace.element.Element.status}.
    """

    def __init__(self, read: Callable[[], Facts], version: str) -> None:
        self._read = read
        self._version = version

    def describe(self) -> Iterable[Metric]:
        """
        See C{Collector}: what there is depends on the node.
        """
        return ()

    def collect(self) -> Iterator[Metric]:
        """
        See C{Collector}.
        """
        status = self._read()
        info = {"name": status["name"], "role": status["role"], "version": self._version}
        yield InfoMetricFamily("sipgrace", "Which node this is.", info)
        state = GaugeMetricFamily("sipgrace_state", "Where it stands: 1 at one state.", labels=("state",))
        for one in STATES:
            state.add_metric((one,), float(one == status["state"]))
        yield state
        for name, key, says in _GAUGES:
            yield from gauge(name, says, status.get(key))
        for name, key, says in _COUNTERS:
            if key in status:
                yield CounterMetricFamily(f"sipgrace_{name}", says, float(status[key]))
        yield from self._times(status)
        yield from self._machinery(status)
        yield from self._clients(status)
        yield from self._servers(status)
        yield from self._users(status)
        yield from self._workers(status)
        linked = GaugeMetricFamily(
            "sipgrace_controller_link_up", "Whether the link to a controller is up.", labels=("controller",)
        )
        for one in status.get("controllers", ()):
            linked.add_metric((one["name"],), float(one["state"] == "Linked"))
        yield linked

    def _times(self, status: Facts) -> Iterator[Metric]:
        estimate = status["guardEstimate"]["seconds"]
        yield from gauge("guard_estimate_seconds", "The guard that a drain would need now.", estimate)
        times = GaugeMetricFamily(
            "sipgrace_setup_time_seconds",
            "How long calls took to set up lately.",
            labels=("quantile",),
        )
        for quantile, key in (("0.5", "median"), ("0.99", "p99")):
            if status["setupTimes"][key] is not None:
                times.add_metric((quantile,), float(status["setupTimes"][key]))
        yield times

    def _machinery(self, status: Facts) -> Iterator[Metric]:
        yield from counter("proxy_events", "What became of requests.", "event", status["proxy"].items())
        yield from counter(
            "transport_events", "What happened to what arrived.", "event", status["transport"].items()
        )
        transactions = status["transactions"]
        kinds = GaugeMetricFamily("sipgrace_transactions", "Transactions.", labels=("kind",))
        for kind in _TRANSACTIONS:
            kinds.add_metric((kind,), float(transactions[kind]))
        yield kinds
        yield CounterMetricFamily(
            "sipgrace_transactions_shed", "Requests turned away at the limit.", float(transactions["shed"])
        )

    def _clients(self, status: Facts) -> Iterator[Metric]:
        if "clients" not in status:
            return
        family = GaugeMetricFamily(
            "sipgrace_client_associations", "Associations that a client has up.", labels=("client",)
        )
        for client, up in status["clients"].items():
            family.add_metric((client,), float(up))
        yield family
        announcements = status["announcements"]
        yield from gauge("subscriptions", "Clients to be told unasked.", announcements["subscriptions"])
        yield CounterMetricFamily(
            "sipgrace_notifications", "Clients told unasked.", float(announcements["notified"])
        )

    def _users(self, status: Facts) -> Iterator[Metric]:
        registrar = status.get("registrar")
        if registrar is not None:
            yield from gauge("registered_users", "Users who are registered.", registrar["users"])
            yield from gauge("registered_places", "In how many places they are.", registrar["bindings"])
            says = "Registrations with wrong credentials."
            yield CounterMetricFamily("sipgrace_registrations_refused", says, float(registrar["refused"]))

    def _workers(self, status: Facts) -> Iterator[Metric]:
        workers = status.get("workers", ())
        if not workers:
            return
        up = GaugeMetricFamily("sipgrace_worker_up", "Whether a worker is up.", labels=("worker",))
        waiting = GaugeMetricFamily("sipgrace_worker_waiting", "Calls that it has.", labels=("worker",))
        for one in workers:
            up.add_metric((str(one["number"]),), float(one["state"] == "up"))
            waiting.add_metric((str(one["number"]),), float(one["waiting"]))
        yield up
        yield waiting
        starts = ((str(one["number"]), one["starts"]) for one in workers)
        yield from counter("worker_starts", "How often a worker was started.", "worker", starts)
        used = ((str(one["number"]), one["cpu"]) for one in workers)
        yield from counter("worker_processor_seconds", "Processor time of a worker.", "worker", used)

    def _servers(self, status: Facts) -> Iterator[Metric]:
        servers = status.get("servers", ())
        if not servers:
            return
        for name, key, says in _SERVER_GAUGES:
            family = GaugeMetricFamily(f"sipgrace_{name}", says, labels=("server",))
            for server in servers:
                if server[key] is not None:
                    family.add_metric((server["name"],), float(server[key]))
            yield family
        skipped = GaugeMetricFamily(
            "sipgrace_server_skipped", "Whether it was told to leave a server alone.", labels=("server",)
        )
        calls = CounterMetricFamily(
            "sipgrace_server_calls",
            "Calls sent to a server, and what came of them.",
            labels=("server", "outcome"),
        )
        for server in servers:
            skipped.add_metric((server["name"],), float(server["skipped"] is not None))
            for outcome in _SERVER_COUNTS:
                calls.add_metric((server["name"], outcome), float(server[outcome]))
        yield skipped
        yield calls
