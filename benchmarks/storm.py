"""
What a storm of INVITEs that a draining server refuses does to the calls that it had accepted::

    python -m benchmarks.storm HOST PORT OWN-ADDRESS RATE SECONDS    (the storm itself, a process of its own)
"""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.load import Addresses
from benchmarks.processes import Failed, Process, waitFor
from benchmarks.subjects import PROBE, ROOT, SUBJECTS, Place

__all__ = ["Storm", "stormOf"]

#: INVITEs that wait for their refusal at a time, where as many are to be refused as can be.
_WINDOW = 200

#: Calls that were accepted before; seconds between two messages of theirs.
_CALLS, _APART = 200, 0.002

_CONTROL = """
[control]
socket = "control.sock"
[drain]
guard = 300
"""

_INVITE = (
    "INVITE sip:{user}@{host}:5060 SIP/2.0\r\nVia: SIP/2.0/UDP {own}:{port};branch=z9hG4bK{mark}{number}\r\n"
    "Max-Forwards: 70\r\nFrom: <sip:caller@{own}>;tag={mark}{number}\r\nTo: <sip:{user}@{host}>\r\n"
    "Call-ID: {mark}{number}@{own}\r\nCSeq: 1 INVITE\r\nContact: <sip:caller@{own}:{port}>\r\n"
    "Content-Length: 0\r\n\r\n"
)


@dataclass(frozen=True)
class Storm:
    """
    @ivar sent: INVITEs a second that came to be refused.
    @ivar refused: how many of these a second were answered with 503.
    @ivar p50: milliseconds that a message of an accepted call took through the server; C{p99}, C{worst}
        likewise.
    """

    sent: float
    refused: float
    p50: float
    p99: float
    worst: float


def stormOf(folder: Path, addresses: Addresses, rate: int, seconds: float) -> Storm:
    """
    @param rate: INVITEs a second; 0 for as many as are refused, a few at a time.
    @raise Failed: where a message of an accepted call is lost.
    """
    own, host, callee, blower = (addresses.next() for _ in range(4))
    subject = SUBJECTS["sipgrace"]
    place = folder / "storm"
    with (
        subject.start(Place(host, 5060, callee, 5070), place, _CONTROL) as server,
        _Accepted(own, callee) as calls,
    ):
        waitFor(lambda: (place / "control.sock").exists() or not server.running(), "the control socket")
        calls.place(host)
        command = [
            sys.executable,
            "-m",
            "sipgrace.commands.main",
            "drain",
            "--socket",
            str(place / "control.sock"),
        ]
        subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
        given = ["-m", "benchmarks.storm", host, "5060", blower, str(rate), str(seconds)]
        blowing = Process([sys.executable, *given], folder / "blower", {"PYTHONPATH": str(ROOT)})
        with blowing:
            time.sleep(0.5)
            times = calls.time(seconds - 1)
            blowing.wait(seconds + 30)
            figures = json.loads(blowing.output())
    return Storm(
        figures["sent"] / figures["seconds"],
        figures["refused"] / figures["seconds"],
        *(times[int(len(times) * share)] for share in (0.5, 0.99)),
        times[-1],
    )


class _Accepted:
    """
    Both ends of some calls.
    """

    def __init__(self, own: str, callee: str) -> None:
        self._own = own
        self.caller = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.callee = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.caller.bind((own, 0))
        self.callee.bind((callee, PROBE))
        for one in (self.caller, self.callee):
            one.settimeout(5)
        self._rings: list[tuple[bytes, tuple[str, int]]] = []

    def __enter__(self) -> _Accepted:
        return self

    def __exit__(self, *details: object) -> None:
        self.caller.close()
        self.callee.close()

    def place(self, host: str) -> None:
        """
        Places the calls: they ring from now on.
        """
        port = self.caller.getsockname()[1]
        for number in range(_CALLS):
            text = _INVITE.format(
                user="probe", host=host, own=self._own, port=port, mark="kept", number=number
            )
            self.caller.sendto(text.encode("ascii"), (host, 5060))
            data, source = self.callee.recvfrom(65536)
            lines = data.split(b"\r\n")
            names = (b"Via:", b"From:", b"Call-ID:", b"CSeq:")
            kept = [line for line in lines if line.startswith(names)]
            to = next(line for line in lines if line.startswith(b"To:")) + b";tag=there"
            self._rings.append((b"\r\n".join([*kept, to, b"Content-Length: 0", b"", b""]), source))

    def time(self, seconds: float) -> list[float]:
        """
        Has the calls ring again and again.

        @return: how long each 180 took through the server, in milliseconds, sorted.
        """
        times = []
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            rest, source = self._rings[number % len(self._rings)]
            number += 1
            mark = b"X-Number: %d\r\n" % number
            begun = time.perf_counter()
            self.callee.sendto(b"SIP/2.0 180 Ringing\r\n" + mark + rest, source)
            while True:
                try:
                    data = self.caller.recv(65536)
                except TimeoutError:
                    raise Failed(
                        f"180 number {number} of an accepted call has not come through within 5 s; "
                        f"dropped by the kernel, by socket: {_dropped()}"
                    ) from None
                if mark in data:
                    break
            times.append((time.perf_counter() - begun) * 1000)
            time.sleep(_APART)
        return sorted(times)


def _dropped() -> dict[str, int]:
    """
    @return: how many datagrams the kernel has dropped because a UDP socket of this host was full, by the
        address and port of those that were.
    """
    drops = {}
    for line in Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]:
        words = line.split()
        if words[-1] != "0":
            address, port = words[1].split(":")
            host = socket.inet_ntoa(int(address, 16).to_bytes(4, sys.byteorder))
            drops[f"{host}:{int(port, 16)}"] = int(words[-1])
    return drops


def blow(host: str, port: int, own: str, rate: int, seconds: float) -> dict[str, float]:
    """
    Sends INVITEs, and an ACK for each refusal.

    @param rate: see L{stormOf}.
    """
    there = (host, port)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wind:
        wind.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        wind.bind((own, 0))
        wind.setblocking(False)
        mine = wind.getsockname()[1]
        text = _INVITE.format(user="x", host=host, own=own, port=mine, mark="storm", number="%d")
        template = text.encode("ascii")
        sent = refused = 0
        begun = time.monotonic()
        while (now := time.monotonic() - begun) < seconds:
            due = round(now * rate) if rate else refused + _WINDOW
            for _ in range(min(due - sent, 50)):
                wind.sendto(template % (sent, sent, sent), there)
                sent += 1
            if due <= sent:
                select.select([wind], [], [], 0.001)
            for _ in range(200):
                try:
                    data = wind.recv(65536)
                except BlockingIOError:
                    break
                if data.startswith(b"SIP/2.0 503"):
                    refused += 1
                    wind.sendto(_ack(data, host), there)
        return {"sent": sent, "refused": refused, "seconds": time.monotonic() - begun}


def _ack(refusal: bytes, host: str) -> bytes:
    lines = refusal.split(b"\r\n")
    kept = [line for line in lines if line.startswith((b"Via:", b"From:", b"To:", b"Call-ID:"))]
    first = b"ACK sip:x@%b:5060 SIP/2.0" % host.encode("ascii")
    return b"\r\n".join([first, *kept, b"CSeq: 1 ACK", b"Max-Forwards: 70", b"Content-Length: 0", b"", b""])


if __name__ == "__main__":
    print(json.dumps(blow(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))))
