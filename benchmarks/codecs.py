"""
Our codec beside others, each doing what L{benchmarks.codec} has it do: parse, read, put a Via on top, write.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from twisted.protocols import sip

from benchmarks.codec import INVITE, OK, VIA, measure, timed
from benchmarks.processes import Failed

__all__ = ["codecs"]

#: Run by the Python that has sippy: it has nothing of ours.
_SIPPY = """
import json, sys, time
from sippy.SipRequest import SipRequest
from sippy.SipResponse import SipResponse
from sippy.SipHeader import SipHeader

given = json.load(sys.stdin)
via = SipHeader(s="Via: " + given["via"])

def codec(kind, text):
    message = kind(text)
    top = message.getHFBody("via")
    cseq = message.getHFBody("cseq")
    tags = [message.getHFBody(name).getTag() for name in ("from", "to")]
    read = [top.getBranch(), top.getAddr(), tags, str(message.getHFBody("call-id")), cseq.getCSeqNum(),
        cseq.getCSeqMethod(), message.getHFBodys("max-forwards")]
    message.headers.insert(0, via)
    return read, str(message)

found = {}
for name, kind in (("invite", SipRequest), ("ok", SipResponse)):
    best = 1e9
    for _ in range(given["rounds"]):
        started = time.perf_counter()
        for _ in range(given["iterations"]):
            codec(kind, given[name])
        best = min(best, (time.perf_counter() - started) / given["iterations"] * 1e6)
    found[name] = best
print(json.dumps(found))
"""


def _twisted(data: bytes) -> tuple[list[object], bytes]:
    messages: list[Any] = []
    parser = sip.MessagesParser(messages.append)
    parser.dataReceived(data)
    parser.dataDone()
    message = messages[0]
    top = sip.parseViaHeader(message.headers["via"][0])
    sender, to = (sip.parseAddress(message.headers[name][0]) for name in ("from", "to"))
    read: list[object] = [
        top.branch,
        top.host,
        top.port,
        sender[2].get("tag"),
        to[2].get("tag"),
        message.headers["call-id"][0],
        message.headers["cseq"][0].split(),
        message.headers.get("max-forwards"),
    ]
    message.headers["via"].insert(0, VIA.decode("ascii"))
    return read, message.toString().encode("utf-8")


def codecs(sippy: Path | None, iterations: int = 2000, rounds: int = 5) -> dict[str, dict[str, float]]:
    """
    @param sippy: the Python that has it, or C{None}: then it is left out.
    @return: for C{invite} and C{ok}: microseconds by name, each the best of the rounds.
    @raise Failed: where sippy does not do what it is asked for.
    """
    found = {
        name: {"sipgrace": row["ours_us"], "sipmessage": row["theirs_us"]}
        for name, row in measure(iterations, rounds).items()
    }
    for name, data in (("invite", INVITE), ("ok", OK)):
        found[name]["twisted"] = min(timed(_twisted, data, iterations) for _ in range(rounds))
    if sippy is not None:
        texts = {"invite": INVITE.decode("ascii"), "ok": OK.decode("ascii"), "via": VIA.decode("ascii")}
        given = json.dumps({**texts, "iterations": iterations, "rounds": rounds})
        command = [str(sippy), "-c", _SIPPY]
        done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failed(f"sippy's codec: {done.stderr[-500:]}")
        for name, microseconds in json.loads(done.stdout).items():
            found[name]["sippy"] = microseconds
    return found
