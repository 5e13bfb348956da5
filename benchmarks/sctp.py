"""
What the userspace SCTP stack costs: two processes on loopback, one that listens and this one.

    python benchmarks/sctp.py [--messages N] [--associations N] [--size BYTES] [--profile]

Prints associations a second (opened one after the other, and all at once), messages a second one way with
the sender saturated, and echoed in a window of 32, with the CPU time of both processes per message; and the
CPU that an idle process takes, with a listener alone and with an association.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react

from sipgrace.transport.sctp.userspace import userspaceStack
from sipgrace.transport.sctp.userspaceguard import UserspaceLimits

LIMITS = UserspaceLimits(initRate=1e9, initBurst=1e9, sourceRate=1e9, sourceBurst=1e9)


def cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


class Answerer(Protocol):
    """
    Echoes; what begins with C{q} is swallowed; C{cpu} is answered with the CPU seconds used so far, and
    C{count} with the messages swallowed.
    """

    count = 0

    def dataReceived(self, data: bytes) -> None:
        if data[:1] == b"q":
            self.count += 1
        elif data == b"cpu":
            self.transport.write(b"%f" % cpu())
        elif data == b"count":
            self.transport.write(b"%d" % self.count)
        else:
            self.transport.write(data)


class Asker(Protocol):
    def __init__(self) -> None:
        self.expected = 0
        self.done: Deferred[bytes] = Deferred()

    def ask(self, data: bytes) -> Deferred[bytes]:
        self.expected = 1
        self.done = Deferred()
        self.transport.write(data)
        return self.done

    def echo(self, size: int, total: int, window: int) -> Deferred[bytes]:
        self.expected = total
        self.left = total - window
        self.done = Deferred()
        for _ in range(window):
            self.transport.write(b"e" * size)
        return self.done

    def dataReceived(self, data: bytes) -> None:
        self.expected -= 1
        if not self.expected:
            self.done.callback(data)
        elif data[:1] == b"e" and self.left > 0:
            self.left -= 1
            self.transport.write(data)


class Flood:
    """
    Writes until it is paused.
    """

    def __init__(self, transport: Any, size: int, total: int) -> None:
        self.transport = transport
        self.message = b"q" * size
        self.left = total
        self.paused = False

    def run(self) -> None:
        while self.left and not self.paused:
            for _ in range(min(self.left, 50)):
                self.left -= 1
                self.transport.write(self.message)
                if self.paused:
                    break
            else:
                if self.left:
                    reactor.callLater(0, self.run)
                    return
        if not self.left:
            self.transport.unregisterProducer()

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        self.paused = False
        self.run()

    def stopProducing(self) -> None:
        self.left = 0


async def serve() -> None:
    userspaceStack(LIMITS)
    port = await serverFromString(reactor, "sctp:0:interface=127.0.0.1:encaps=0:stack=userspace").listen(
        Factory.forProtocol(Answerer)
    )
    address = port.getHost()
    print(address.port, address.encaps, flush=True)
    await Deferred()


async def pause(seconds: float) -> None:
    done: Deferred[None] = Deferred()
    reactor.callLater(seconds, done.callback, None)
    await done


async def measure(options: Any) -> None:
    userspaceStack(LIMITS)
    child = subprocess.Popen([sys.executable, __file__, "--serve"], stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        port, encaps = child.stdout.readline().split()
        text = f"sctp:127.0.0.1:{port.decode()}:encaps={encaps.decode()}:stack=userspace:timeout=30"
        endpoint = clientFromString(reactor, text)
        keeper = await endpoint.connect(Factory.forProtocol(Asker))
        await compare("one after the other", options.associations, keeper, endpoint, False)
        await compare("all at once", options.associations, keeper, endpoint, True)

        profile = None
        if options.profile:
            import cProfile

            profile = cProfile.Profile()
            profile.enable()
        for name, run in (("one way", oneWay), ("echoed", echoed)):
            mine, theirs, begun = cpu(), float(await keeper.ask(b"cpu")), time.monotonic()
            await run(keeper, options)
            took = time.monotonic() - begun
            used = [cpu() - mine, float(await keeper.ask(b"cpu")) - theirs]
            print(
                f"{name}: {options.messages / took:.0f} messages/s of {options.size} B, CPU per message "
                f"{used[0] / options.messages * 1e6:.1f} µs here, "
                f"{used[1] / options.messages * 1e6:.1f} µs there"
            )
        if profile is not None:
            import pstats

            profile.disable()
            pstats.Stats(profile).sort_stats("tottime").print_stats(14)
        mine, theirs = cpu(), float(await keeper.ask(b"cpu"))
        await pause(5.0)
        used = [cpu() - mine, float(await keeper.ask(b"cpu")) - theirs]
        print(f"idle with an association: {used[0] / 5 * 100:.2f} % here, {used[1] / 5 * 100:.2f} % there")
    finally:
        child.kill()


async def compare(name: str, count: int, keeper: Any, endpoint: Any, together: bool) -> None:
    mine, theirs, begun = cpu(), float(await keeper.ask(b"cpu")), time.monotonic()
    factory = Factory.forProtocol(Asker)
    if together:
        opened = await gatherResults([endpoint.connect(factory) for _ in range(count)])
    else:
        opened = [await endpoint.connect(factory) for _ in range(count)]
    took = time.monotonic() - begun
    used = [cpu() - mine, float(await keeper.ask(b"cpu")) - theirs]
    print(
        f"associations {name}: {count / took:.0f}/s, CPU each {used[0] / count * 1e6:.0f} µs here, "
        f"{used[1] / count * 1e6:.0f} µs there"
    )
    for each in opened:
        each.transport.loseConnection()
    await pause(0.5)


async def oneWay(keeper: Any, options: Any) -> None:
    flood = Flood(keeper.transport, options.size, options.messages)
    keeper.transport.registerProducer(flood, True)
    before = int(await keeper.ask(b"count"))
    flood.run()
    while int(await keeper.ask(b"count")) - before < options.messages:
        await pause(0.01)


async def echoed(keeper: Any, options: Any) -> None:
    await keeper.echo(options.size, options.messages, 32)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--messages", type=int, default=50000)
    parser.add_argument("--associations", type=int, default=1000)
    parser.add_argument("--size", type=int, default=500)
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    react(lambda _: Deferred.fromCoroutine(serve() if options.serve else measure(options)))


if __name__ == "__main__":
    main()
