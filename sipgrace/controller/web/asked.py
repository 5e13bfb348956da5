"""
What can be asked of the API: the bodies of requests and what may stand behind the question mark.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from sipgrace.lifecycle.orders import LONGEST_NAME, LONGEST_RULE, LONGEST_WHY, Announce, Kind

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

Seconds = Annotated[float, Field(ge=0, le=31_622_400, description="Seconds.")]
Moment = Annotated[float, Field(ge=0, le=4e10, description="Seconds since the epoch.")]
Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME)]
Why = Annotated[str, Field(max_length=LONGEST_WHY, description="The reason, which clients are told.")]
Limit = Annotated[int, Field(ge=1, le=1000, description="At most so many.")]
Before = Annotated[float | None, Field(ge=0, description="Only older ones, in seconds since the epoch.")]


class Asked(BaseModel):
    """
    What they share.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    def said(self) -> dict[str, Any]:
        """
        What was said; all the rest is left out.
        """
        return self.model_dump(mode="json", exclude_unset=True, exclude_none=True)


class _Drain(Asked):
    why: Why = ""
    guard: Annotated[
        Seconds | None,
        Field(description="When its associations are gone at the latest; for extend, the time to add."),
    ] = None
    retryAfter: Annotated[
        Seconds | None, Field(description="How long clients are asked to stay away, from now.")
    ] = None
    announce: Annotated[Announce | None, Field(description="How clients are told.")] = None
    over: Annotated[
        Seconds | None,
        Field(description="For so long before the full stop a rising share of new calls is refused."),
    ] = None


class OrderAsked(_Drain):
    """
    One order to one node. What is left out of a drain is as the node's configuration has it.
    """

    node: Annotated[Name, Field(description="Whom it is for.")]
    kind: Annotated[Kind, Field(description="What it asks for.")]
    then: Annotated[
        Literal["stay", "exit", "run"] | None, Field(description="What follows when it is offline.")
    ] = None
    back: Annotated[Moment | None, Field(description="When it is scheduled to return.")] = None
    server: Annotated[Name | None, Field(description="For skip and unskip: the server that is meant.")] = None
    rule: Annotated[
        str | None,
        Field(
            max_length=LONGEST_RULE,
            description="For reject: the rule, as a JSON object in a string; for admit: its name.",
        ),
    ] = None
    queue: Annotated[
        bool, Field(description="Wait until the group's budget has room, rather than be refused.")
    ] = False
    at: Annotated[Moment | None, Field(description="Do it then.")] = None


class RollingAsked(_Drain):
    """
    A rolling maintenance: exactly one of servers and select says of whom.
    """

    servers: Annotated[
        list[Name] | None, Field(min_length=1, max_length=10_000, description="Their names, in order.")
    ] = None
    select: Annotated[
        dict[str, str] | None,
        Field(max_length=100, description="Labels that they all have; {} for all servers."),
    ] = None
    atOnce: Annotated[int, Field(ge=1, le=1000, description="So many at a time.")] = 1
    settle: Annotated[
        Seconds, Field(description="So long its clients have to see a server healthy before the next.")
    ] = 10.0
    then: Annotated[
        Literal["run", "stay"],
        Field(description="Whether the maintenance command is run once it is offline."),
    ] = "run"
    timeout: Annotated[
        Seconds, Field(gt=0, description="One server may take so long; then it is trouble.")
    ] = 600.0

    @model_validator(mode="after")
    def _whom(self) -> Self:
        if (self.servers is None) == (self.select is None):
            raise ValueError("exactly one of servers and select is expected")
        if self.servers is not None and len(set(self.servers)) != len(self.servers):
            raise ValueError("servers: each is expected once")
        return self


class _Later(Asked):
    at: Annotated[Moment | None, Field(description="When, for once.")] = None
    cron: Annotated[
        str, Field(max_length=200, description="Five fields, as cron has them: time and again.")
    ] = ""
    zone: Annotated[str, Field(max_length=100, description="The time zone of cron.")] = "UTC"

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
    values: Annotated[OrderAsked, Field(description="The order.")]


class RollingLater(_Later):
    """
    A rolling maintenance for later: exactly one of at and cron says when.
    """

    what: Literal["rolling"]
    values: Annotated[RollingAsked, Field(description="The rolling maintenance.")]


ScheduleAsked = Annotated[OrderLater | RollingLater, Field(discriminator="what")]


class AnnouncementAsked(Asked):
    """
    What all clients are told on a server's behalf.
    """

    retryAfter: Annotated[Seconds, Field(gt=0, description="For so long it is unavailable.")]
    back: Annotated[Moment | None, Field(description="When it is scheduled to return.")] = None
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

    node: Annotated[str, Field(max_length=LONGEST_NAME, description="Only those to this node.")] = ""


class ReportsAsked(Asked):
    """
    Which reports.
    """

    limit: Limit = 20
    node: Annotated[str, Field(max_length=LONGEST_NAME, description="Only those of this node.")] = ""


class WhyAsked(Asked):
    """
    A reason, where there is no body for it.
    """

    why: Why = ""
