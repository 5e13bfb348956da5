"""
The verbs that are about a controller's fleet: C{fleet}, C{orders}, C{audit}, C{announce}, C{forget}.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import click
from twisted.internet.defer import CancelledError

from sipgrace.commands.access import Control, controlling
from sipgrace.commands.numbers import Amount
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.commands.reach import Left
from sipgrace.commands.rollingprogress import rollingLine
from sipgrace.commands.show import happened
from sipgrace.commands.wishes import reason
from sipgrace.commands.words import count, moment, seconds, segment, table
from sipgrace.control.remote import Unreachable

__all__ = ["announce", "audit", "fleet", "forget", "orders"]

Facts = Mapping[str, Any]

_limit = click.option(
    "--limit",
    metavar="NUMBER",
    type=click.IntRange(1, 1000),
    default=20,
    show_default=True,
    help="At most so many, the latest.",
)


def _node(node: Facts, reach: dict[str, tuple[int, int]]) -> list[str]:
    standing = node["standing"]
    state = node["state"] if node["linked"] else f"lost ({node['state']})"
    left = standing.get("guardLeft")
    if node["linked"] and left is not None:
        state += f", {seconds(left)} until the guard"
    if "controller" in node:
        state += f", of {node['controller']}"
    if node["role"] == "server":
        active, known = reach.get(node["name"], (0, 0))
        whom = f"{active} of {count(known, 'client')}" if known else "-"
    else:
        peers = standing.get("peers", ())
        whom = f"{sum(_reaches(peer) for peer in peers)} of {count(len(peers), 'server')}"
    labels = " ".join(f"{name}={value}" for name, value in sorted(node["labels"].items()))
    return [node["name"], node["role"], node["group"], state, str(standing.get("waiting", "-")), whom, labels]


def _reaches(entry: Facts) -> bool:
    """
    Whether a client sends calls to a server: not where it was told to skip it, though that may well be up.
    """
    return bool(entry["active"]) and not entry.get("skipped")


def _troubles(view: Facts) -> list[str]:
    lost = [
        f"the link to {node['name']} is lost since {moment(node['since'])}: {node['lost']}"
        for node in view["nodes"]
        if not node["linked"]
    ]
    return [*(one["text"] for one in view["conflicts"]), *lost]


def shown(view: Facts) -> str:
    """
    A fleet for people.
    """
    reach: dict[str, tuple[int, int]] = {}
    for entry in view["mesh"]:
        if not entry["old"]:
            active, known = reach.get(entry["server"], (0, 0))
            reach[entry["server"]] = (active + _reaches(entry), known + 1)
    heads = ["NODE", "ROLE", "GROUP", "STATE", "CALLS", "REACHES", "LABELS"]
    nodes = sorted(view["nodes"], key=lambda node: (node["role"] != "server", node["name"]))
    lines = table(heads, [_node(node, reach) for node in nodes]) if nodes else ["no node has linked up yet"]
    return "\n".join([*lines, *(f"! {text}" for text in _troubles(view))])


@click.command()
@controlling
@click.option(
    "--check", is_flag=True, help="Exit with status 4 unless all are linked, and no words conflict."
)
@click.option("--watch", is_flag=True, help="Show what happens to all nodes, as it happens, until Ctrl-C.")
def fleet(control: Control, check: bool, watch: bool) -> None:
    """
    Show a controller's fleet: how each node stands, and what is wrong.

    Servers reach those clients that send them calls, clients those servers. A line that begins with ! is
    trouble: a link that is lost, or words of nodes that do not fit together.

    \b
      sipgrace fleet --check             for health checks
      sipgrace fleet --json | jq '.nodes[].state'
      sipgrace fleet --watch
    """

    async def job(reactor: Any, controller: Any) -> Outcome:
        if watch:
            return await _watched(controller, control.json)
        view = await controller.ask("GET", "fleet")
        troubles = _troubles(view)
        if check and troubles:
            return Outcome(Exit.OTHERWISE, "; ".join(troubles), view)
        return Outcome(Exit.DONE, shown(view), view)

    control.carryOut(job)


def noticed(kind: str, notice: Facts) -> str:
    """
    @return: one line about what happened; none where there is nothing to be said.
    """
    facts, node = notice.get("facts", {}), notice.get("node", "")
    if kind == "event":
        return f"{node}: {happened(facts)}"
    if kind == "order":
        order = facts["order"]
        why = facts["text"] or order.get("why", "")
        return f"{node}: {order['kind']} by {facts['who']}: {facts['outcome']}" + (f" ({why})" if why else "")
    if kind == "rolling":
        return rollingLine(facts)
    if kind == "alert":
        return f"! {facts['text']}" + (" (over)" if facts.get("state") == "resolved" else "")
    if kind == "node" and not facts.get("linked", True):
        return f"! the link to {node} is lost: {facts['lost']}"
    return ""


async def _watched(controller: Any, asJSON: bool) -> Outcome:
    def heard(kind: str, notice: Facts) -> None:
        try:
            if asJSON:
                click.echo(json.dumps({"kind": kind, **notice}, ensure_ascii=False))
            elif line := noticed(kind, notice):
                click.echo(f"{time.strftime('%H:%M:%S')} {line}")
        except OSError:
            # Nobody reads any more.
            stream.lost.cancel()

    stream = controller.events(heard)
    try:
        await stream.started
        why = await stream.lost
    except CancelledError:
        raise Left("") from None
    finally:
        stream.stop()
    raise Unreachable(why)


def _order(record: Facts) -> list[str]:
    order = record["order"]
    what = str(order["kind"]) + (f" {order['server']}" if order.get("server") else "")
    text = record["text"] or order.get("why", "")
    return [moment(record["at"]), record["node"], what, record["who"], record["outcome"], text, record["id"]]


@click.command()
@controlling
@click.option("--node", metavar="NAME", default="", help="Only those to this node.")
@_limit
@click.option("--withdraw", metavar="ID", help="Take this one, which is queued, back.")
def orders(control: Control, node: str, limit: int, withdraw: str | None) -> None:
    """
    List the latest orders of a controller, and what became of them.

    'queued' waits for the budget, 'obeyed' is under way, 'done' was carried out. What was not is 'refused',
    'undone' (taken back) or 'failed', and says why.
    """

    async def job(reactor: Any, controller: Any) -> Outcome:
        if withdraw is not None:
            record = await controller.ask("POST", f"orders/{segment(withdraw)}/withdraw")
            return Outcome(
                Exit.DONE, f"{record['node']}: the {record['order']['kind']} is withdrawn", {"order": record}
            )
        records = (await controller.ask("GET", "orders", query={"limit": limit, "node": node}))["orders"]
        heads = ["GIVEN", "NODE", "ORDER", "BY", "OUTCOME", "WHY", "ID"]
        text = "\n".join(table(heads, [_order(one) for one in records])) if records else "none was given"
        return Outcome(Exit.DONE, text, {"orders": records})

    control.carryOut(job)


def _record(record: Facts) -> str:
    order = record.get("order")
    what = [str(record.get("what", ""))]
    if isinstance(order, Mapping):
        what.append(str(order.get("kind", "")))
    what += [str(record[key]) for key in ("outcome", "node") if record.get(key)]
    if record.get("who"):
        what.append(f"by {record['who']}")
    why = (
        record.get("reason") or record.get("why") or (order.get("why") if isinstance(order, Mapping) else "")
    )
    text = " ".join(what) + (
        f": {json.dumps(why, ensure_ascii=False)[1:-1]}" if isinstance(why, str) and why else ""
    )
    said = ("at", "by", "id", "what", "outcome", "node", "who", "reason", "why", "order")
    rest = [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in record.items()
        if key not in said and value not in ("", None)
    ]
    return " ".join([moment(record.get("at")), text, *rest])


@click.command()
@controlling
@_limit
def audit(control: Control, limit: int) -> None:
    """
    Show the latest records of a controller's audit log, newest first.

    What was ordered, by whom, what became of it; and who was turned away: with a wrong token, a role that did
    not cover it, a wrong certificate.
    """

    async def job(reactor: Any, controller: Any) -> Outcome:
        records = (await controller.ask("GET", "audit", query={"limit": limit}))["records"]
        return Outcome(Exit.DONE, "\n".join(map(_record, records)), {"records": records})

    control.carryOut(job)


@click.command()
@controlling
@click.argument("server")
@click.option(
    "--for",
    "period",
    metavar="SECONDS",
    type=Amount(0, 604800, min_open=True),
    help="For so long, at most a week.",
)
@click.option(
    "--back",
    metavar="SECONDS",
    type=Amount(min=0),
    help="In how many seconds from now it is scheduled to return.",
)
@click.option("--available", is_flag=True, help="Tell them that it is available again.")
@reason
def announce(
    control: Control, server: str, period: float | None, back: float | None, available: bool, why: str
) -> None:
    """
    Tell all clients, on SERVER's behalf, that it is unavailable.

    For a server that hangs, or is none of sipgrace's: clients take it as the server's own word. The server
    itself is told nothing.

    \b
      sipgrace announce server-102 --for 600 --why "its disk is full"
      sipgrace announce server-102 --available
    """
    if available == (period is not None):
        raise click.UsageError("give either --for SECONDS or --available")

    async def job(reactor: Any, controller: Any) -> Outcome:
        path = f"announcements/{segment(server)}"
        if available:
            facts = await controller.ask("DELETE", path, query={"why": why})
        else:
            body = {"retryAfter": period, "why": why}
            if back is not None:
                body["back"] = time.time() + back
            facts = await controller.ask("POST", path, body)
        said = "available" if available else f"unavailable for {seconds(period or 0)}"
        return Outcome(Exit.DONE, f"{server} is {said}: {count(len(facts['told']), 'client')} told", facts)

    control.carryOut(job)


@click.command()
@controlling
@click.argument("node")
def forget(control: Control, node: str) -> None:
    """
    Forget NODE, which will not come back.

    It is dropped from the fleet, and no budget counts it any more. One that has a link is not forgotten.
    """

    async def job(reactor: Any, controller: Any) -> Outcome:
        await controller.ask("DELETE", f"nodes/{segment(node)}")
        return Outcome(Exit.DONE, f"{node} is forgotten", {"node": node})

    control.carryOut(job)
