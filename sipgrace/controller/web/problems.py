"""
What went wrong, as RFC 9457 has it: C{application/problem+json}.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from pydantic import ValidationError
from twisted.logger import Logger
from twisted.protocols.amp import AmpError
from werkzeug.exceptions import HTTPException

from sipgrace.control.commands import NotOffered
from sipgrace.control.remote import Unreachable
from sipgrace.errors import Malformed, NotAllowed, OrderRefused, SIPGraceError, StoreError, Unknown

__all__ = ["Problem", "Rejected", "problemOf"]

_log = Logger()


@dataclass(frozen=True, slots=True)
class Problem:
    """
    An answer that says what was wrong.

    @ivar status: of HTTP.
    @ivar detail: what was wrong, and what to do.
    """

    status: int
    detail: str
    headers: Mapping[str, str] = field(default_factory=dict)

    def body(self) -> bytes:
        """
        The answer's body.
        """
        facts = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        return json.dumps(facts, ensure_ascii=False).encode("utf-8")


class Rejected(Exception):
    """
    A request that gets no further; C{problem} is its answer.
    """

    def __init__(self, status: int, detail: str, **headers: str) -> None:
        super().__init__(detail)
        self.problem = Problem(status, detail, {name.replace("_", "-"): headers[name] for name in headers})


# A subclass stands before its parent.
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (NotAllowed, 403),
    (Malformed, 400),
    (OrderRefused, 409),
    (Unknown, 404),
    (StoreError, 503),
    (Unreachable, 502),
    (NotOffered, 501),
    (AmpError, 502),
)


def problemOf(error: BaseException) -> Problem:
    """
    The answer to a request that came to this end.
    """
    if isinstance(error, Rejected):
        return error.problem
    if isinstance(error, ValidationError):
        return Problem(400, "; ".join(_mistakes(error)))
    for kind, status in _STATUS:
        if isinstance(error, kind):
            return Problem(status, str(error))
    if isinstance(error, HTTPException):
        if error.code == 404:
            return Problem(
                404, "there is nothing at this address; GET /api/v1/openapi.json says what is where"
            )
        if error.code == 405:
            allowed = ", ".join(sorted(getattr(error, "valid_methods", None) or ()))
            return Problem(405, f"this address takes {allowed}", {"Allow": allowed})
        return Problem(error.code or 500, error.description or "")
    if isinstance(error, SIPGraceError):
        return Problem(409, str(error))
    _log.error("a request came to a fault: {error!r}", error=error)
    return Problem(500, "a fault in this program; its log says more")


def _mistakes(error: ValidationError) -> list[str]:
    found = []
    for one in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in one["loc"])
        text = one["msg"].removeprefix("Value error, ")
        if one["type"] == "extra_forbidden":
            text = "no such member is known"
        found.append(f"{where}: {text}" if where else text)
    return found
