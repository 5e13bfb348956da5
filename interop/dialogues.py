"""
What SIPp plays as caller and callee: one pair of scenario files for each turn that a call may take.
"""

from __future__ import annotations

from dataclasses import dataclass

from interop.messages import (
    EARLY,
    KEEP,
    ack,
    answer,
    cancel,
    has,
    pause,
    receive,
    request,
    respond,
    scenario,
    sdp,
)

_INVITE = request("INVITE", body=sdp())
_ANSWERED = receive("200", rrs=True)
_RINGING = receive("INVITE", rrs=True) + respond("180 Ringing")
_OK = respond("200 OK", body=sdp(), retransmitted=True)
_OK_ONCE = respond("200 OK", body=sdp())
_BYE = request("BYE", 2, within=True) + receive("200")
_BYE_TAKEN = receive("BYE") + respond("200 OK", tag=False)
_SETTLE = pause(100)


@dataclass(frozen=True)
class Dialogue:
    """
    One turn that a call may take.

    @ivar name: what the table calls it.
    @ivar caller: the steps of the caller's scenario; the callee's are empty where nobody is called.
    @ivar transports: those it is about.
    @ivar accepted: how many requests servers must have accepted for it, where that says something.
    @ivar options: of the caller. C{-nr} has SIPp not answer by itself what comes again.
    """

    name: str
    caller: tuple[str, ...]
    callee: tuple[str, ...]
    transports: tuple[str, ...] = ("UDP", "TCP", "SCTP")
    accepted: int | None = None
    options: tuple[str, ...] = ()

    def files(self) -> dict[str, str]:
        """
        The text of each scenario file there is, by C{"caller"} and C{"callee"}.
        """
        return {
            side: scenario(f"{self.name}, {side}", *steps)
            for side, steps in (("caller", self.caller), ("callee", self.callee))
            if steps
        }


def _refused(status: str, line: str, headers: str = "", checks: str = "") -> dict[str, tuple[str, ...]]:
    return {
        "caller": (_INVITE, EARLY, receive(status, checks), ack(of="INVITE1")),
        "callee": (receive("INVITE"), respond(line, headers, retransmitted=True), receive("ACK")),
    }


