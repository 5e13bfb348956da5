"""
One run from beginning to end.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console
from twisted.internet.defer import CancelledError, Deferred

from sipgrace.demo.book import Book
from sipgrace.demo.drains import Drains
from sipgrace.demo.load import Load
from sipgrace.demo.network import Network
from sipgrace.demo.phone import Phone
from sipgrace.demo.plan import CLIENTS, GATEWAY, Member, Plan
from sipgrace.demo.result import Result
from sipgrace.demo.screen import Screen
from sipgrace.demo.trust import Trust, makeTrust
from sipgrace.errors import SIPGraceError
from sipgrace.transaction.timers import TimerQueue

__all__ = ["run"]


async def run(
    reactor: Any, console: Console, plan: Plan, jsonFile: Path | None, keep: bool = False
) -> bool:
    """
    Builds the network, places the calls, drains the servers, shows what came of it, and takes all down again,
    whatever happens.

    @param jsonFile: where the figures go.
    @param keep: whether the network stays, when all is shown, until this is cancelled.
    @return: whether everything was as it should be.
    @raise DemoError: when the network cannot be had.
    """
    # As the servers do, so that what they tell can be set against it.
    book = Book(time.monotonic)
    timers = TimerQueue(reactor)
    network = Network(reactor, plan)
    members = (*CLIENTS, GATEWAY) if plan.atOnce else CLIENTS
    phones = {member: Phone(reactor, timers, member, plan, book) for member in members}
    screen = Screen(reactor, console, plan, book, network)
    try:
        with tempfile.TemporaryDirectory(prefix="sipgrace-") as sockets:
            for phone in phones.values():
                await phone.listen()
            screen.say(
                "starting four servers, four clients and two controllers, each its own process; "
                f"SCTP: {plan.stack}"
            )
            trust = makeTrust(Path(sockets) / "keys")
            users = {client: phone.address for client, phone in phones.items()}
            await network.start(Path(sockets), users, trust)
            for controller, api in network.apis.items():
                screen.say(f"{controller.name}: {api.page}")
            screen.say(f"its operator's token, for this run: {trust.token}")
            screen.start()
            startedAt = time.monotonic()
            result = await _calls(reactor, plan, book, network, phones, screen)
            if keep:
                screen.stop()
                _tell(console, result, startedAt, jsonFile)
                await _keep(network, screen, trust)
    finally:
        screen.stop()
        for phone in phones.values():
            phone.stop()
        timers.stop()
        await network.stop()
    if not keep:
        _tell(console, result, startedAt, jsonFile)
    return result.good


def _tell(console: Console, result: Result, startedAt: float, jsonFile: Path | None) -> None:
    console.print(result.show())
    for line in result.troubles():
        console.print(line, style="red", highlight=False, markup=False, soft_wrap=True)
    if jsonFile is not None:
        jsonFile.write_text(json.dumps(result.toJSON(startedAt), indent=2) + "\n", encoding="utf-8")


async def _keep(network: Network, screen: Screen, trust: Trust) -> None:
    """
    Leaves the network as it is until Ctrl-C.
    """
    network.onBroken = lambda error: screen.say(str(error))
    screen.say("The network goes on until Ctrl-C.")
    pages = [api.page for api in network.apis.values()]
    screen.say(f"Its pages, which ask for the token: {' '.join(pages)}")
    screen.say(f"  export SIPGRACE_CONTROLLER={pages[0]} SIPGRACE_TOKEN={trust.token}")
    screen.say("  sipgrace fleet")
    screen.say("  sipgrace rolling --all --wait")
    for member, control in network.sockets.items():
        screen.say(f"  sipgrace status --socket {control}   # {member.name}")
    with suppress(CancelledError):
        await Deferred()


async def _calls(
    reactor: Any, plan: Plan, book: Book, network: Network, phones: Mapping[Member, Phone], screen: Screen
) -> Result:
    """
    What happens between the start of the network and its end.
    """
    loads = [os.getloadavg()[0]]
    load = Load(reactor, plan, phones, book)
    drains = Drains(reactor, plan, network, book)
    drains.onStep = screen.step
    network.onBroken = load.fail
    screen.callsBegin()
    if plan.calls:
        screen.step(f"the first of {plan.calls} calls, {plan.rate:g} a second")
    load.start()
    draining = Deferred.fromCoroutine(drains.run())
    error = ""
    rerouted: set[bytes] = set()
    reasons: Counter[str] = Counter()
    try:
        await load.done
        if plan.calls:
            screen.step("the last call is over")
        await draining
        for client in CLIENTS:
            for reroute in await network.nodes[client].reroutes():
                rerouted.add(reroute["callId"].encode("utf-8"))
                reasons[reroute["reason"]] += 1
    except SIPGraceError as failure:
        error = str(failure)
        book.breakOff()
    finally:
        draining.addErrback(lambda failure: None)
        draining.cancel()
    loads.append(os.getloadavg()[0])
    return Result(plan, book, drains.drains, rerouted, reasons, screen.steps, error, loads, drains.course)
