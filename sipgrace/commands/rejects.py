"""
The verbs about rules that refuse calls.
"""

from __future__ import annotations

import json

import click

from sipgrace.commands.orders import Giving, waitingToo
from sipgrace.commands.reach import Reach, reaching
from sipgrace.commands.signing import Signer, signing
from sipgrace.commands.wishes import reason

__all__ = ["admit", "reject"]

#: What one side of a call can be told by.
SIDES = ("network", "client", "domain", "prefix")


def _side(ctx: click.Context, param: click.Parameter, value: str | None) -> dict[str, str] | None:
    if value is None:
        return None
    key, sign, text = value.partition("=")
    if key not in SIDES or not sign or not text:
        raise click.BadParameter(f"expected one of {', '.join(SIDES)}, then '=' and a value, found {value!r}")
    return {key: text}


@click.command()
@reaching
@signing
@click.argument("name")
@click.option("--from", "origin", metavar="WHAT=VALUE", callback=_side, help="Where the calls come from.")
@click.option("--to", "destination", metavar="WHAT=VALUE", callback=_side, help="Where the calls go to.")
@click.option(
    "--status", type=click.IntRange(400, 699), default=403, show_default=True, help="What they are answered."
)
@click.option("--phrase", metavar="TEXT", help="The reason phrase of the answer, where not the usual one.")
@reason
@waitingToo
def reject(
    reach: Reach,
    name: str,
    origin: dict[str, str] | None,
    destination: dict[str, str] | None,
    status: int,
    phrase: str | None,
    why: str,
    signer: Signer | None,
) -> None:
    """
    Have a server refuse new calls by a rule called NAME.

    WHAT is network (an address or a network), client (a name), domain (the URI's host) or prefix (the first
    characters of the URI's user part). With --from and --to both must fit. Calls that were accepted go on.
    The rule comes before those of the configuration, and takes the place of one of the same name. It is kept
    over a restart of the server, where [server] rejects names a file, until 'sipgrace admit NAME'.

    \b
      sipgrace reject flood --from network=192.0.2.0/24 --why "a loop at the other operator's"
      sipgrace reject premium --to prefix=0900 --status 603
    """
    if origin is None and destination is None:
        raise click.UsageError("expected --from, --to or both: which calls are to be refused")
    rule: dict[str, object] = {"name": name, "status": status}
    for key, value in (("origin", origin), ("destination", destination), ("reason", phrase)):
        if value is not None:
            rule[key] = value
    reach.carryOut(Giving(reach, "reject", None, signer, rule=json.dumps(rule), why=why))


@click.command()
@reaching
@signing
@click.argument("name")
@reason
@waitingToo
def admit(reach: Reach, name: str, why: str, signer: Signer | None) -> None:
    """
    Have a server take back the rule called NAME.
    """
    reach.carryOut(Giving(reach, "admit", None, signer, rule=name, why=why))
