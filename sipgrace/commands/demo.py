"""
The verb that shows it all: C{sipgrace demo}.
"""

from __future__ import annotations

import functools
import os
import re
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from twisted.internet.task import deferLater

from sipgrace.commands.numbers import Amount
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.demo.plan import SERVERS, Plan

__all__ = ["demo"]

_NAMES = [server.name for server in SERVERS]


def _prefix(context: click.Context, parameter: click.Parameter, value: str) -> str:
    if re.fullmatch(r"127\.[0-9]{1,3}\.[0-9]{1,3}", value) is None:
        raise click.BadParameter(f"expected three parts such as 127.0.1, found {value!r}")
    return value


@click.command(short_help="Drain a server under load, in a network of its own on loopback.")
@click.option(
    "--rate",
    type=Amount(0.1, 2000),
    default=60.0,
    show_default=True,
    metavar="CALLS",
    help="How many calls are placed each second.",
)
@click.option(
    "--calls",
    type=click.IntRange(1, 1_000_000),
    default=1500,
    show_default=True,
    metavar="NUMBER",
    help="How many calls are placed in all.",
)
@click.option(
    "--ring",
    type=Amount(0, 30),
    default=1.0,
    show_default=True,
    metavar="SECONDS",
    help="How long it rings before the callee answers: what a drain has to wait for.",
)
@click.option(
    "--drain",
    "drains",
    type=click.Choice([*_NAMES, "all"]),
    multiple=True,
    default=["server-102"],
    show_default=True,
    metavar="SERVER",
    help="Which server to drain, from a quarter of the run on. Give it again for more, one after the other: "
    + ", ".join(_NAMES)
    + "; or all.",
)
@click.option(
    "--at-once",
    "atOnce",
    is_flag=True,
    help="Drain them all at the same time. Where none is left, calls go to a gateway, the TDM route.",
)
@click.option(
    "--cancel-after",
    "cancelAfter",
    type=Amount(0, 3600),
    metavar="SECONDS",
    help="Take each drain back so long after it was ordered.",
)
@click.option(
    "--rolling",
    is_flag=True,
    help="Have the controller take all servers through a rolling maintenance, one after another.",
)
@click.option(
    "--kill-controller",
    "killController",
    is_flag=True,
    help="With --rolling: kill the controller (SIGKILL) twice in the middle of it, and start it again.",
)
@click.option("--idle", is_flag=True, help="Place no calls: how fast does an idle server leave?")
@click.option(
    "--guard",
    type=Amount(0.5, 3600),
    metavar="SECONDS",
    help="When a drained server's associations are gone at the latest; a call that is not set up by then "
    "gets a final answer by force. Its clients leave it alone for as long.  [default: 3 more than --ring]",
)
@click.option(
    "--announce",
    type=click.Choice(["in-answer", "broadcast", "both"]),
    default="in-answer",
    show_default=True,
    help="How clients are told: by the answer to the next call that they send, which is then tried at "
    "another server; unasked, before it comes to that; or both, as servers do by default.",
)
@click.option(
    "--stack",
    type=click.Choice(["auto", "userspace", "kernel"]),
    default="auto",
    show_default=True,
    help="The SCTP stack: the kernel's, the one in userspace (libusrsctp, SCTP in UDP), or the kernel's "
    "where it has one.",
)
@click.option(
    "--loopback",
    callback=_prefix,
    default="127.0.0",
    show_default=True,
    metavar="PREFIX",
    help="What all addresses begin with; another one, 127.0.1 say, for a second network beside the first.",
)
@click.option(
    "--json",
    "jsonFile",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    metavar="FILE",
    help="Write the figures there, too.",
)
@click.option(
    "--files",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIRECTORY",
    help="Put the configuration files and logs of all processes there, and leave them.",
)
@click.option(
    "--keep",
    is_flag=True,
    help="Leave the network running when the calls are over, until Ctrl-C: its controllers' web page, and "
    "sipgrace status, show it, and drain it.",
)
def demo(
    rate: float,
    calls: int,
    ring: float,
    drains: tuple[str, ...],
    atOnce: bool,
    cancelAfter: float | None,
    rolling: bool,
    killController: bool,
    idle: bool,
    guard: float | None,
    announce: str,
    stack: str,
    loopback: str,
    jsonFile: Path | None,
    files: Path | None,
    keep: bool,
) -> None:
    """
    Takes SIP servers out of service under load and brings them back, before your eyes.

    \b
      users of client-110          +-- server-102 --+          users of client-110
               client-112          |   server-104   |                   client-112
               client-114  -- UDP -+-- server-106 --+- UDP --           client-114
               client-116          +-- server-108 --+                   client-116

    Ten processes on this host, 127.0.0.102 to 127.0.0.121, each started as an operator would start it.
    Each client has an SCTP association with each server. Users call one another through them: INVITE, 180,
    200, ACK, a short talk, BYE. A server sets calls up and is not in their way afterwards. The servers have
    links to controller-120, the clients to controller-121, and these to each other.

    After a quarter of the calls a server is ordered to drain, by its controller. It answers new calls with
    503 and Retry-After, so that their clients try the next server; it sees the accepted calls through until
    they are set up; then it shuts its associations down, by the guard at the latest. When it is told to
    resume, the clients test it and put it back on their lists. No call may fail through any of this.

    \b
      sipgrace demo                       25 seconds, one drain
      sipgrace demo --drain all --calls 1800
      sipgrace demo --drain all --at-once
      sipgrace demo --drain all --cancel-after 0.5
      sipgrace demo --rolling --calls 2400
      sipgrace demo --rolling --kill-controller --calls 3000
      sipgrace demo --keep                and then it stays, for you to look at its web page
      sipgrace demo --ring 5 --guard 2    calls that are not set up by the guard are tried elsewhere
      sipgrace demo --calls 1500 --rate 60 --json out.json

    \b
    Exit statuses:
      0  all calls were completed, every drain met its guard, and the bounds shown were kept
      3  the network could not be started; standard error says why
      4  a call failed or was lost, a drain missed its guard, or a bound was missed
      130, 143  left by Ctrl-C or SIGTERM before all this was known; all processes are ended
    """
    # Slow to import, and not needed for --help.
    from rich.console import Console
    from twisted.internet import reactor

    from sipgrace.commands.reach import run
    from sipgrace.demo.logs import keepLog
    from sipgrace.errors import ConfigError
    from sipgrace.transport.sctp.stack import choose

    if rolling and (atOnce or cancelAfter is not None):
        raise click.UsageError("expected --rolling, --at-once or --cancel-after, found two of them")
    if killController and not rolling:
        raise click.UsageError("--kill-controller is for --rolling")
    try:
        chosen, _ = choose(stack)
    except ConfigError as error:
        Outcome(Exit.UNREACHABLE, f"{error}").leave(False)
    with ExitStack() as stacked:
        if files is None:
            directory = Path(stacked.enter_context(tempfile.TemporaryDirectory(prefix="sipgrace-demo-")))
        else:
            directory = files.absolute()
            directory.mkdir(parents=True, exist_ok=True)
        # What came of it all is not to be lost at the end.
        if jsonFile is not None and not os.access(jsonFile.absolute().parent, os.W_OK | os.X_OK):
            raise click.BadParameter(
                f"expected a file in a folder that can be written to, found {str(jsonFile)!r}",
                param_hint="'--json'",
            )
        plan = Plan(
            calls=0 if idle else calls,
            rate=rate,
            ring=ring,
            drains=tuple(_NAMES) if rolling or "all" in drains else drains,
            rolling=rolling,
            killController=killController,
            atOnce=atOnce,
            cancelAfter=cancelAfter,
            guard=ring + 3 if guard is None else guard,
            announce=announce,
            stack=chosen.name,
            loopback=loopback,
            directory=directory,
        )
        keepLog(directory / "demo.log")
        logs = "--files DIRECTORY keeps the logs" if files is None else f"the logs are in {files}"
        outcome = run(reactor, functools.partial(_outcome, reactor, Console(), plan, jsonFile, logs, keep))
    outcome.leave(False)


async def _outcome(
    reactor: Any, console: Any, plan: Plan, jsonFile: Path | None, logs: str, keep: bool
) -> Outcome:
    from sipgrace.demo.children import DemoError
    from sipgrace.demo.run import run

    # Nothing is begun before Ctrl-C is listened to, so that nothing can be left behind.
    await deferLater(reactor, 0)
    try:
        good = await run(reactor, console, plan, jsonFile, keep)
    except DemoError as error:
        return Outcome(Exit.UNREACHABLE, f"{error}")
    if good:
        return Outcome(Exit.DONE, "")
    return Outcome(Exit.OTHERWISE, f"not all was as it should be; {logs}")
