"""
Processor time per call: SIPp's C{uac} → X → SIPp's C{uas} over UDP, X being each program in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Addresses, Callee, Counts, call, stepsOf
from benchmarks.processes import Failed
from benchmarks.subjects import Place, Subject

__all__ = ["CALLER", "CallCost", "checkCalls", "costOf"]

#: What SIPp's caller sends and expects in a call, one of each: these are the messages that pass X, which
#: sends the 100 itself.
CALLER = ("INVITE_Sent", "180_Recv", "200_Recv", "ACK_Sent", "BYE_Sent", "200_Recv")
_CALLEE = ("INVITE_Recv", "ACK_Recv", "BYE_Recv", "180_Sent", "200_Sent", "200_Sent")


@dataclass(frozen=True)
class CallCost:
    """
    @ivar milliseconds: of processor time of X, for one call.
    @ivar rate: calls a second that were really made.
    """

    milliseconds: float
    rate: float


def checkCalls(caller: Counts, callee: Counts, calls: int, trying: bool = True, behind: bool = True) -> None:
    """
    Holds what SIPp has counted to what the figures mean: every call succeeded, nothing was sent twice by
    anybody, and each message of each call passed X.

    @param trying: whether X is to answer each INVITE with 100.
    @param behind: whether the callee's figures are of these calls alone.
    @raise Failed: where that is not so.
    """
    if (caller.successful, caller.failed) != (calls, 0):
        raise Failed(f"of {calls} calls {caller.successful} succeeded and {caller.failed} failed")
    for side, counts in (("caller", caller), ("callee", callee)):
        again = counts.retransmissions + counts.together("_Retrans")
        if again:
            raise Failed(f"the {side} has counted {again} retransmissions in {calls} calls")
    steps = stepsOf(caller)
    for message in set(CALLER):
        if steps.get(message) != calls * CALLER.count(message):
            raise Failed(f"the caller has counted {steps} in {calls} calls")
    if trying and steps.get("100_Recv") != calls:
        raise Failed(f"the caller has been sent {steps.get('100_Recv')} times 100 in {calls} calls")
    steps = stepsOf(callee)
    for message in set(_CALLEE):
        if behind and steps.get(message) != calls * _CALLEE.count(message):
            raise Failed(f"the callee has counted {steps} in {calls} calls")


def costOf(
    subject: Subject,
    folder: Path,
    addresses: Addresses,
    seconds: float,
    warm: float,
    say: Callable[[str], None] = lambda text: None,
    patience: float = 60.0,
) -> CallCost:
    """
    One measurement of one program.

    @param seconds: how long calls are placed.
    @param warm: for how long the same load was there before. Transactions live for 32 s on UDP: what their
        end costs is in the figure where it is longer than that.
    @param patience: see L{call}.
    @raise Failed: where the calls were not such that the figure means anything.
    """
    callerHost, host, calleeHost = addresses.next(), addresses.next(), addresses.next()
    place = Place(host, 5060, calleeHost, 5070)
    before = round(subject.rate * warm)
    calls = round(subject.rate * seconds)
    with (
        Callee(folder, calleeHost, 5070, plain=subject.plain) as callee,
        subject.start(place, folder / subject.name) as process,
    ):
        # Let it come to rest: what it does at its start is no part of a call.
        time.sleep(1)
        first = call(folder, callerHost, (host, 5060), subject.rate, before, patience=patience)
        start = process.cpu()
        second = call(folder, callerHost, (host, 5060), subject.rate, calls, patience=patience)
        cost = (process.cpu() - start) / calls * 1000
        if not process.running():
            raise Failed(f"{subject.name} has ended; {process.story()}")
        heard = callee.end()
    together = Counts(
        calls=first.calls + second.calls,
        successful=first.successful + second.successful,
        failed=first.failed + second.failed,
        retransmissions=first.retransmissions + second.retransmissions,
        seconds=first.seconds + second.seconds,
        messages={step: number + first.messages.get(step, 0) for step, number in second.messages.items()},
    )
    checkCalls(together, heard, before + calls, trying=subject.messages == 7)
    say(f"{subject.label}: {cost:.3f} ms a call at {calls / second.seconds:.0f} calls/s")
    return CallCost(cost, calls / second.seconds)
