"""
Debian's SIPp as caller and callee.
"""

from __future__ import annotations

import csv
import math
import os
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from twisted.trial.unittest import SkipTest, TestCase

from tests.scenarios.addresses import bound
from tests.scenarios.network import Network
from tests.scenarios.processes import Process

HERE = Path(__file__).parent

#: How many calls a test makes with SIPp; C{SIPGRACE_SCENARIO_CALLS=2000} for a longer run.
CALLS = int(os.environ.get("SIPGRACE_SCENARIO_CALLS", "200"))

#: Calls a second.
RATE = int(os.environ.get("SIPGRACE_SCENARIO_RATE", "80"))


def needsSIPp() -> None:
    """
    Skips the test where there is no SIPp.
    """
    if which("sipp") is None:
        raise SkipTest("SIPp is not there (Debian's package sip-tester)")


@dataclass(frozen=True)
class Outcome:
    """
    What a SIPp says of its calls.

    @ivar retransmissions: how many messages it sent again.
    """

    created: int
    successful: int
    failed: int
    retransmissions: int


class SIPp(Process):
    """
    One SIPp.

    @ivar port: its own port, of UDP or TCP.
    """

    def __init__(
        self, test: TestCase, network: Network, name: str, port: int, transport: str, *arguments: str
    ) -> None:
        """
        @param transport: C{"udp"} or C{"tcp"}.
        """
        self.network = network
        self.port = port
        self._way = transport
        self._statistics = network.directory / f"{name}.csv"
        self._errors = network.directory / f"{name}.errors"
        super().__init__(
            test,
            name,
            "sipp",
            *arguments,
            *("-t", f"{transport[0]}1", "-i", network.host, "-p", str(port), "-nostdin", "-skip_rlimit"),
            # An ACK that SIPp's own socket drops while the machine is busy would fail a call.
            *("-buff_size", "4194304"),
            *("-trace_stat", "-stf", str(self._statistics), "-fd", "1"),
            *("-trace_err", "-error_file", str(self._errors), "-f", "60"),
            # It ends by itself where a test is gone that was to end it, and no sooner than the test may take.
            *("-timeout", str(max(300, math.ceil(test.getTimeout()))), "-timeout_error"),
            *("-default_behaviors", "all"),
        )

    async def listening(self) -> None:
        """
        Waits until it listens.
        """
        await bound(self._way, self.network.host, self.port)

    def outcome(self) -> Outcome:
        """
        What its statistics say so far: it writes them every second, and at its end.
        """
        if not self._statistics.exists():
            return Outcome(0, 0, 0, 0)
        with self._statistics.open(newline="", encoding="ascii") as lines:
            rows = [row for row in csv.DictReader(lines, delimiter=";") if row["Retransmissions(C)"]]
        if not rows:
            return Outcome(0, 0, 0, 0)
        last = rows[-1]
        return Outcome(
            int(last["TotalCallCreated"]),
            int(last["SuccessfulCall(C)"]),
            int(last["FailedCall(C)"]),
            int(last["Retransmissions(C)"]),
        )

    def story(self) -> str:
        """
        What it has noted of messages that it did not expect.
        """
        errors = self._errors.read_text(errors="replace") if self._errors.exists() else ""
        # What failed a call, rather than what came after its end.
        errors = errors[max(0, errors.find("Abort") - 100) :][:1200]
        return f"{self.errors.decode(errors='replace')[-500:]}\n{errors}\n{self.network.story()}"


async def callee(
    test: TestCase,
    network: Network,
    transport: str,
    port: int,
    calls: int,
    ring: float = 0.1,
    own: bool = True,
) -> SIPp:
    """
    Starts a SIPp that is called so many times, and waits until it listens.

    @param ring: seconds for which it rings.
    @param own: whether it follows the route set; otherwise it is SIPp's own C{uas}.
    """
    scenario = ("-sf", str(HERE / "uas.xml"), "-d", str(round(ring * 1000))) if own else ("-sn", "uas")
    sipp = SIPp(test, network, f"callee-{transport}", port, transport, *scenario, "-m", str(calls))
    await sipp.listening()
    return sipp


def caller(
    test: TestCase,
    network: Network,
    transport: str,
    port: int,
    client: int,
    user: str,
    calls: int = CALLS,
    rate: int = RATE,
    own: bool = True,
) -> SIPp:
    """
    Starts a SIPp that calls so many times.

    @param client: the number of the client whose user it is.
    @param user: whom it calls.
    """
    # SIPp's own would send BYE right after the ACK, and one may overtake the other where they take two ways.
    scenario = ("-sf", str(HERE / "uac.xml")) if own else ("-sn", "uac", "-d", "200")
    host, to = network.users(client)
    return SIPp(
        test,
        network,
        f"caller-{transport}",
        port,
        transport,
        *(*scenario, f"{host}:{to}", "-s", user, "-m", str(calls), "-r", str(rate), "-l", str(10 * rate)),
    )
