"""
The verbs that give orders.
"""

from __future__ import annotations

from typing import Any

import click
from twisted.internet.defer import CancelledError
from twisted.internet.task import deferLater

from sipgrace.commands.numbers import Amount
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.commands.progress import displayFor, follow
from sipgrace.commands.reach import Left, Reach, glance, reaching
from sipgrace.commands.signing import Signer, signing
from sipgrace.commands.wishes import reason, wishing
from sipgrace.commands.words import count, names, seconds, standing
from sipgrace.control.remote import Answer, Unreachable
from sipgrace.lifecycle.orders import LONGEST_GUARD

__all__ = ["Giving", "cancel", "drain", "extend", "offline", "resume", "skip", "unskip", "waitingToo"]

#: So often it is asked whether the command that follows a drain is done, or the clients are back, in seconds.
AGAIN = 0.5

#: For orders that have come to their end when they are obeyed.
waitingToo = click.option(
    "--wait",
    is_flag=True,
    expose_value=False,
    help="As for the others; what it orders is done when it is obeyed.",
)


class Giving:
    """
    One order, from giving it to what became of it.

    @param ends: the state that it leads to, and the one that it may lead to instead, where that is awaited.
    @param signer: signs it, where it is to be signed.
    @param strict: whether calls that were ended by force make it something else than was waited for.
    """

    def __init__(
        self,
        reach: Reach,
        kind: str,
        ends: tuple[str, str] | None = None,
        signer: Signer | None = None,
        strict: bool = False,
        **values: Any,
    ) -> None:
        self._reach = reach
        self._kind = kind
        self._ends = ends
        self._signer = signer
        self._strict = strict
        self._values = values
        self._events: list[dict[str, Any]] = []

    async def __call__(self, reactor: Any, node: Any) -> Outcome:
        """
        See L{sipgrace.commands.reach.Job}.
        """
        name = (await glance(node))["name"]
        await node.watch(self._events.append)
        began = reactor.seconds()
        if self._signer is None:
            answer = await node.order(self._kind, **self._values)
        else:
            answer = await node.signed(self._signer.order(name, self._kind, **self._values))
        if self._ends is None and answer.state == "queued":
            why = answer.result["queued"]
            facts = {"order": self._kind, "name": name, "state": "queued", "id": answer.id, "why": why}
            return Outcome(Exit.DONE, f"{name}: the {self._kind} is queued{why and f': {why}'}", facts)
        if self._ends is None:
            return await self._obeyed(node, name, answer)
        timeout, asJSON = self._reach.timeout, self._reach.json
        done: dict[str, Any] | None = None
        try:
            ended = self._ended(reactor, node, answer)
            last = await follow(reactor, node, ended, displayFor(asJSON, self._ends[0]), timeout)
            if last["state"] == "offline" == self._ends[0]:
                done = await self._maintained(reactor, node, name, answer)
        except CancelledError:
            raise Left(f"left; {_goesOn(self._kind)}") from None
        return self._became(name, last, answer, reactor.seconds() - began, done)

    async def _ended(self, reactor: Any, node: Any, answer: Answer) -> dict[str, Any]:
        """
        Waits until it is in one of the states that end the waiting; where that is to serve, until its clients
        are back as well.

        @return: how it stands.
        """
        assert self._ends is not None
        last: dict[str, Any] = await node.when(self._ends, answer)
        if not last["state"] == "serving" == self._ends[0]:
            return last
        while True:
            status: dict[str, Any] = await node.status()
            if status["state"] != "serving":
                return {"state": status["state"], "order": status["order"], "change": status["state"]}
            if not status.get("awaited"):
                return {**last, "missing": status.get("missing") or []}
            await deferLater(reactor, AGAIN)

    async def _maintained(
        self, reactor: Any, node: Any, name: str, answer: Answer
    ) -> dict[str, Any] | None:
        """
        Waits for the command that follows a drain.

        @return: what became of it, as the status has it; C{None} where none was run.
        """
        running = False
        while True:
            try:
                status = await node.status()
            except Unreachable:
                # It may have ended, as it was told to.
                if running:
                    raise
                return None
            if status.get("maintenance") != "running":
                done: dict[str, Any] | None = status.get("maintained")
                return done if done is not None and done["number"] > answer.number else None
            if not running and not self._reach.json:
                click.echo(f"{name}: offline, and its command is running")
            running = True
            await deferLater(reactor, AGAIN)

    async def _obeyed(self, node: Any, name: str, answer: Answer) -> Outcome:
        facts = {"order": self._kind, "name": name, "state": answer.state}
        text = f"{name}: {answer.state}"
        try:
            status = await glance(node)
        except Unreachable:
            # Its process has ended since; the order was obeyed all the same.
            pass
        else:
            keys = ("state", "waiting", "associations", "guardLeft", "retryAfter")
            facts |= {key: status[key] for key in keys}
            text = standing(status)
        for word, say in (("skipped", _skipped), ("rejects", _rejects)):
            if isinstance(answer.result, dict) and word in answer.result:
                facts |= answer.result
                text = say(name, answer.result)
        sums = self._sums(answer)
        return Outcome(Exit.DONE, text + _byForce(sums), facts | sums)

    def _became(
        self,
        name: str,
        last: dict[str, Any],
        answer: Answer,
        took: float,
        done: dict[str, Any] | None = None,
    ) -> Outcome:
        assert self._ends is not None
        wanted, _ = self._ends
        state = last["state"]
        sums = self._sums(answer)
        facts = {"order": self._kind, "name": name, "state": state, "seconds": round(took, 3), **sums}
        if state == wanted:
            text = f"{name}: {state} after {seconds(took)}{_byForce(sums)}"
            good = not (self._strict and sums["forced"])
            if last.get("missing"):
                facts["missing"] = last["missing"]
                text += f", without {names(last['missing'])}"
                good = False
            if done is not None:
                facts["maintenance"] = {key: value for key, value in done.items() if key != "number"}
                text += f"; its command: {_outcome(done)}"
                good = good and done["exit_status"] == 0
            return Outcome(Exit.DONE if good else Exit.OTHERWISE, text, facts)
        return Outcome(Exit.OTHERWISE, f"{name}: not {wanted} but {state}{_because(last)}", facts)

    def _sums(self, answer: Answer) -> dict[str, int]:
        events = [event for event in self._events if event["number"] > answer.number]
        return {key: sum(event[key] for event in events) for key in ("forced", "aborted")}


