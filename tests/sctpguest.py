"""
What tests of kernel SCTP need of the machine: whether there is any, and addresses that may come and go.

Addresses are changed in the guest of C{tools/kernel/run} alone, which is thrown away afterwards.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Collection
from pathlib import Path

from sipgrace.transport.sctp.stack import kernelSpeaksSCTP

__all__ = ["LOSS", "NEEDS_GUEST", "NEEDS_KERNEL", "Loss", "addAddress", "removeAddress", "routeIntoNothing"]

_HOW = "run it with tools/kernel/run"

NEEDS_KERNEL = None if kernelSpeaksSCTP() else f"kernel SCTP is missing here: {_HOW}"
"""The reason to skip a test that needs kernel SCTP."""

NEEDS_GUEST = NEEDS_KERNEL or (
    None
    if os.environ.get("SIPGRACE_KERNEL_GUEST")
    else f"changes addresses of the machine, so only in the guest of kernel SCTP: {_HOW}"
)
"""The reason to skip a test that changes addresses, routes or sysctls."""

LOSS = NEEDS_GUEST or (
    None if shutil.which("tc") else "kernel SCTP under loss needs tc, of the Debian package iproute2"
)
"""The reason to skip a test under loss and delay."""


def ip(*words: str) -> None:
    """
    Runs C{ip}, or fails with what it said.
    """
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def addAddress(host: str) -> None:
    """
    Gives the loopback one more address; nothing if it has it.
    """
    try:
        ip("addr", "add", f"{host}/32", "dev", "lo")
    except RuntimeError as error:
        if "exists" not in str(error):
            raise


def removeAddress(host: str) -> None:
    """
    Takes it away: what is sent there comes to nothing.
    """
    ip("addr", "del", f"{host}/32", "dev", "lo")


def routeIntoNothing(family: int = 4) -> str:
    """
    Adds an interface that swallows what is sent.

    @param family: 4 or 6.
    @return: an address that the route to it leads nowhere.
    """
    if not Path("/sys/class/net/nothing").exists():
        ip("link", "add", "nothing", "type", "dummy")
        ip("addr", "add", "10.99.0.1/24", "dev", "nothing")
        # an address that may be used at once: no other machine can have it
        Path("/proc/sys/net/ipv6/conf/nothing/accept_dad").write_text("0")
        ip("addr", "add", "fd99::1/64", "dev", "nothing")
        ip("link", "set", "nothing", "up")
    return "10.99.0.2" if family == 4 else "fd99::2"


class Loss:
    """
    Loses and delays packets on the loopback of the guest, in a C{with}.
    """

    def __init__(self, *netem: str, hosts: Collection[str] = ()) -> None:
        """
        @param netem: C{"loss", "5%", "delay", "20ms"} and the like.
        @param hosts: the IPv4 addresses to and from which this happens; by default all.
        """
        self.netem = netem
        self.hosts = hosts

    def lost(self) -> int:
        """
        How many packets were lost so far.
        """
        said = _tc("-s qdisc show dev lo")
        found = re.search(r"qdisc netem .*?dropped (\d+)", said, re.DOTALL)
        if found is None:
            raise RuntimeError(f"no netem in what tc says: {said}")
        return int(found[1])

    def __enter__(self) -> Loss:
        if NEEDS_GUEST:
            raise RuntimeError(NEEDS_GUEST)
        if not self.hosts:
            _tc("qdisc add dev lo root netem", *self.netem)
            return self
        # All goes by the first of four bands, but for what the filters put into the last.
        _tc("qdisc add dev lo root handle 1: prio bands 4 priomap", *["0"] * 16)
        _tc("qdisc add dev lo parent 1:4 netem", *self.netem)
        for host in self.hosts:
            for way in ("src", "dst"):
                _tc("filter add dev lo parent 1: protocol ip u32 match ip", way, host, "flowid 1:4")
        return self

    def __exit__(self, *details: object) -> None:
        _tc("qdisc del dev lo root")


def _tc(*words: str) -> str:
    return subprocess.run(
        ["tc", *" ".join(words).split()], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
