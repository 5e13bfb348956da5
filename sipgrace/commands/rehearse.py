"""
The verb that shows what a drain would do: C{sipgrace rehearse}.
"""

from __future__ import annotations

from typing import Any

import click
from twisted.internet.defer import CancelledError

from sipgrace.commands.display import Nothing
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.commands.progress import follow
from sipgrace.commands.reach import Left, Reach, glance, reaching
from sipgrace.commands.signing import Signer, signing
from sipgrace.commands.wishes import wishing
from sipgrace.commands.words import count, seconds

__all__ = ["rehearse"]


def _lines(name: str, result: dict[str, Any]) -> list[tuple[str, str]]:
    """
    What a drain would do, for people: headings and values.
    """
    waiting = str(result["waiting"])
    if result.get("dialogs"):
        waiting += f", {result['dialogs']} of them going on"
    if result["oldest"] is not None:
        waiting += f", the oldest for {seconds(result['oldest'])}"
    cutOff = "not known" if result["cutOff"] is None else f"{result['cutOff']:g} to be expected"
    announced = result["announce"]
    if result["announcements"]:
        announced += f", {count(len(result['announcements']), 'announcement')} at once"
    found = [
        ("name", f"{name}: goes on serving"),
        ("guard", f"{seconds(result['guard'])}, by force after {seconds(result['forcedAfter'])}"),
        ("estimate", f"{seconds(result['guardEstimate'])} ({result['estimatedFrom']})"),
        ("back in", f"{seconds(result['retryAfter'])}, and up to {result['spread']} s more for each client"),
    ]
    if result["over"]:
        found.append(("slowing", f"for {seconds(result['over'])} before"))
    found += [
        ("then", result["then"]),
        ("announce", announced),
        ("calls left", waiting),
        ("cut off", cutOff),
        ("associations", str(result["associations"])),
        *(("client", f"{client}: {count(up, 'association')}") for client, up in result["clients"].items()),
        ("new calls", f"{result['newPerSecond']:g} a second"),
        (
            "refused",
            f"{result['refusedBefore']} until it is drained, {result['refusedWithin']} until it is back",
        ),
    ]
    return found


def _came(name: str, found: dict[str, Any]) -> str:
    """
    What would have come of it.
    """
    text = f"{name}: {found['settled']} of {count(found['waiting'], 'call')} settled"
    if found["drainedAfter"] is None:
        text += f", {found['cutOff']} would have been cut off"
    else:
        text += f", drained after {seconds(found['drainedAfter'])}"
    return f"{text}, {found['refused']} new would have been refused"


@click.command()
@reaching
@signing
@wishing
@click.option(
    "--wait", is_flag=True, help="Wait until that drain would be over, and say what would have come of it."
)
def rehearse(reach: Reach, wishes: dict[str, Any], wait: bool, signer: Signer | None) -> None:
    """
    Say what a drain now would do; nothing is changed.

    How long it would take and how many calls would be cut off is reckoned from the calls of late; clients
    hear nothing of it. With --json, the announcements are there word for word.

    With --wait it is also watched what becomes of the calls that are waiting now. Ctrl-C ends that.

    \b
      sipgrace rehearse --guard 10
      sipgrace rehearse --wait --json | jq .found
    """

    async def job(reactor: Any, node: Any) -> Outcome:
        name = (await glance(node))["name"]
        if signer is None:
            answer = await node.order("rehearse", **wishes)
        else:
            answer = await node.signed(signer.order(name, "rehearse", **wishes))
        facts = {"order": "rehearse", "name": name, "state": answer.state, **answer.result}
        text = "\n".join(f"{heading:<13} {value}" for heading, value in _lines(name, answer.result))
        if not wait:
            return Outcome(Exit.DONE, text, facts)
        if not reach.json:
            click.echo(text)
        try:
            found = await follow(reactor, node, node.rehearsed(answer), Nothing(), reach.timeout)
        except CancelledError:
            raise Left("left; it is not watched any more, and nothing was changed") from None
        return Outcome(Exit.DONE, _came(name, found), {**facts, "found": found})

    reach.carryOut(job)
