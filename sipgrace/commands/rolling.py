"""
The verb C{rolling}: servers maintained one after another.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred

from sipgrace.commands.access import Control, controlling
from sipgrace.commands.numbers import Amount
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.commands.reach import Left
from sipgrace.commands.rollingprogress import rollingDisplayFor, rollingLine
from sipgrace.commands.wishes import AWAY, GUARD
from sipgrace.commands.words import count, moment, seconds, segment
from sipgrace.control.remote import Unreachable
from sipgrace.lifecycle.orders import Announce

__all__ = ["asked", "rolling", "selecting"]

_SECONDS = Amount(min=0)


def _labels(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for value in values:
        name, equals, word = value.partition("=")
        if not equals or not name or not word:
            raise click.BadParameter(f"NAME=VALUE is expected, found {value!r}")
        found[name] = word
    return found


_OPTIONS = (
    click.option("--all", "everyone", is_flag=True, help="All servers of the fleet."),
    click.option(
        "--select",
        metavar="NAME=VALUE",
        multiple=True,
        callback=_labels,
        help="Those servers that have this label; several times for several.",
    ),
    click.option("--servers", metavar="NAME,...", help="These, in this order."),
    click.option(
        "--at-once",
        metavar="NUMBER",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="So many at a time, as far as the budget goes.",
    ),
    click.option(
        "--settle",
        metavar="SECONDS",
        type=_SECONDS,
        default=10.0,
        show_default=True,
        help="So long its clients have to see a server healthy before the next.",
    ),
    click.option("--guard", metavar="SECONDS", type=GUARD, help="As for 'sipgrace drain'."),
    click.option(
        "--retry-after", "retryAfter", metavar="SECONDS", type=AWAY, help="As for 'sipgrace drain'."
    ),
    click.option("--over", metavar="SECONDS", type=GUARD, help="As for 'sipgrace drain'."),
    click.option(
        "--announce", type=click.Choice([str(way) for way in Announce]), help="As for 'sipgrace drain'."
    ),
    click.option(
        "--then",
        type=click.Choice(["run", "stay", "exit"]),
        default="run",
        show_default=True,
        help="Once it is offline: its maintenance command is run, nothing, or its process ends, to be begun "
        "again by what supervises it.",
    ),
    click.option(
        "--limit",
        "timeLimit",
        metavar="SECONDS",
        type=Amount(min=0, min_open=True),
        default=600.0,
        show_default=True,
        help="One server may take so long; then it is trouble.",
    ),
    click.option("--why", metavar="TEXT", default="", help="The reason, for those who ask."),
)


def selecting(function: Any) -> Any:
    """
    Gives a command the options that say of whom and how; see L{asked}.
    """
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def asked(options: dict[str, Any]) -> dict[str, Any]:
    """
    What these options ask for, as L{sipgrace.controller.web.asked.RollingAsked} has it.

    @raise click.UsageError: when it is not said of whom, or twice.
    """
    everyone, select, servers = options["everyone"], options["select"], options["servers"]
    if sum(map(bool, (everyone, select, servers))) != 1:
        raise click.UsageError("of whom? Give one of --all, --select NAME=VALUE and --servers NAME,...")
    found: dict[str, Any] = {
        "atOnce": options["at_once"],
        "settle": options["settle"],
        "then": options["then"],
        "timeout": options["timeLimit"],
    }
    for key in ("guard", "retryAfter", "over", "announce", "why"):
        if options[key] not in (None, ""):
            found[key] = options[key]
    if servers:
        found["servers"] = [name.strip() for name in servers.split(",") if name.strip()]
    else:
        found["select"] = select
    return found


async def begin(reactor: Any, controller: Any, body: dict[str, Any], wait: bool, asJSON: bool) -> Outcome:
    """
    Begins one.
    """
    if not wait:
        record = await controller.ask("POST", "rollings", body)
        return Outcome(Exit.DONE, rollingLine(record), {"rolling": record})
    return await _Waiting(controller, asJSON).outcome(reactor, body)


class _Waiting:
    """
    One that is waited for.
    """

    def __init__(self, controller: Any, asJSON: bool) -> None:
        self._controller = controller
        self._display = rollingDisplayFor(asJSON)
        self._record: dict[str, Any] = {}
        self._early: dict[str, dict[str, Any]] = {}
        self._calls: dict[str, int] = {}
        self._queued: dict[str, str] = {}
        self._over: Deferred[None] = Deferred()

    async def outcome(self, reactor: Any, body: dict[str, Any]) -> Outcome:
        """
        Begins it, and waits.
        """
        began = reactor.seconds()
        stream = self._controller.events(self._heard)
        stream.lost.addCallback(self._lost)
        try:
            await stream.started
            record = await self._controller.ask("POST", "rollings", body)
            self._changed(self._early.get(record["id"], record))
            try:
                await self._over
            except CancelledError:
                raise Left(
                    "left; the rolling maintenance goes on ('sipgrace rolling list' shows it, 'sipgrace "
                    "rolling pause' begins with no further server)"
                ) from None
        finally:
            stream.stop()
            self._display.close()
        return ended(self._record, reactor.seconds() - began)

    def _heard(self, kind: str, notice: dict[str, Any]) -> None:
        facts = notice.get("facts", {})
        if kind == "rolling":
            self._early[facts["id"]] = facts
            if facts["id"] == self._record.get("id"):
                self._changed(facts)
        elif kind == "node":
            self._calls[notice["node"]] = (facts.get("standing") or {}).get("waiting", 0)
            if self._record:
                self._show()
        elif kind == "order" and facts["order"]["kind"] == "drain":
            # While it waits for the budget it is the budget's business, and the server serves.
            self._queued.pop(facts["node"], None)
            if facts["outcome"] == "queued" and facts["rolling"] and facts["text"]:
                self._queued[facts["node"]] = facts["text"]
            if self._record:
                self._show()
        elif kind == "hello" and not notice["resumed"] and self._record:
            path = f"rollings/{segment(self._record['id'])}"
            Deferred.fromCoroutine(self._controller.ask("GET", path)).addCallbacks(
                self._changed, lambda _: None
            )

    def _changed(self, record: dict[str, Any]) -> None:
        self._record = record
        self._show()
        if record["progress"] in ("done", "stopped", "trouble") and not self._over.called:
            self._over.callback(None)

    def _show(self) -> None:
        # When nobody looks on any more, that is no reason to wait no longer.
        with suppress(OSError):
            self._display.update(self._record, self._calls, self._queued)

    def _lost(self, why: str) -> None:
        if not self._over.called:
            self._over.errback(Unreachable(f"{why}; the rolling maintenance goes on as far as it can"))


def ended(record: dict[str, Any], took: float) -> Outcome:
    """
    What came of one that was waited for.
    """
    if record["progress"] == "done":
        many = count(len(record["servers"]), "server")
        text = f"{many} maintained after {seconds(took)}"
        return Outcome(Exit.DONE, text, {"rolling": record, "seconds": round(took, 3)})
    return Outcome(Exit.OTHERWISE, rollingLine(record), {"rolling": record, "seconds": round(took, 3)})


async def turned(controller: Any, verb: str, id: str) -> Outcome:
    """
    Pauses one, goes on with it or stops it.

    @param id: which; empty for the only one that has not ended.
    """
    if not id:
        records = (await controller.ask("GET", "rollings"))["rollings"]
        # What has stopped at trouble may be gone on with.
        found = [one["id"] for one in records if one["progress"] not in ("done", "stopped")]
        if len(found) != 1:
            which = (
                f"these have not ended: {', '.join(found)}" if found else "there is none that has not ended"
            )
            return Outcome(Exit.REFUSED, f"refused: which one? Name it; {which}")
        (id,) = found
    record = await controller.ask("POST", f"rollings/{segment(id)}/{verb}")
    return Outcome(Exit.DONE, rollingLine(record), {"rolling": record})


async def listed(controller: Any) -> Outcome:
    """
    Lists the latest.
    """
    records = (await controller.ask("GET", "rollings"))["rollings"]
    text = "\n".join(f"{moment(one['at'])} {rollingLine(one)}" for one in records)
    return Outcome(Exit.DONE, text or "there has been no rolling maintenance yet", {"rollings": records})


@click.command()
@controlling
@click.argument("verb", type=click.Choice(["list", "pause", "proceed", "stop"]), required=False)
@click.argument("id", required=False)
@selecting
@click.option("--wait", is_flag=True, help="Wait until it is over, and show how it goes.")
def rolling(
    control: Control,
    verb: str | None,
    id: str | None,
    wait: bool,
    **options: Any,
) -> None:
    """
    Maintain servers one after another, or so many at a time.

    Each is drained, runs its maintenance command, is resumed, and has to be seen healthy by its clients for a
    while before the next one. It stops at the first trouble, and says where. The controller sees to it, also
    when it is restarted meanwhile.

    'list' shows the latest. 'pause' begins with no further server, 'proceed' goes on (also after trouble),
    'stop' brings back those that have been begun and ends it; they take the ID that 'list' shows, which may
    be left out when only one has not ended.

    With --wait, Ctrl-C ends the waiting alone. The exit status is 4 when it stopped.

    \b
      sipgrace rolling --all --wait --why "monthly updates"
      sipgrace rolling --select site=north --at-once 2
      sipgrace rolling pause
    """
    if verb is not None and (wait or options["everyone"] or options["select"] or options["servers"]):
        raise click.UsageError(f"'{verb}' is about one that has begun, and takes no more than its ID")
    body = {} if verb else asked(options)

    async def job(reactor: Any, controller: Any) -> Outcome:
        if verb is None:
            return await begin(reactor, controller, body, wait, control.json)
        return await (listed(controller) if verb == "list" else turned(controller, verb, id or ""))

    control.carryOut(job)
