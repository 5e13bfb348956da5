"""
The best of several final responses (RFC 3261 §16.7 steps 6 and 7).
"""

from __future__ import annotations

from collections.abc import Sequence

from sipgrace.message.message import Response

#: Within 4xx these tell the user what to change, and come first.
_TELLING = frozenset((401, 407, 415, 420, 484))

_CHALLENGES = frozenset((401, 407))
_CHALLENGE_HEADERS = (b"WWW-Authenticate", b"Proxy-Authenticate")


def _rank(response: Response) -> tuple[int, int]:
    status = response.status
    if status >= 600:
        return (0, 0)
    return (status // 100, 0 if status in _TELLING else 1)


def best(responses: Sequence[Response]) -> Response | None:
    """
    The response to forward: a 6xx if there is one, else the first of the lowest class, preferring
    within 4xx those that ask the user for something. Nothing where there is nothing to choose from. A
    challenge (401, 407) is given those of all others: the user has to answer each.
    """
    chosen = min(responses, key=_rank, default=None)
    if chosen is not None and len(responses) > 1 and chosen.status in _CHALLENGES:
        for other in responses:
            if other is not chosen and other.status in _CHALLENGES:
                for name in _CHALLENGE_HEADERS:
                    for value in other.getAll(name):
                        chosen.add(name, value)
    return chosen
