"""
Overload control (RFC 7339): what clients offer and servers answer in the Via of a request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from sipgrace.errors import ParseError
from sipgrace.message import params
from sipgrace.message.headers import Via
from sipgrace.message.scan import cutFirst

__all__ = ["OFFER", "Control", "answered", "mayOffer", "readControl"]

#: What a client adds to its Via: it can reduce what it sends by a share that it is told (§4.1, §4.2).
OFFER: Final = b';oc;oc-algo="loss"'

#: §4.3: how long a server's word counts where it does not say, in milliseconds.
_VALIDITY: Final = 500

_SEQUENCE: Final = re.compile(rb"(\d{1,12})\.(\d{1,5})")
_CONTROL: Final = (b"oc", b"oc-algo", b"oc-validity", b"oc-seq")
_LONGEST: Final = 10**9


@dataclass(frozen=True, slots=True)
class Control:
    """
    What a server asks of one client.

    @ivar loss: how many of a hundred new requests it is not to be sent.
    @ivar validity: for how many milliseconds from now; 0 for not any more.
    @ivar sequence: a later word has a higher number; in hundred-thousandths of a second where it is the time.
    """

    loss: int
    validity: int
    sequence: int


def mayOffer(via: bytes) -> bool:
    """
    Whether the Vias in this header value may hold an offer; a quick look.
    """
    return b";oc" in via


def answered(via: bytes, control: Control) -> bytes | None:
    """
    @param via: one Via, as the client sent it.
    @return: the same with what we ask of the client (§4.1 to §4.4); C{None} where it has offered nothing that
        we can make use of.
    """
    if via.endswith(OFFER):
        kept = via[: -len(OFFER)]
    else:
        try:
            parsed = Via.parse(via)
        except ParseError:
            return None
        algorithms = (parsed.param(b"oc-algo") or b"loss").lower().split(b",")
        if parsed.param(b"oc") is None or b"loss" not in [one.strip() for one in algorithms]:
            return None
        sent, semicolon, rest = via.partition(b";")
        kept = sent + params.join(
            tuple(pair for pair in params.split(semicolon + rest) if pair[0].lower() not in _CONTROL)
        )
    return kept + b';oc=%d;oc-algo="loss";oc-validity=%d;oc-seq=%d.%05d' % (
        control.loss,
        control.validity,
        *divmod(control.sequence, 100_000),
    )


def readControl(via: bytes) -> Control | None:
    """
    @param via: the value of the first Via field of a response.
    @return: what the server asks of us; C{None} where that is nothing, or cannot be read.
    """
    if b";oc=" not in via:
        return None
    try:
        first = Via.parse(cutFirst(via)[0])
    except ParseError:
        return None
    loss, algorithm = first.param(b"oc"), first.param(b"oc-algo") or b"loss"
    match = _SEQUENCE.fullmatch(first.param(b"oc-seq") or b"")
    if not loss or not loss.isdigit() or len(loss) > 3 or int(loss) > 100 or algorithm.lower() != b"loss":
        return None
    if match is None:
        return None
    validity = first.param(b"oc-validity")
    if validity is not None and not validity.isdigit():
        return None
    sequence = int(match.group(1)) * 100_000 + int(match.group(2).ljust(5, b"0"))
    return Control(int(loss), _VALIDITY if validity is None else min(int(validity), _LONGEST), sequence)
