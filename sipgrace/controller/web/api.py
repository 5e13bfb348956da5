"""
The HTTP API.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from typing import Any

from klein import Klein
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import NOT_DONE_YET

from sipgrace.controller.facts import Person
from sipgrace.controller.seams import IController
from sipgrace.controller.web.bodies import bodyOf, queryOf
from sipgrace.controller.web.events import Feed
from sipgrace.controller.web.openapi import document
from sipgrace.controller.web.overview import Overview
from sipgrace.controller.web.problems import Rejected, problemOf
from sipgrace.controller.web.records import encoded, plain
from sipgrace.controller.web.routes import OPERATIONS, PREFIX, Operation
from sipgrace.controller.web.tokens import Attempts, Tokens
from sipgrace.errors import Unknown
from sipgrace.lifecycle.authorization import MAY

__all__ = ["API"]

#: What an operation gets: the request, who asks, and what is in the address and the body.
Asked = dict[str, Any]


class API:
    """
    Answers requests. Each operation of L{OPERATIONS} has its method here.

    @ivar requests: how many were answered, by operation and status.
    """

    log = Logger()

    def __init__(
        self, controller: IController, tokens: Tokens, clock: IReactorTime, feed: Feed, overview: Overview
    ) -> None:
        self._controller = controller
        self._tokens = tokens
        self._attempts = Attempts(clock.seconds)
        self._feed = feed
        self._overview = overview
        self._document = encoded(document(controller.name))
        self.requests: dict[tuple[str, int], int] = {}

    def routes(self, app: Klein) -> None:
        """
        Has an application answer them.
        """
        for operation in OPERATIONS:
            path = PREFIX + re.sub(r"\{(\w+)\}", r"<string:\1>", operation.path)
            app.route(path, methods=[operation.method], endpoint=operation.id)(self._endpoint(operation))

    def _endpoint(self, operation: Operation) -> Callable[..., Any]:
        answer = getattr(self, operation.id)

        def endpoint(request: Any, **parts: str) -> Any:
            def begin() -> Any:
                asked: Asked = dict(parts)
                if not operation.open:
                    where = request.path.decode("ascii", "replace")[:200]
                    asked["person"] = self.personOf(request, f"{operation.method} {where}")
                asked["query"] = queryOf(request, operation.query)
                if operation.adapter is not None:
                    asked["body"] = bodyOf(request, operation.adapter)
                return answer(request, **asked)

            # What was begun goes on when whoever asked for it has gone.
            done: Deferred[Any] = Deferred(lambda _: None)
            answered = maybeDeferred(begin).addCallback(
                lambda value: self._answered(request, operation, value)
            )
            answered.addErrback(lambda failure: self.failed(request, failure, operation.id))
            answered.addBoth(lambda result: None if done.called else done.callback(result))
            return done

        return endpoint

    def _answered(self, request: Any, operation: Operation, value: Any) -> Any:
        self._count(operation.id, operation.status)
        if value is NOT_DONE_YET:
            # The request ends when the stream does, and is no matter of Klein's any more.
            return Deferred(lambda _: None)
        request.setResponseCode(operation.status)
        if operation.status == 204:
            return b""
        request.setHeader("Content-Type", operation.content)
        return value if isinstance(value, bytes) else encoded(value)

    def failed(self, request: Any, failure: Failure, operation: str = "") -> bytes:
        """
        Answers with what went wrong.
        """
        problem = problemOf(failure.value or Exception("nothing"))
        if problem.status == 500:
            self.log.failure("a request came to a fault", failure)
        self._count(operation, problem.status)
        request.setResponseCode(problem.status)
        request.setHeader("Content-Type", "application/problem+json")
        for name, value in problem.headers.items():
            request.setHeader(name, value)
        return problem.body()

    def _count(self, operation: str, status: int) -> None:
        key = (operation or "none", status)
        self.requests[key] = self.requests.get(key, 0) + 1

    def personOf(self, request: Any, what: str) -> Person:
        """
        @param what: what is asked, for the audit log.
        @return: who asks.
        @raise Rejected: for whoever has no token that is known.
        """
        header = request.getHeader("authorization")
        challenge = {"WWW_Authenticate": 'Bearer realm="sipgrace"'}
        if header is None:
            raise Rejected(401, "a token is expected: Authorization: Bearer TOKEN", **challenge)
        person = self._tokens.personWith(header)
        if person is not None:
            # Also while others guess: many may come from one address, that of a proxy.
            return person
        address = getattr(request.getClientAddress(), "host", "") or "?"
        wait = self._attempts.wait(address)
        if wait:
            raise Rejected(
                429,
                "too many wrong tokens came from your address; try again later",
                Retry_After=f"{wait + 1:.0f}",
            )
        self._attempts.wrong(address)
        self._controller.noteRefused(address, what, "a token that is not known")
        raise Rejected(401, "this token is not known here", **challenge)

    # ------------------------------------------------------------------ what can be asked

    def me(self, request: Any, person: Person, query: Any) -> Any:
        """
        Who asks, and what they may.
        """
        may = sorted(str(kind) for kind in MAY[person.role])
        return {"name": person.name, "role": person.role, "may": may, "controller": self._controller.name}

    def fleet(self, request: Any, person: Person, query: Any) -> Any:
        """
        See L{sipgrace.controller.fleet.Fleet.view}; and C{now}, in seconds since the epoch.
        """
        nodes = self._controller.fleet.nodes()
        return {
            "controller": self._controller.name,
            "now": time.time(),
            "nodes": nodes,
            **self._overview.facts(),
        }

    def mesh(self, request: Any, person: Person, query: Any) -> Any:
        """
        See L{Overview}.
        """
        return self._overview.text()

    def node(self, request: Any, name: str, person: Person, query: Any) -> Any:
        """
        See L{sipgrace.controller.fleet.Fleet.node}.
        """
        return self._controller.fleet.node(name)

    def forget(self, request: Any, name: str, person: Person, query: Any) -> Any:
        """
        See L{IController.forget}.
        """
        return self._controller.forget(name, person)

    def nodeStatus(self, request: Any, name: str, person: Person, query: Any) -> Any:
        """
        See L{IController.status}.
        """
        return self._controller.status(name)

    def orders(self, request: Any, person: Person, query: Any) -> Any:
        """
        See L{IController.orders}.
        """
        found = self._controller.orders(query.limit, query.before, query.node)
        return found.addCallback(lambda records: {"orders": [plain(one) for one in records]})

    def giveOrder(self, request: Any, person: Person, query: Any, body: Any) -> Any:
        """
        See L{IController.order}.
        """
        return self._controller.order(body.said(), person).addCallback(plain)

    def order(self, request: Any, id: str, person: Person, query: Any) -> Any:
        """
        See L{IController.orderOf}.
        """
        return self._controller.orderOf(id).addCallback(plain)

    def withdraw(self, request: Any, id: str, person: Person, query: Any) -> Any:
        """
        See L{IController.withdraw}.
        """
        return self._controller.withdraw(id, person).addCallback(plain)

    def rollings(self, request: Any, person: Person, query: Any) -> Any:
        """
        See L{IController.rollings}.
        """
        found = self._controller.rollings(query.limit)
        return found.addCallback(lambda records: {"rollings": [plain(one) for one in records]})

    def beginRolling(self, request: Any, person: Person, query: Any, body: Any) -> Any:
        """
        See L{IController.rolling}.
        """
        return self._controller.rolling(body.said(), person).addCallback(plain)

    def rolling(self, request: Any, id: str, person: Person, query: Any) -> Any:
        """
        One of L{IController.rollings}.
        """

        def find(records: Any) -> Any:
            for record in records:
                if record.id == id:
                    return plain(record)
            raise Unknown(f"{id[:100]!r} is no rolling maintenance, or one of long ago")

        return self._controller.rollings(1000).addCallback(find)

    def pause(self, request: Any, id: str, person: Person, query: Any) -> Any:
        """
        See L{IController.pause}.
        """
        return self._controller.pause(id, person).addCallback(plain)

    def proceed(self, request: Any, id: str, person: Person, query: Any) -> Any:
        """
        See L{IController.proceed}.
        """
        return self._controller.proceed(id, person).addCallback(plain)

    def stopRolling(self, request: Any, id: str, person: Person, query: Any) -> Any:
        """
        See L{IController.stopRolling}.
        """
        return self._controller.stopRolling(id, person).addCallback(plain)

    def schedules(self, request: Any, person: Person, query: Any) -> Any:
        """
        See L{IController.schedules}.
        """
        found = self._controller.schedules()
        return found.addCallback(lambda records: {"schedules": [plain(one) for one in records]})

    def schedule(self, request: Any, person: Person, query: Any, body: Any) -> Any:
        """
        See L{IController.schedule}.
        """
        return self._controller.schedule(body.said(), person).addCallback(plain)

    def unschedule(self, request: Any, id: str, person: Person, query: Any) -> Any:
        """
        See L{IController.unschedule}.
        """
        return self._controller.unschedule(id, person)

    def announce(self, request: Any, server: str, person: Person, query: Any, body: Any) -> Any:
        """
        See L{IController.announce}.
        """
        told = self._controller.announce(server, body.retryAfter, body.back, body.why, person)
        return told.addCallback(lambda names: {"server": server, "told": list(names)})

    def unannounce(self, request: Any, server: str, person: Person, query: Any) -> Any:
        """
        See L{IController.unannounce}.
        """
        told = self._controller.unannounce(server, query.why, person)
        return told.addCallback(lambda names: {"server": server, "told": list(names)})

    def audit(self, request: Any, person: Person, query: Any) -> Any:
        """
        See L{IController.audit}.
        """
        found = self._controller.audit(query.limit, query.before)
        return found.addCallback(lambda records: {"records": records})

    def reports(self, request: Any, person: Person, query: Any) -> Any:
        """
        See L{IController.reports}.
        """
        found = self._controller.reports(query.node, query.limit)
        return found.addCallback(lambda records: {"reports": records})

    def events(self, request: Any, person: Person, query: Any) -> Any:
        """
        See L{Feed}.
        """
        if request.method == b"HEAD":
            return b""
        if self._feed.full:
            raise Rejected(503, "as many watch the events as may; try again later", Retry_After="30")
        self._feed.add(request, request.getHeader("last-event-id") or "")
        return NOT_DONE_YET

    def openapi(self, request: Any, query: Any) -> Any:
        """
        See L{document}.
        """
        return self._document
