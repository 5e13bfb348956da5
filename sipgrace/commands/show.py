"""
The verbs that look on.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import click
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import deferLater

from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.commands.reach import Left, Reach, reaching
from sipgrace.commands.words import count, names, seconds, waitedFor
from sipgrace.control.remote import Unreachable

__all__ = ["happened", "reroutes", "status", "watch"]

#: So often it is asked for a state that is waited for, in seconds.
WAITING = 0.25


def _lines(status: dict[str, Any]) -> list[tuple[str, str]]:
    """
    A status for people: headings and values.
    """
    # What has no calls does not say how it runs, nor does an older version.
    how = {True: ", compiled", False: ", interpreted"}.get(status.get("compiled", ""), "")
    version = f"version {status['version']}{how}"
    found = [
        ("name", f"{status['name']} ({status['role']}, {version}, pid {status['pid']})"),
        ("state", status["state"]),
    ]
    if status["role"] == "controller":
        return [*found, *_controller(status)]
    order = status["order"]
    if order is not None:
        given = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(order["when"]))
        why = f": {order['why']}" if order["why"] else ""
        found.append(("ordered", f"{order['kind']} by {order['who']} at {given}{why}"))
    left = str(status["waiting"])
    if status.get("dialogs"):
        left += f": {status['setups']} being set up, {status['dialogs']} going on"
    found.append(("calls left", left))
    if status.get("slowLeft") is not None:
        share = f"{status['refusedShare']:.0%} of the new calls are refused"
        found.append(("full stop", f"in {seconds(status['slowLeft'])}, {share}"))
    if status["guardLeft"] is not None:
        found.append(("guard", f"in {seconds(status['guardLeft'])}"))
    if status["retryAfter"] is not None:
        found.append(("back in", seconds(status["retryAfter"])))
    found.append(("associations", str(status["associations"])))
    if status.get("maintenance"):
        found.append(("maintenance", status["maintenance"]))
    found.append(
        (
            "since start",
            f"{status['accepted']} accepted, {status['settled']} settled, "
            f"{status['forced']} of them by force, {status['refused']} refused"
            + (f", {status['yielded']} let in nevertheless" if status["yielded"] else ""),
        )
    )
    found += [("listens at", listener) for listener in status["listeners"]]
    for worker in status.get("workers", ()):
        found.append(("worker", _worker(worker)))
    for path in status.get("paths", ()):
        chosen = ", primary" if path["primary"] else ""
        way = f"to {path['peer']} by {path['host']}"
        found.append(("path", f"{way}: {path['state']}{chosen}, {path['rtt']} ms"))
    for name, up in status.get("clients", {}).items():
        found.append(("client", f"{name}: {count(up, 'association')}"))
    for heading, several in (("waits for", waitedFor(status)), ("missing", status.get("missing"))):
        if several:
            found.append((heading, names(several)))
    found += [("refuses", _refuses(one)) for one in status.get("rejects", ())]
    if status.get("registrar"):
        counts = status["registrar"]
        found.append(
            ("registered", f"{count(counts['users'], 'user')} in {count(counts['bindings'], 'place')}")
        )
    for domain in status.get("domains", ()):
        found.append(("domain", _domain(domain)))
    for server in status.get("servers", ()):
        found.append(("server", _server(server)))
    for one in status.get("controllers", ()):
        trouble = f" ({one['trouble']})" if one["trouble"] else ""
        found.append(("controller", f"{one['name']}: {one['state'].lower()}{trouble}"))
    if "reroutes" in status:
        found.append(("reroutes", str(status["reroutes"])))
    if status.get("unserved"):
        found.append(("answered 503", f"{count(status['unserved'], 'call')}, which no server took"))
    return found


def _controller(status: dict[str, Any]) -> list[tuple[str, str]]:
    found = [("nodes", f"{status['linked']} linked, {len(status['lost'])} lost")]
    found += [("lost", name) for name in status["lost"]]
    found += [("peer", f"{peer['name']}: {peer['state'].lower()}") for peer in status["peers"]]
    return [*found, ("links at", status["links"] or "-"), ("API at", status["http"] or "-")]


def _refuses(rule: dict[str, Any]) -> str:
    return f"{rule['name']}, by {rule['who']}" + (f": {rule['why']}" if rule["why"] else "")


def _worker(worker: dict[str, Any]) -> str:
    text = f"{worker['number']}: {worker['state']}"
    if worker["pid"]:
        text += f", pid {worker['pid']}"
    text += f", {count(worker['waiting'], 'call')} left, {count(worker['associations'], 'association')}"
    if worker["starts"] > 1:
        text += f", started {worker['starts']} times"
    return text


def _domain(domain: dict[str, Any]) -> str:
    text = f"{domain['name']}, {domain['uri']}: {count(len(domain['servers']), 'server')}"
    if domain["again"] is not None:
        text += f", to be looked up in {seconds(domain['again'])}"
    if domain["trouble"]:
        text += f" ({domain['trouble']})"
    return text


def _server(server: dict[str, Any]) -> str:
    text = f"{server['name']}: {server['state'].lower()} for {seconds(server['for'])}"
    if server["countdown"]:
        text += f", left alone for {seconds(server['countdown'])}"
    if server.get("skipped") is not None:
        skipped = server["skipped"]
        text += f", skipped by {skipped['who']}" + (f": {skipped['why']}" if skipped["why"] else "")
    if server.get("overdue") is not None:
        text += ", overdue"
    if not server["active"] and server["lastTrouble"]:
        text += f" ({server['lastTrouble'].rstrip('.')})"
    return text


@click.command()
@reaching
@click.option(
    "--is",
    "wanted",
    metavar="STATE",
    type=click.Choice(["serving", "slowing", "draining", "drained", "offline", "returning"]),
    help="Exit with status 4 unless it is in this state: serving, slowing (about to drain), draining, "
    "drained, offline or returning.",
)
@click.option("--wait", is_flag=True, help="With --is: wait until it is in that state.")
def status(reach: Reach, wanted: str | None, wait: bool) -> None:
    """
    Show how things stand.

    With --json, all that the process tells of itself; times are in seconds.

    \b
      sipgrace status --is serving       for health checks
      sipgrace status --is offline --wait
      sipgrace status --json | jq .waiting
    """

    if wait and wanted is None:
        raise click.UsageError("--wait is for --is STATE: which state is waited for")

    async def job(reactor: Any, node: Any) -> Outcome:
        found = await node.status()
        while wait and found["state"] != wanted:
            try:
                await deferLater(reactor, WAITING)
                found = await node.status()
            except CancelledError:
                raise Left("") from None
        if wanted is not None and found["state"] != wanted:
            return Outcome(Exit.OTHERWISE, f"{found['name']}: not {wanted} but {found['state']}", found)
        text = "\n".join(f"{heading:<13} {value}" for heading, value in _lines(found))
        return Outcome(Exit.DONE, text, found)

    reach.carryOut(job)


@click.command()
@reaching
def watch(reach: Reach) -> None:
    """
    Show what happens, as it happens, until Ctrl-C.

    One line an event; with --json, one JSON object a line. Ends with status 3 when the process does.
    """

    async def job(reactor: Any, node: Any) -> Outcome:
        ended: Deferred[None] = node.whenLost()

        def tell(event: dict[str, Any]) -> None:
            try:
                _printed(event) if reach.json else _told(event)
            except OSError:
                # Nobody reads any more.
                ended.cancel()

        await node.watch(tell)
        try:
            await ended
        except CancelledError:
            raise Left("") from None
        raise Unreachable("it has closed the connection; its process has probably ended")

    reach.carryOut(job)


def _printed(event: dict[str, Any]) -> None:
    click.echo(json.dumps(event, ensure_ascii=False))


def _told(event: dict[str, Any]) -> None:
    at = time.strftime("%H:%M:%S", time.localtime(event["at"]))
    click.echo(f"{at} {happened(event)}")


def happened(event: Mapping[str, Any]) -> str:
    """
    @return: an event in words.
    """
    order = event["order"]
    parts = [event["change"]]
    if order is not None:
        parts.append(f"ordered by {order['who']}" + (f": {order['why']}" if order["why"] else ""))
    parts += [f"{count(event['waiting'], 'call')} left", count(event["associations"], "association")]
    if event["guardLeft"] is not None:
        parts.append(f"{seconds(event['guardLeft'])} until the guard")
    if event["forced"]:
        parts.append(f"{count(event['forced'], 'call')} ended by force")
    if event["aborted"]:
        parts.append(f"{count(event['aborted'], 'association')} aborted")
    if event["text"]:
        parts.append(event["text"])
    return ", ".join(parts)


@click.command()
@reaching
@click.option(
    "--since", metavar="NUMBER", type=click.IntRange(min=0), default=0, help="Only those after this number."
)
def reroutes(reach: Reach, since: int) -> None:
    """
    List the calls that a client had to try at another server.

    The last 10,000 of them are kept. Each has a number, to be given to --since the next time, the Call-ID,
    the server that did not take it, and why: timeout, lost (the association) or answer (503).
    """

    async def job(reactor: Any, node: Any) -> Outcome:
        found = await node.reroutes(since)
        text = "\n".join(f"{one['number']} {one['callId']} {one['server']} {one['reason']}" for one in found)
        return Outcome(Exit.DONE, text, {"reroutes": found})

    reach.carryOut(job)
