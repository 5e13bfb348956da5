"""
How long a message takes through a program that has calls to set up.
"""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Addresses, Callee, call
from benchmarks.processes import Failed
from benchmarks.subjects import PROBE, Place, Subject

__all__ = ["Delay", "delayOf"]

#: Seconds between two messages that are timed.
_APART = 0.005

_MESSAGE = (
    "MESSAGE sip:probe@{host}:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {own}:{port};branch=z9hG4bKprobe{number}\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:prober@{own}>;tag=1\r\nTo: <sip:probe@{host}>\r\n"
    "Call-ID: {number}@{own}\r\nCSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
)


@dataclass(frozen=True)
class Delay:
    """
    In milliseconds, from one socket through the program to another.
    """

    p50: float
    p99: float
    worst: float


def delayOf(subject: Subject, folder: Path, addresses: Addresses, rate: int, seconds: float) -> Delay:
    """
    @param rate: calls a second that it has beside.
    @raise Failed: where a message does not come, or a call fails.
    """
    callerHost, host, calleeHost = addresses.next(), addresses.next(), addresses.next()
    calls = round(rate * (seconds + 2))
    failures: list[Failed] = []

    def load() -> None:
        try:
            counts = call(folder, callerHost, (host, 5060), rate, calls)
            if (counts.successful, counts.failed) != (calls, 0):
                raise Failed(f"of {calls} calls {counts.successful} succeeded and {counts.failed} failed")
        except (Failed, subprocess.SubprocessError) as error:
            failures.append(Failed(str(error)))

    with Callee(folder, calleeHost, 5070), subject.start(Place(host, 5060, calleeHost, 5070), folder / "x"):
        loading = threading.Thread(target=load)
        loading.start()
        time.sleep(1)
        try:
            times = _times(callerHost, host, calleeHost, round(seconds / _APART))
        finally:
            loading.join()
    if failures:
        raise failures[0]
    return Delay(*(times[int(len(times) * share)] for share in (0.5, 0.99)), times[-1])


def _times(own: str, host: str, end: str, number: int) -> list[float]:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hearer,
    ):
        sender.bind((own, 0))
        port = sender.getsockname()[1]
        hearer.bind((end, PROBE))
        hearer.settimeout(2)
        times = []
        for each in range(number):
            text = _MESSAGE.format(host=host, own=own, port=port, number=each).encode("ascii")
            begun = time.perf_counter()
            sender.sendto(text, (host, 5060))
            try:
                data, source = hearer.recvfrom(65536)
            except TimeoutError:
                raise Failed("a message has not come through within 2 s") from None
            times.append((time.perf_counter() - begun) * 1000)
            hearer.sendto(_answer(data), source)
            sender.recv(65536)
            time.sleep(_APART)
    return sorted(times)


def _answer(request: bytes) -> bytes:
    lines = request.split(b"\r\n")
    kept = [line for line in lines if line.startswith((b"Via:", b"From:", b"To:", b"Call-ID:", b"CSeq:"))]
    return b"\r\n".join([b"SIP/2.0 200 OK", *kept, b"Content-Length: 0", b"", b""])
