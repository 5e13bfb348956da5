"""
How a verb gets to a controller: which, with whose token, and what is trusted.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from sipgrace.commands.numbers import Amount
from sipgrace.commands.outcome import Outcome

if TYPE_CHECKING:
    from sipgrace.commands.overhttp import ControllerHTTP

__all__ = ["Access", "Control", "answering", "controlling", "found", "withController"]

F = TypeVar("F", bound=Callable[..., Any])

#: What a verb does with a controller, given the reactor.
Job = Callable[[Any, "ControllerHTTP"], Coroutine[Any, Any, Outcome]]


def _checked(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if not value:
        return None
    try:
        parts = urlsplit(value)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or parts.scheme not in ("http", "https") or parts.query or parts.fragment or parts.username:
        raise click.BadParameter(f"a URL such as https://controller-120:7180 is expected, found {value!r}")
    if parts.scheme == "http" and not _here(host):
        raise click.BadParameter("the token would go over the network for all to read: https:// is expected")
    return value


def _here(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def withController(function: Any) -> Any:
    """
    Gives a command the options that name a controller: C{controller}, C{tokenFile}, C{ca}.
    """
    for option in (
        click.option(
            "--ca",
            metavar="FILE",
            envvar="SIPGRACE_CA",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="The certificates that vouch for the controller; by default those that the system trusts."
            "  [env: SIPGRACE_CA]",
        ),
        click.option(
            "--token-file",
            "tokenFile",
            metavar="FILE",
            envvar="SIPGRACE_TOKEN_FILE",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="The file that holds your token; without it, SIPGRACE_TOKEN in the environment counts."
            "  [env: SIPGRACE_TOKEN_FILE]",
        ),
        click.option(
            "--controller",
            metavar="URL",
            envvar="SIPGRACE_CONTROLLER",
            callback=_checked,
            help="The controller to go through.  [env: SIPGRACE_CONTROLLER]",
        ),
    ):
        function = option(function)
    return function


def answering(who: str) -> Callable[[Any], Any]:
    """
    Gives a command the options of those that write an outcome: C{timeout} and C{asJSON}.

    @param who: is asked.
    """

    def decorated(function: Any) -> Any:
        asJSON = click.option(
            "--json", "asJSON", is_flag=True, help="Write the outcome as one JSON object."
        )
        timeout = click.option(
            "--timeout",
            metavar="SECONDS",
            type=Amount(min=0, min_open=True),
            default=10.0,
            show_default=True,
            help=f"How long the {who} may take for an answer.",
        )
        return timeout(asJSON(function))

    return decorated


@dataclass(frozen=True, slots=True)
class Access:
    """
    What these options say.
    """

    url: str
    token: str
    ca: Path | None = None

    def open(self, reactor: Any, timeout: float) -> ControllerHTTP:
        """
        @raise sipgrace.errors.ConfigError: when the certificates cannot be read.
        """
        # Slow to import, and needed here alone.
        from sipgrace.commands.overhttp import ControllerHTTP, policyOf

        return ControllerHTTP(reactor, self.url, self.token, policyOf(self.ca), timeout)


def found(
    context: click.Context, controller: str | None, tokenFile: Path | None, ca: Path | None
) -> tuple[Access | None, bool]:
    """
    Puts together what was said behind the verb, before it, and in the environment.

    @return: how to get to the controller, C{None} where none was named; and whether it was named on the
        command line.
    @raise click.UsageError: when there is no token.
    """

    def said(name: str, value: Any) -> tuple[Any, bool]:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            return value, True
        before = (context.find_root().obj or {}).get(name)
        return (before, True) if before is not None else (value, False)

    url, explicit = said("controller", controller)
    if url is None:
        return None, False
    path, _ = said("tokenFile", tokenFile)
    vouching, _ = said("ca", ca)
    token = os.environ.get("SIPGRACE_TOKEN", "")
    if path is not None:
        try:
            token = path.read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError) as error:
            raise click.UsageError(f"{path}: no token can be read from it: {error}") from None
    token = token.strip()
    if not token:
        raise click.UsageError("a token is needed: give --token-file FILE, or set SIPGRACE_TOKEN")
    if not token.isprintable() or " " in token:
        where = "SIPGRACE_TOKEN" if path is None else str(path)
        raise click.UsageError(
            f"{where}: a token alone is expected, the one line that begins with sgt_, found more than that"
        )
    return Access(url, token, vouching), explicit


@dataclass(frozen=True, slots=True)
class Control:
    """
    What the common options of those verbs say that are about a fleet.

    @ivar timeout: seconds within which an answer is expected.
    @ivar json: whether the outcome is wanted as JSON.
    """

    access: Access
    timeout: float
    json: bool

    def carryOut(self, job: Job) -> None:
        """
        Does the job, says what came of it and ends this process.
        """
        # Not before it is needed: it installs itself when it is imported.
        from twisted.internet import reactor

        from sipgrace.commands.reach import run

        run(reactor, functools.partial(self.outcome, reactor, job)).leave(self.json)

    async def outcome(self, reactor: Any, job: Job) -> Outcome:
        """
        Does the job.

        @return: what came of it, whatever went wrong.
        """
        from sipgrace.commands.reach import told

        try:
            return await job(reactor, self.access.open(reactor, self.timeout))
        except Exception as error:
            outcome = told(error, self.access.url)
            if outcome is None:
                raise
            return outcome


def controlling(function: F) -> F:
    """
    Gives a verb that is about a fleet the options by which it finds its controller; the function gets them as
    L{Control}, first.
    """

    @withController
    @answering("controller")
    @click.pass_context
    @functools.wraps(function)
    def wrapped(
        context: click.Context,
        /,
        *values: Any,
        controller: str | None,
        tokenFile: Path | None,
        ca: Path | None,
        timeout: float,
        asJSON: bool,
        **others: Any,
    ) -> Any:
        access, _ = found(context, controller, tokenFile, ca)
        if access is None:
            raise click.UsageError("which controller? Give --controller URL, or set SIPGRACE_CONTROLLER")
        return function(Control(access, timeout, asJSON), *values, **others)

    return cast(F, wrapped)