def _because(event: dict[str, Any]) -> str:
    if event.get("text"):
        return f": {event['text']}"
    order = event.get("order")
    if order is None:
        return ""
    return f": {event['change']} by {order['who']}" + (f": {order['why']}" if order["why"] else "")


def _outcome(done: dict[str, Any]) -> str:
    if done["exit_status"] is not None:
        text = f"exit status {done['exit_status']}"
    elif done["signal"]:
        text = f"ended by {done['signal']}"
    else:
        text = "could not be started"
    return f"{text}, its time was over" if done["timed_out"] else text


def _byForce(sums: dict[str, int]) -> str:
    text = ""
    if sums["forced"]:
        text += f", {count(sums['forced'], 'call')} ended by force"
    if sums["aborted"]:
        text += f", {count(sums['aborted'], 'association')} aborted"
    return text


def _skipped(name: str, result: dict[str, Any]) -> str:
    text = f"{name}: {result['server']} is {'skipped' if result['skipped'] else 'not skipped any more'}"
    if result["kept"] or not result["skipped"]:
        return text
    return f"{text}, until its process ends: client.skips names no file"


def _rejects(name: str, result: dict[str, Any]) -> str:
    does = "refuses" if result["rejects"] else "does not refuse any more"
    text = f"{name} {does} the calls of the rule {result['rule']}"
    if result["kept"] or not result["rejects"]:
        return text
    return f"{text}, until its process ends: server.rejects names no file"


def _goesOn(kind: str) -> str:
    if kind == "drain":
        return (
            "the drain goes on ('sipgrace status --is offline --wait' waits on, 'sipgrace cancel' takes it "
            "back)"
        )
    return f"the {kind} goes on ('sipgrace status' shows it)"