DIALOGUES = (
    Dialogue(
        "ring and cancel",
        (
            _INVITE,
            receive("100", optional=True),
            receive("180"),
            cancel(),
            receive("200"),
            receive("487"),
            ack(of="INVITE1"),
        ),
        (
            receive("INVITE", KEEP),
            respond("180 Ringing"),
            receive("CANCEL"),
            respond("200 OK"),
            answer("487 Request Terminated", retransmitted=True),
            receive("ACK"),
        ),
        accepted=1,
    ),
    Dialogue(
        "CANCEL racing 200",
        (
            _INVITE,
            receive("100", optional=True),
            receive("180"),
            cancel(),
            # They come in either order.
            receive("200", has("CANCEL", "CSeq")),
            receive("200", has("INVITE", "CSeq"), rrs=True),
            ack(),
            _SETTLE,
            _BYE,
        ),
        (
            receive("INVITE", KEEP),
            respond("180 Ringing"),
            receive("CANCEL"),
            respond("200 OK"),
            answer("200 OK", body=sdp(), retransmitted=True),
            receive("ACK"),
            _BYE_TAKEN,
        ),
    ),
    Dialogue("busy", **_refused("486", "486 Busy Here")),
    Dialogue("busy everywhere", **_refused("600", "600 Busy Everywhere")),
    Dialogue(
        "redirect by the callee",
        **_refused(
            "302",
            "302 Moved Temporarily",
            "Contact: <sip:elsewhere@192.0.2.1>",
            has("elsewhere@192.0.2.1", "Contact"),
        ),
    ),
    Dialogue(
        "lost ACK",
        (
            _INVITE,
            EARLY,
            _ANSWERED,
            ack(),
            # The callee did not hear it, and says 200 again.
            receive("200"),
            ack(),
            _SETTLE,
            _BYE,
        ),
        (
            receive("INVITE", KEEP, rrs=True),
            respond("180 Ringing"),
            _OK,
            receive("ACK"),
            answer("200 OK", body=sdp()),
            receive("ACK"),
            _BYE_TAKEN,
        ),
        options=("-nr",),
    ),
    Dialogue(
        "lost 200",
        # The first is not heard; the callee says it again.
        (_INVITE, EARLY, receive("200"), receive("200", rrs=True), ack(), _SETTLE, _BYE),
        (_RINGING, _OK_ONCE, pause(500), _OK_ONCE, receive("ACK"), _BYE_TAKEN),
        options=("-nr",),
    ),
    Dialogue(
        "retransmitted INVITE",
        (_INVITE, receive("100"), _INVITE, receive("180"), _ANSWERED, ack(), _SETTLE, _BYE),
        # A second one would be taken for a mistake.
        (receive("INVITE", rrs=True), _SETTLE, respond("180 Ringing"), _OK, receive("ACK"), _BYE_TAKEN),
        transports=("UDP",),
        accepted=1,
    ),
    Dialogue(
        "re-INVITE and BYE past the server",
        (
            _INVITE,
            EARLY,
            _ANSWERED,
            ack(),
            _SETTLE,
            request("INVITE", 2, within=True, body=sdp(2)),
            receive("100", optional=True),
            receive("200", rrs=True),
            ack(2),
            _SETTLE,
            request("BYE", 3, within=True),
            receive("200"),
        ),
        (
            _RINGING,
            _OK,
            receive("ACK"),
            receive("INVITE", has("o=user 1 2 ")),
            respond("200 OK", body=sdp(2), tag=False, retransmitted=True),
            receive("ACK"),
            _BYE_TAKEN,
        ),
        accepted=1,
    ),
    Dialogue(
        "re-INVITE by the callee, and its BYE",
        (
            _INVITE,
            EARLY,
            _ANSWERED,
            ack(),
            receive("INVITE"),
            respond("200 OK", body=sdp(2), tag=False, retransmitted=True),
            receive("ACK"),
            _BYE_TAKEN,
        ),
        (
            receive("INVITE", KEEP, rrs=True),
            respond("180 Ringing"),
            _OK,
            receive("ACK"),
            _SETTLE,
            request("INVITE", 1, callee=True, body=sdp(2)),
            receive("100", optional=True),
            receive("200"),
            request("ACK", 1, callee=True),
            _SETTLE,
            request("BYE", 2, callee=True),
            receive("200"),
        ),
        # SIPp's calling side takes no connections: these come by the one that it has opened.
        accepted=1,
    ),
    Dialogue(
        "OPTIONS to a user",
        (request("OPTIONS"), receive("200", has("X-Answered-By: callee"))),
        (receive("OPTIONS"), respond("200 OK", "X-Answered-By: callee")),
    ),
    Dialogue(
        "OPTIONS to the client itself",
        (
            request("OPTIONS", uri="sip:[remote_ip]:[remote_port];transport=[transport]"),
            receive("200", has("INVITE", "Allow")),
        ),
        (),
    ),
    Dialogue(
        "100rel and PRACK",
        (
            request("INVITE", body=sdp(), headers="Supported: 100rel"),
            receive("100", optional=True),
            receive("183", has("1", "RSeq"), rrs=True),
            request("PRACK", 2, within=True, headers="RAck: 1 1 INVITE"),
            receive("200", has("PRACK", "CSeq")),
            receive("200", has("INVITE", "CSeq"), rrs=True),
            ack(),
            _SETTLE,
            request("BYE", 3, within=True),
            receive("200"),
        ),
        (
            receive("INVITE", KEEP, rrs=True),
            respond("183 Session Progress", "Require: 100rel\nRSeq: 1", retransmitted=True),
            receive("PRACK", has("1 1 INVITE", "RAck")),
            respond("200 OK", tag=False),
            pause(200),
            answer("200 OK", body=sdp(), retransmitted=True),
            receive("ACK"),
            _BYE_TAKEN,
        ),
    ),
    Dialogue(
        "UPDATE and INFO within the call",
        (
            _INVITE,
            EARLY,
            _ANSWERED,
            ack(),
            _SETTLE,
            request("UPDATE", 2, within=True, body=sdp(2)),
            receive("200"),
            request(
                "INFO", 3, within=True, body="Signal=5\nDuration=160\n", content="application/dtmf-relay"
            ),
            receive("200"),
            request("BYE", 4, within=True),
            receive("200"),
        ),
        (
            _RINGING,
            _OK,
            receive("ACK"),
            receive("UPDATE"),
            respond("200 OK", body=sdp(2), tag=False),
            receive("INFO", has("Signal=5")),
            respond("200 OK", tag=False),
            _BYE_TAKEN,
        ),
        accepted=1,
    ),
    Dialogue(
        "large SDP (16 kB each way)",
        (
            request("INVITE", body=sdp(padding=16000)),
            EARLY,
            receive("200", has("padding:0234"), rrs=True),
            ack(),
            _SETTLE,
            _BYE,
        ),
        (
            receive("INVITE", has("padding:0234"), rrs=True),
            respond("180 Ringing"),
            respond("200 OK", body=sdp(padding=16000), retransmitted=True),
            receive("ACK"),
            _BYE_TAKEN,
        ),
    ),
    Dialogue(
        "MESSAGE, body as it came",
        (
            request("MESSAGE", body='Grüße; tomorrow at "eight"?\n', content="text/plain;charset=utf-8"),
            receive("202"),
        ),
        # To the byte, those beyond ASCII too, and as many as were sent.
        (
            receive("MESSAGE", has("Grüße; tomorrow at .eight..") + has("^ *31", "Content-Length")),
            respond("202 Accepted"),
        ),
    ),
)

