"""
The verb C{schedule}: what a controller is to order later.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import click

from sipgrace.commands.access import Control, controlling
from sipgrace.commands.outcome import Exit, Outcome
from sipgrace.commands.rolling import asked, selecting
from sipgrace.commands.words import moment, segment, table

__all__ = ["schedule"]

_AFTER = re.compile(r"\+(\d+)([smhd]?)\Z")
_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _at(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    if value is None:
        return None
    after = _AFTER.match(value)
    if after:
        return time.time() + int(after[1]) * _UNITS[after[2]]
    try:
        return datetime.fromisoformat(value).timestamp()
    except ValueError:
        raise click.BadParameter(
            f"a time such as 2026-03-01T03:30, or +90m, is expected, found {value!r}"
        ) from None


def _what(record: Mapping[str, Any]) -> str:
    values = record["values"]
    if record["what"] == "order":
        return f"{values['kind']} {values['node']}"
    if values.get("servers"):
        return f"rolling {','.join(values['servers'])}"
    select = ",".join(f"{name}={word}" for name, word in (values.get("select") or {}).items())
    return f"rolling {select or 'all'}"


def _line(record: Mapping[str, Any]) -> list[str]:
    when = f"{record['cron']} {record['zone']}" if record["cron"] else "once"
    return [
        record["id"],
        moment(record["next"]),
        when,
        _what(record),
        record["who"],
        record["values"].get("why", ""),
    ]


@click.command()
@controlling
@click.argument("what", type=click.Choice(["list", "drain", "resume", "rolling", "remove"]), default="list")
@click.argument("which", required=False)
@click.option(
    "--at", metavar="WHEN", callback=_at, help="Once: 2026-03-01T03:30, or +90m (s, m, h, d) from now."
)
@click.option("--cron", metavar="LINE", default="", help="Time and again: '30 3 * * SUN'.")
@click.option("--zone", metavar="NAME", default="UTC", show_default=True, help="The time zone of --cron.")
@selecting
def schedule(
    control: Control,
    what: str,
    which: str | None,
    at: float | None,
    cron: str,
    zone: str,
    **options: Any,
) -> None:
    """
    List what a controller is to order later, or have it order something.

    'drain' and 'resume' take the NODE that is meant, 'rolling' the options of 'sipgrace rolling', 'remove'
    the ID that 'list' shows. What is ordered then is ordered in your name, and as your role may now.

    \b
      sipgrace schedule drain server-102 --at 2026-03-01T03:30 --why "new disk"
      sipgrace schedule rolling --all --cron "30 3 * * SUN" --zone Europe/Berlin
      sipgrace schedule remove 4f2b8c0d
    """
    body: dict[str, Any] = {}
    if what in ("drain", "resume", "rolling"):
        if (at is None) == (not cron):
            raise click.UsageError("when? Give either --at WHEN or --cron LINE")
        body = {"at": at} if at is not None else {"cron": cron, "zone": zone}
        if what == "rolling":
            if which:
                raise click.UsageError("of whom is said by --all, --select or --servers")
            body |= {"what": "rolling", "values": asked(options)}
        else:
            if not which:
                raise click.UsageError(f"which node is it to {what}?")
            values = {"node": which, "kind": what}
            for key in ("guard", "retryAfter", "over", "announce", "why") if what == "drain" else ("why",):
                if options[key] not in (None, ""):
                    values[key] = options[key]
            body |= {"what": "order", "values": values}
    elif what == "remove" and not which:
        raise click.UsageError("which? Give the ID that 'sipgrace schedule' shows")

    async def job(reactor: Any, controller: Any) -> Outcome:
        if what == "remove":
            await controller.ask("DELETE", f"schedules/{segment(which or '')}")
            return Outcome(Exit.DONE, f"{which} is removed", {"id": which})
        if body:
            record = await controller.ask("POST", "schedules", body)
            text = f"{record['id']}: {_what(record)}, next {moment(record['next'])}"
            return Outcome(Exit.DONE, text, {"schedule": record})
        records = (await controller.ask("GET", "schedules"))["schedules"]
        lines = table(["ID", "NEXT", "WHEN", "WHAT", "BY", "WHY"], [_line(one) for one in records])
        return Outcome(
            Exit.DONE, "\n".join(lines) if records else "nothing is to be ordered", {"schedules": records}
        )

    control.carryOut(job)