@click.command()
@reaching
@signing
@wishing
@click.option("--wait", is_flag=True, help="Wait until it is offline, and show the calls and the time left.")
@click.option(
    "--queue",
    is_flag=True,
    help="With a controller: wait until the budget of its group has room, rather than be refused.",
)
@click.option(
    "--strict", is_flag=True, help="With --wait: exit with status 4, too, when calls were ended by force."
)
def drain(
    reach: Reach, wishes: dict[str, Any], wait: bool, queue: bool, strict: bool, signer: Signer | None
) -> None:
    """
    Take it out of service without losing a call.

    New calls are refused from now on, so that clients try other servers; accepted ones are set up to their
    end. When none is left, or the guard is near, its associations are shut down, and it is offline until
    'sipgrace resume'. Its process goes on, unless --then says otherwise. 'sipgrace rehearse' says beforehand
    what all this would come to.

    A drain that is under way is joined, unless a later guard is asked for (see 'sipgrace extend'): the
    earlier full stop and guard count. So without --over a gradual one stops at once, unless 'over' is
    configured. To wait for a drain without changing it: 'sipgrace status --is offline --wait'.

    With --wait, Ctrl-C ends the waiting alone; the drain goes on. Where a command follows it, that is waited
    for, too. When somebody takes the drain back meanwhile, or the command does not end with status 0, the
    exit status is 4.

    \b
      sipgrace drain --wait --why "new kernel" && systemctl reboot
      sipgrace drain --guard 60 --retry-after 300
      sipgrace drain --over 120 --then exit --back 1800
    """
    if queue:
        if reach.access is None:
            raise click.UsageError("--queue is for a controller, whose budget there may be no room in")
        wishes["queue"] = True
    if strict and not wait:
        raise click.UsageError("--strict is for --wait: what was ended by force is known at the end")
    ends = ("offline", "serving") if wait else None
    reach.carryOut(Giving(reach, "drain", ends, signer, strict, **wishes))


@click.command()
@reaching
@signing
@reason
@click.option("--wait", is_flag=True, help="Wait until it serves.")
def cancel(reach: Reach, why: str, wait: bool, signer: Signer | None) -> None:
    """
    Take a drain back: it serves again at once.

    Only while it is draining. Once its associations are being shut down, wait until it is offline, and use
    'sipgrace resume'.
    """
    reach.carryOut(Giving(reach, "cancel", ("serving", "offline") if wait else None, signer, why=why))


@click.command()
@reaching
@signing
@click.argument("seconds", type=Amount(min=0, min_open=True, max=LONGEST_GUARD))
@reason
@click.option("--wait", is_flag=True, help="Wait for the end of the drain.")
def extend(reach: Reach, seconds: float, why: str, wait: bool, signer: Signer | None) -> None:
    """
    Give a drain SECONDS more.

    The guard moves, and with it the time that clients are asked to stay away. With --wait
    it is as for a drain.
    """
    ends = ("offline", "serving") if wait else None
    reach.carryOut(Giving(reach, "extend", ends, signer, guard=seconds, why=why))


@click.command()
@reaching
@signing
@reason
@click.option("--wait", is_flag=True, help="Wait until it serves and its clients are back.")
def resume(reach: Reach, why: str, wait: bool, signer: Signer | None) -> None:
    """
    Bring it back into service.

    It listens again, and clients come back when the time is over for which they were asked to stay away, or
    when they find it sooner. With --wait, which waits for those that it had before, another server can leave
    as soon as this has ended; the exit status is 4 when it cannot listen, or some did not come back.
    """
    reach.carryOut(Giving(reach, "resume", ("serving", "offline") if wait else None, signer, why=why))


@click.command()
@reaching
@signing
@reason
@click.option("--wait", is_flag=True, help="Wait until it is offline.")
def offline(reach: Reach, why: str, wait: bool, signer: Signer | None) -> None:
    """
    Take it out of service at once, ending accepted calls.

    Every call that is being set up gets a final failure, and associations are aborted. 'sipgrace drain' is
    what you want unless there is no time at all.
    """
    reach.carryOut(Giving(reach, "offline", ("offline", "serving") if wait else None, signer, why=why))


@click.command()
@reaching
@signing
@click.argument("server")
@reason
@waitingToo
def skip(reach: Reach, server: str, why: str, signer: Signer | None) -> None:
    """
    Have a client leave SERVER alone.

    It sends it no new calls, whatever the server itself says, and tests it all the same. Calls that are under
    way there go on. This is kept over a restart of the client, where [client] skips names a file, until
    'sipgrace unskip'.
    """
    reach.carryOut(Giving(reach, "skip", None, signer, server=server, why=why))


@click.command()
@reaching
@signing
@click.argument("server")
@reason
@waitingToo
def unskip(reach: Reach, server: str, why: str, signer: Signer | None) -> None:
    """
    Have a client use SERVER again.
    """
    reach.carryOut(Giving(reach, "unskip", None, signer, server=server, why=why))