#: Rings until it is taken back, with both sides' final answers before the guard.
_TAKEN_BACK = (
    receive("INVITE", KEEP, rrs=True),
    respond("180 Ringing"),
    receive("CANCEL", has("SIP;cause=503", "Reason")),
    respond("200 OK"),
    answer("487 Request Terminated", retransmitted=True),
    receive("ACK"),
)

RINGING = Dialogue(
    "ringing when the guard ends, another server",
    (
        _INVITE,
        receive("100", optional=True),
        receive("180"),
        # SIPp takes the second for a copy of the first where that can be.
        receive("180", optional=True),
        _ANSWERED,
        ack(),
        _SETTLE,
        _BYE,
    ),
    # It rings anew, by way of the other server, and then answers.
    (*_TAKEN_BACK, receive("INVITE"), respond("180 Ringing"), _OK, receive("ACK"), _BYE_TAKEN),
)

_GIVEN_UP = (
    _INVITE,
    receive("100", optional=True),
    receive("180"),
    receive("503", has("[1-9]", "Retry-After")),
    ack(of="INVITE1"),
)

RINGING_ALONE = Dialogue("ringing when the guard ends, no other server", _GIVEN_UP, _TAKEN_BACK)

LAST_MOMENT = Dialogue(
    "answer that crosses the guard's CANCEL",
    (_INVITE, receive("100", optional=True), receive("180"), _ANSWERED, ack(), _SETTLE, _BYE),
    (
        receive("INVITE", KEEP, rrs=True),
        respond("180 Ringing"),
        receive("CANCEL", has("SIP;cause=503", "Reason")),
        respond("200 OK"),
        answer("200 OK", body=sdp(), retransmitted=True),
        receive("ACK"),
        _BYE_TAKEN,
    ),
)

LATE = Dialogue(
    "late answer after the guard",
    # The caller was told that it is over.
    _GIVEN_UP,
    (
        receive("INVITE", KEEP, rrs=True),
        respond("180 Ringing"),
        receive("CANCEL", has("SIP;cause=503", "Reason")),
        respond("200 OK"),
        # Until the server has gone; nobody is left who could talk to the callee, who learns it by BYE.
        pause(2000),
        answer("200 OK", body=sdp(), retransmitted=True),
        receive("ACK"),
        _BYE_TAKEN,
    ),
)

UNAVAILABLE = Dialogue(
    "503 with Retry-After from a draining server",
    (
        _INVITE,
        receive("100", optional=True),
        receive("503", has("[1-9]", "Retry-After")),
        ack(of="INVITE1"),
        request("OPTIONS", uri="sip:[remote_ip]:[remote_port];transport=[transport]"),
        receive("503", has("[1-9]", "Retry-After")),
    ),
    (),
)
