"""
The C{sipgrace} command line: the verbs and where each is found.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from sipgrace import __version__
from sipgrace.commands.access import withController
from sipgrace.commands.outcome import Exit
from sipgrace.compiled import HOW

__all__ = ["main", "sipgrace"]

#: Verb → module and name of its C{click.Command}, in the order in which C{--help} has them. A module is
#: imported when its verb is asked for, so that C{sipgrace drain} does not wait for what others need.
VERBS = {
    "status": "sipgrace.commands.show:status",
    "watch": "sipgrace.commands.show:watch",
    "reroutes": "sipgrace.commands.show:reroutes",
    "drain": "sipgrace.commands.orders:drain",
    "rehearse": "sipgrace.commands.rehearse:rehearse",
    "cancel": "sipgrace.commands.orders:cancel",
    "extend": "sipgrace.commands.orders:extend",
    "resume": "sipgrace.commands.orders:resume",
    "offline": "sipgrace.commands.orders:offline",
    "skip": "sipgrace.commands.orders:skip",
    "unskip": "sipgrace.commands.orders:unskip",
    "reject": "sipgrace.commands.rejects:reject",
    "admit": "sipgrace.commands.rejects:admit",
    "fleet": "sipgrace.commands.fleet:fleet",
    "rolling": "sipgrace.commands.rolling:rolling",
    "orders": "sipgrace.commands.fleet:orders",
    "schedule": "sipgrace.commands.scheduling:schedule",
    "announce": "sipgrace.commands.fleet:announce",
    "forget": "sipgrace.commands.fleet:forget",
    "audit": "sipgrace.commands.fleet:audit",
    "keys": "sipgrace.commands.keys:keys",
    "demo": "sipgrace.commands.demo:demo",
    "completion": "sipgrace.commands.completion:completion",
}


@contextmanager
def _writing() -> Iterator[None]:
    """
    Where what a verb has to say cannot be written, the exit status tells that from an order that was refused.
    """
    try:
        yield
    except OSError as error:
        # Nor can what is still to be flushed when the process ends, which would be its own exit status.
        with suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if error.errno == errno.EPIPE:
            # Nobody reads any more, as after "| head -1".
            raise SystemExit(128 + signal.SIGPIPE) from None
        where = "the output cannot be written" if error.filename is None else str(error.filename)
        print(f"sipgrace: {where}: {error.strerror or error}", file=sys.stderr)
        raise SystemExit(Exit.FAULT) from None


class Verbs(click.Group):
    """
    The verbs of L{VERBS}.
    """

    def make_context(self, *values: Any, **others: Any) -> click.Context:
        """
        See C{click.Command}: C{--help} writes here.
        """
        with _writing():
            return super().make_context(*values, **others)

    def invoke(self, ctx: click.Context) -> Any:
        """
        See C{click.Command}.
        """
        with _writing():
            return super().invoke(ctx)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """
        See C{click.Group}: one that is not known may be meant for another.
        """
        verb = args[0]
        near = get_close_matches(verb, VERBS, 1, 0.75)
        if verb not in VERBS and near and not ctx.resilient_parsing:
            ctx.fail(f"No such command '{verb}'. Did you mean '{near[0]}'?")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """
        See C{click.Group}.
        """
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """
        See C{click.Group}.
        """
        if cmd_name not in VERBS:
            return None
        module, _, name = VERBS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), name)
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(f"{__version__} ({HOW})", "-V", "--version", prog_name="sipgrace")
@withController
@click.pass_context
def sipgrace(
    context: click.Context, /, controller: str | None, tokenFile: Path | None, ca: Path | None
) -> None:
    """
    Takes a SIP server out of service without losing a call, and brings it back.

    The verbs speak to a running server or client on this host, through the socket that stands under [control]
    in its configuration. Say which with --socket PATH, with --config FILE, or once for all in the
    environment:

    \b
      export SIPGRACE_SOCKET=/run/sipgrace/server-102.sock
      sipgrace status                             how things stand
      sipgrace drain --wait --why "new kernel"    out of service, when the last call is set up
      sipgrace resume --wait                      back into service

    Or they go through a controller, to any node of its fleet:

    \b
      export SIPGRACE_CONTROLLER=https://controller-120:7180 SIPGRACE_TOKEN_FILE=~/.sipgrace-token
      sipgrace fleet                              all nodes, and what is wrong
      sipgrace drain --node server-102 --wait
      sipgrace rolling --all --wait               one server after another

    A drain refuses new calls, finishes the accepted ones, and ends all associations by its guard at the
    latest.

    \b
    Exit statuses:
      0  done
      1  refused: the order does not fit; the reason is on standard error
      2  the command line is wrong
      3  the process cannot be reached, or not any more
      4  something else came of it than was waited for: the drain was cancelled, say
      5  a fault in this program or in the other
      130, 143  left by Ctrl-C or SIGTERM; what was ordered goes on
    """
    said = {"controller": controller, "tokenFile": tokenFile, "ca": ca}
    # What stands in the environment is looked at by each verb.
    context.obj = {
        name: value
        for name, value in said.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }


def main() -> None:
    """
    Runs the command line, and ends the process.
    """
    sys.exit(sipgrace(prog_name="sipgrace"))


if __name__ == "__main__":
    main()
