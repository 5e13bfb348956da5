"""
What the API offers, address by address: from this table Klein gets its routes and the OpenAPI document its
paths.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from pydantic import BaseModel, TypeAdapter

from sipgrace.controller.facts import OrderRecord, RollingRecord, ScheduleRecord
from sipgrace.controller.web.asked import (
    AnnouncementAsked,
    Asked,
    ListAsked,
    OrderAsked,
    OrdersAsked,
    ReportsAsked,
    RollingAsked,
    ScheduleAsked,
    WhyAsked,
)

__all__ = ["OPERATIONS", "PREFIX", "Many", "Operation"]

PREFIX: Final = "/api/v1"


@dataclass(frozen=True, slots=True)
class Many:
    """
    An answer that holds several records under a name.
    """

    name: str
    record: type


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """
    One thing that can be asked.

    @ivar id: its name; that of the method of L{sipgrace.controller.web.api.API} that answers it, too.
    @ivar path: below L{PREFIX}; C{{name}} stands for one part of an address.
    @ivar says: in one line, what it does.
    @ivar body: what its body is; C{None} where it has none.
    @ivar query: what may stand behind the question mark.
    @ivar status: of the answer when all is well.
    @ivar answer: what it answers with: a record, several, or C{None} for any object.
    @ivar content: the type of the answer.
    @ivar problems: what may go wrong besides what may go wrong anywhere.
    @ivar open: whether it needs no token.
    """

    id: str
    method: str
    path: str
    says: str
    tag: str
    body: Any = None
    query: type[BaseModel] = Asked
    status: int = 200
    answer: Any = None
    content: str = "application/json"
    problems: tuple[int, ...] = ()
    open: bool = False
    adapter: TypeAdapter[Any] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.body is not None:
            object.__setattr__(self, "adapter", TypeAdapter(self.body))


_CHANGES: Final = (403, 409, 502, 503)

OPERATIONS: Final[tuple[Operation, ...]] = (
    Operation(id="me", method="GET", path="/me", tag="you", says="Who you are here, and what you may order."),
    Operation(
        id="fleet",
        method="GET",
        path="/fleet",
        tag="fleet",
        says="All nodes, who reaches whom, and where they do not agree.",
    ),
    Operation(
        id="mesh",
        method="GET",
        path="/mesh",
        tag="fleet",
        says="Who reaches whom, and where they do not agree, alone.",
    ),
    Operation(
        id="node",
        method="GET",
        path="/nodes/{name}",
        tag="fleet",
        says="One node as the controller knows it.",
        problems=(404,),
    ),
    Operation(
        id="forget",
        method="DELETE",
        path="/nodes/{name}",
        tag="fleet",
        says="Forget a node that will not come back, and count it in no budget any more.",
        status=204,
        problems=(404, 403, 409, 503),
    ),
    Operation(
        id="nodeStatus",
        method="GET",
        path="/nodes/{name}/status",
        tag="fleet",
        says="All that a node tells of itself, asked of it now.",
        problems=(404, 502),
    ),
    Operation(
        id="orders",
        method="GET",
        path="/orders",
        tag="orders",
        says="The latest orders and what became of them, newest first.",
        query=OrdersAsked,
        answer=Many("orders", OrderRecord),
        problems=(503,),
    ),
    Operation(
        id="giveOrder",
        method="POST",
        path="/orders",
        tag="orders",
        says="Give an order: answered when the node has obeyed, or when it is queued.",
        body=OrderAsked,
        status=201,
        answer=OrderRecord,
        problems=(404, *_CHANGES),
    ),
    Operation(
        id="order",
        method="GET",
        path="/orders/{id}",
        tag="orders",
        says="One order and what became of it.",
        answer=OrderRecord,
        problems=(404, 503),
    ),
    Operation(
        id="withdraw",
        method="POST",
        path="/orders/{id}/withdraw",
        tag="orders",
        says="Take back an order that is queued.",
        answer=OrderRecord,
        problems=(404, *_CHANGES),
    ),
    Operation(
        id="rollings",
        method="GET",
        path="/rollings",
        tag="rolling maintenance",
        says="The latest rolling maintenances, newest first.",
        query=ListAsked,
        answer=Many("rollings", RollingRecord),
        problems=(503,),
    ),
    Operation(
        id="beginRolling",
        method="POST",
        path="/rollings",
        tag="rolling maintenance",
        says="Begin one: answered when it is kept and under way.",
        body=RollingAsked,
        status=201,
        answer=RollingRecord,
        problems=(404, *_CHANGES),
    ),
    Operation(
        id="rolling",
        method="GET",
        path="/rollings/{id}",
        tag="rolling maintenance",
        says="One of them.",
        answer=RollingRecord,
        problems=(404, 503),
    ),
    *(
        Operation(
            id=id,
            method="POST",
            path=f"/rollings/{{id}}/{verb}",
            tag="rolling maintenance",
            says=says,
            answer=RollingRecord,
            problems=(404, *_CHANGES),
        )
        for id, verb, says in (
            ("pause", "pause", "Begin with no further server until it is to proceed."),
            ("proceed", "proceed", "Go on, also after trouble."),
            ("stopRolling", "stop", "End it: what has begun is brought back, no further server is begun."),
        )
    ),
    Operation(
        id="schedules",
        method="GET",
        path="/schedules",
        tag="schedules",
        says="What is to be ordered later.",
        answer=Many("schedules", ScheduleRecord),
        problems=(503,),
    ),
    Operation(
        id="schedule",
        method="POST",
        path="/schedules",
        tag="schedules",
        says="Keep something for later.",
        body=ScheduleAsked,
        status=201,
        answer=ScheduleRecord,
        problems=(404, *_CHANGES),
    ),
    Operation(
        id="unschedule",
        method="DELETE",
        path="/schedules/{id}",
        tag="schedules",
        says="Forget it.",
        status=204,
        problems=(404, *_CHANGES),
    ),
    Operation(
        id="announce",
        method="POST",
        path="/announcements/{server}",
        tag="announcements",
        says="Tell all clients on a server's behalf that it is unavailable; says which were told.",
        body=AnnouncementAsked,
        problems=(404, *_CHANGES),
    ),
    Operation(
        id="unannounce",
        method="DELETE",
        path="/announcements/{server}",
        tag="announcements",
        says="Take that back; says which clients were told.",
        query=WhyAsked,
        problems=(404, *_CHANGES),
    ),
    Operation(
        id="audit",
        method="GET",
        path="/audit",
        tag="what was",
        says="The latest records of the controller's audit log, newest first.",
        query=ListAsked,
        problems=(503,),
    ),
    Operation(
        id="reports",
        method="GET",
        path="/reports",
        tag="what was",
        says="The latest reports of finished drains, newest first.",
        query=ReportsAsked,
        problems=(503,),
    ),
    Operation(
        id="events",
        method="GET",
        path="/events",
        tag="what is",
        says="What happens, as it happens: server-sent events, resumed by Last-Event-ID.",
        content="text/event-stream",
        problems=(503,),
    ),
    Operation(
        id="openapi",
        method="GET",
        path="/openapi.json",
        tag="you",
        says="This document.",
        open=True,
    ),
)
