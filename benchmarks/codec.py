"""
What parsing and writing a message costs, against sipmessage doing the same in the same run::

    python benchmarks/codec.py [--iterations N] [--json FILE]

Parse; read the top Via's branch and sent-by, the tags of From and To, Call-ID, CSeq and Max-Forwards;
put one Via on top; write. On a typical INVITE and a typical 200, both with SDP. Exits with 1 where
ours takes more than an eighth of the time.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable

import sipmessage

from sipgrace.message.parser import parse

BOUND = 1 / 8
"""
The greatest permitted ratio of our time to theirs.
"""

SDP = (
    b"v=0\r\no=alice 2890844526 2890844526 IN IP4 192.0.2.101\r\ns=-\r\nc=IN IP4 192.0.2.101\r\nt=0 0\r\n"
    b"m=audio 49172 RTP/AVP 0 8 101\r\na=rtpmap:0 PCMU/8000\r\na=rtpmap:8 PCMA/8000\r\n"
    b"a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n"
)

INVITE = (
    b"INVITE sip:bob@biloxi.example.com SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP client.atlanta.example.com:5060;branch=z9hG4bK74bf9;rport\r\n"
    b"Max-Forwards: 70\r\n"
    b'From: "Alice" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n'
    b"To: Bob <sip:bob@biloxi.example.com>\r\n"
    b"Call-ID: 3848276298220188511@atlanta.example.com\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Contact: <sip:alice@client.atlanta.example.com>\r\n"
    b"Allow: INVITE, ACK, CANCEL, OPTIONS, BYE, UPDATE\r\n"
    b"Supported: replaces, timer\r\n"
    b"User-Agent: Phone/1.0\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: %d\r\n\r\n" % len(SDP)
) + SDP

OK = (
    b"SIP/2.0 200 OK\r\n"
    b"Via: SIP/2.0/UDP proxy.biloxi.example.com:5060;branch=z9hG4bK721e4.1\r\n"
    b"Via: SIP/2.0/UDP client.atlanta.example.com:5060;branch=z9hG4bK74bf9;received=192.0.2.101\r\n"
    b'From: "Alice" <sip:alice@atlanta.example.com>;tag=9fxced76sl\r\n'
    b"To: Bob <sip:bob@biloxi.example.com>;tag=314159\r\n"
    b"Call-ID: 3848276298220188511@atlanta.example.com\r\n"
    b"CSeq: 1 INVITE\r\n"
    b"Contact: <sip:bob@client.biloxi.example.com>\r\n"
    b"Content-Type: application/sdp\r\n"
    b"Content-Length: %d\r\n\r\n" % len(SDP)
) + SDP

VIA = b"SIP/2.0/SCTP ss1.atlanta.example.com:5060;branch=z9hG4bK2d4790.1"
THEIR_VIA = sipmessage.Via.parse(VIA.decode())


def ours(data: bytes) -> tuple[list[object], bytes]:
    """
    @return: what was read, and what was written.
    """
    message = parse(data)
    read: list[object] = [
        message.branch,
        message.sentBy,
        message.fromTag,
        message.toTag,
        message.callId,
        message.cseq,
        message.cseqMethod,
        message.maxForwards,
    ]
    message.pushVia(VIA)
    return read, message.toBytes()


def theirs(data: bytes) -> tuple[list[object], bytes]:
    """
    The same with sipmessage.
    """
    message = sipmessage.Message.parse(data)
    vias = message.via
    top = vias[0]
    cseq = message.cseq
    read: list[object] = [
        top.parameters.get("branch"),
        top.host,
        top.port,
        message.from_address.parameters.get("tag"),
        message.to_address.parameters.get("tag"),
        message.call_id,
        cseq.sequence,
        cseq.method,
        message.max_forwards,
    ]
    message.via = [THEIR_VIA, *vias]
    return read, bytes(message)


def timed(codec: Callable[[bytes], object], data: bytes, iterations: int) -> float:
    """
    @return: microseconds for one, on average.
    """
    started = time.perf_counter()
    for _ in range(iterations):
        codec(data)
    return (time.perf_counter() - started) / iterations * 1e6


def measure(iterations: int, rounds: int = 7) -> dict[str, dict[str, float]]:
    """
    Takes turns, and the best round of each, so that what else the machine does weighs little.

    @return: for C{invite} and C{ok}: C{ours_us}, C{theirs_us}, C{ratio} (ours to theirs).
    """
    figures = {}
    for name, data in (("invite", INVITE), ("ok", OK)):
        mine = other = float("inf")
        for _ in range(rounds):
            mine = min(mine, timed(ours, data, iterations))
            other = min(other, timed(theirs, data, iterations))
        figures[name] = {"ours_us": mine, "theirs_us": other, "ratio": mine / other}
    return figures


def main(arguments: list[str]) -> int:
    """
    @return: the exit status.
    """
    options = argparse.ArgumentParser(description="parse + read + write: ours against sipmessage")
    options.add_argument("--iterations", type=int, default=3000, help="of each, in each of 7 rounds")
    options.add_argument("--json", metavar="FILE", help="write the figures there too")
    chosen = options.parse_args(arguments)
    figures = measure(chosen.iterations)
    for name, row in figures.items():
        print(
            f"{name:8} ours {row['ours_us']:6.2f} µs   sipmessage {row['theirs_us']:6.2f} µs   "
            f"ratio 1/{1 / row['ratio']:.1f} (at most 1/{1 / BOUND:.0f})"
        )
    if chosen.json:
        with open(chosen.json, "w", encoding="utf-8") as file:
            json.dump(figures, file, indent=2)
            file.write("\n")
    return 0 if all(row["ratio"] <= BOUND for row in figures.values()) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
