"""
What can be asked of the API: the bodies of requests and what may stand behind the question mark.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sipgrace.lifecycle.orders import (
    LONGEST_AWAY,
    LONGEST_GUARD,
    LONGEST_NAME,
    LONGEST_RULE,
    LONGEST_WHY,
    Announce,
    Kind,
)

__all__ = [
    "AnnouncementAsked",
    "Asked",
    "ListAsked",
    "OrderAsked",
    "OrderLater",
    "OrdersAsked",
    "ReportsAsked",
    "RollingAsked",
    "RollingLater",
    "ScheduleAsked",
    "WhyAsked",
]

Seconds = Annotated[float, Field(ge=0, le=31_622_400)]
Guard = Annotated[float, Field(ge=0, le=LONGEST_GUARD)]
Away = Annotated[float, Field(ge=0, le=LONGEST_AWAY)]
Moment = Annotated[float, Field(ge=0, le=4e10)]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Why = Annotated[str, Field(max_length=LONGEST_WHY, description="The reason, which clients are told.")]
Limit = Annotated[int, Field(ge=1, le=1000, description="At most so many.")]
Before = Annotated[float | None, Field(ge=0, description="Only older ones, in seconds since the epoch.")]


class Asked(BaseModel):
    """
    What they share.
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    def said(self) -> dict[str, Any]:
        """
        What was said; all the rest is left out.
        """
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


class _Drain(Asked):
    why: Why = ""

    guard: Guard | None = None
    """When its associations are gone at the latest, in seconds from the full stop; for extend, the time to
    add."""

    retryAfter: Away | None = None
    """How long clients are asked to stay away, in seconds."""

    announce: Announce | None = None
    """How clients are told."""

    over: Guard | None = None
    """For so many seconds before the full stop a rising share of new calls is refused."""


class OrderAsked(_Drain):
    """
    One order to one node. What is left out of a drain is as the node's configuration has it.
    """

    node: Name
    """Whom it is for."""

    kind: Kind
    """What it asks for."""

    then: Literal["stay", "exit", "run"] | None = None
    """What follows when it is offline."""

    back: Moment | None = None
    """When it is scheduled to return, in seconds since the epoch."""

    server: Name | None = None
    """For skip and unskip: the server that is meant."""

    rule: Annotated[str, Field(max_length=LONGEST_RULE)] | None = None
    """For reject: the rule, as a JSON object in a string; for admit: its name."""

    queue: bool = False
    """Wait until the group's budget has room, rather than be refused."""

    at: Moment | None = None
    """Do it then, in seconds since the epoch."""


class RollingAsked(_Drain):
    """
    A rolling maintenance: exactly one of servers and select says of whom.
    """

    servers: Annotated[list[Name], Field(min_length=1, max_length=10_000)] | None = None
    """Their names, in order."""

    select: Annotated[dict[str, str], Field(max_length=100)] | None = None
    """Labels that they all have; {} for all servers."""

    atOnce: Annotated[int, Field(ge=1, le=1000)] = 1
    """So many at a time."""

    settle: Seconds = 10.0
    """So many seconds its clients have to see a server healthy before the next."""

    then: Literal["run", "stay", "exit"] = "run"
    """Once it is offline: its maintenance command is run, nothing, or its process ends, to be begun again by
    what supervises it."""

    timeout: Annotated[Seconds, Field(gt=0)] = 600.0
    """One server may take so many seconds; then it is trouble."""

    @model_validator(mode="after")
    def _whom(self) -> Self:
        if (self.servers is None) == (self.select is None):
            raise ValueError("exactly one of servers and select is expected")
        if self.servers is not None and len(set(self.servers)) != len(self.servers):
            raise ValueError("servers: each is expected once")
        return self


class _Later(Asked):
    at: Moment | None = None
    """When, for once, in seconds since the epoch."""

    cron: Annotated[str, Field(max_length=200)] = ""
    """Five fields, as cron has them: time and again."""

    zone: Annotated[str, Field(max_length=100)] = "UTC"
    """The time zone of cron."""

    @model_validator(mode="after")
    def _when(self) -> Self:
        if (self.at is None) == (not self.cron):
            raise ValueError("exactly one of at and cron is expected")
        return self


class OrderLater(_Later):
    """
    An order for later: exactly one of at and cron says when.
    """

    what: Literal["order"]
    values: OrderAsked
    """The order."""


class RollingLater(_Later):
    """
    A rolling maintenance for later: exactly one of at and cron says when.
    """

    what: Literal["rolling"]
    values: RollingAsked
    """The rolling maintenance."""


ScheduleAsked = Annotated[OrderLater | RollingLater, Field(discriminator="what")]


class AnnouncementAsked(Asked):
    """
    What all clients are told on a server's behalf.
    """

    retryAfter: Annotated[Away, Field(gt=0)]
    """For so many seconds it is unavailable."""

    back: Moment | None = None
    """When it is scheduled to return, in seconds since the epoch."""

    why: Why = ""


class ListAsked(Asked):
    """
    Which part of a long list.
    """

    limit: Limit = 100
    before: Before = None


class OrdersAsked(ListAsked):
    """
    Which orders.
    """

    node: Annotated[str, Field(max_length=LONGEST_NAME)] = ""
    """Only those to this node."""


class ReportsAsked(Asked):
    """
    Which reports.
    """

    limit: Limit = 20
    node: Annotated[str, Field(max_length=LONGEST_NAME)] = ""
    """Only those of this node."""


class WhyAsked(Asked):
    """
    A reason, where there is no body for it.
    """

    why: Why = ""
