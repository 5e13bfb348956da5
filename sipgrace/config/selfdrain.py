"""
The sections about drains that a server begins by itself.
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, model_validator

from sipgrace.config.sections import Section
from sipgrace.config.values import Mistake, Name, Phrase, Seconds, mistakes

__all__ = ["Cron", "Moment", "OverloadSection", "WindowSection", "Zone"]


def _cron(value: str) -> str:
    try:
        CronSim(value, datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise ValueError(
            f"expected five fields as cron has them, such as '30 3 * * SUN', found {value!r} ({error})"
        ) from None
    return value


def _zone(value: object) -> tzinfo:
    try:
        return ZoneInfo(value if isinstance(value, str) else "")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"expected a time zone such as 'Europe/Berlin', found {value!r}") from None


def _moment(value: object) -> datetime:
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(
            f"expected a time with its offset, such as 2030-01-31T03:30:00+01:00 (without quotes), found "
            f"{str(value)!r}"
        )
    return value


Cron = Annotated[str, AfterValidator(_cron)]
"""Minute, hour, day of the month, month, day of the week."""

Zone = Annotated[tzinfo, BeforeValidator(_zone), PlainSerializer(str)]
"""A name of the time zone database."""

Moment = Annotated[datetime, BeforeValidator(_moment)]
"""An offset date-time, as TOML has it."""


class OverloadSection(Section):
    """
    When this server drains by itself because it cannot keep up. It comes back by itself when the time is over
    for which its clients were asked to stay away. Of ledger, lag and cpu those count that are there. Mind the
    other servers: what this one lays down they take up.
    """

    ledger: Annotated[int, Field(ge=1, le=1000000)] | None = None
    """More calls than this that are not yet settled."""

    lag: Annotated[Seconds, Field(ge=0.01, le=60)] | None = None
    """By more than this the process is late with what it has to do."""

    cpu: Annotated[float, Field(ge=1, le=10000, allow_inf_nan=False)] | None = None
    """More than this percentage of one processor."""

    period: Annotated[Seconds, Field(ge=1, le=3600)] = 10.0
    """For so long without a break."""

    guard: Annotated[Seconds, Field(ge=0.5, le=86400)] | None = None
    """The guard of such a drain; by default that of [drain]."""

    retryAfter: Annotated[Seconds, Field(ge=1, le=604800)] = 60.0
    """How long its clients are asked to stay away."""

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.ledger is None and self.lag is None and self.cpu is None:
            mistakes([((), "expected at least one of ledger, lag and cpu, found none")])
        return self


class WindowSection(Section):
    """
    When this server drains by itself for maintenance: once, or time and again. Exactly one of at and cron
    says when. A time at which the process is not running passes without a drain.
    """

    name: Name
    """What it is called in logs and reports."""

    at: Moment | None = None
    """When it begins, with the offset from UTC."""

    cron: Cron | None = None
    """When it begins: minute, hour, day of the month, month, day of the week, as cron has them."""

    timezone: Zone | None = None
    """The time zone of cron, such as "Europe/Berlin"; by default the host's."""

    lasts: Annotated[Seconds, Field(ge=1, le=604800)] | None = None
    """How long after its beginning the server comes back by itself. Clients are told when that will be.
    Without this it stays away until somebody brings it back."""

    why: Phrase | None = None
    """The reason that clients are told; by default the name."""

    guard: Annotated[Seconds, Field(ge=0.5, le=86400)] | None = None
    """The guard; by default that of [drain]."""

    retryAfter: Annotated[Seconds, Field(ge=1, le=604800)] | None = None
    """How long clients are asked to stay away; by default as in [drain], but until its end where it lasts."""

    over: Annotated[Seconds, Field(ge=0, le=86400)] | None = None
    """For so long before the full stop a rising share of new calls is refused; by default as in [drain]."""

    then: Literal["stay", "exit", "run"] | None = None
    """What follows: nothing, the end of the process, or the command of [drain]; by default as there."""

    @model_validator(mode="after")
    def _decided(self) -> Self:
        found: list[Mistake] = []
        if (self.at is None) == (self.cron is None):
            which = "none" if self.at is None else "both"
            found.append(((), f"expected exactly one of at and cron, found {which}"))
        if self.lasts is not None and self.then == "exit":
            found.append((("lasts",), "expected nothing to come back after then = 'exit', found a time"))
        mistakes(found)
        return self
