"""
One worker of a server: C{python -m sipgrace.tap.worker NUMBER COUNT SHARED PATH STACK}, started by the front
alone (L{sipgrace.workers.spawning}).
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from contextlib import suppress
from functools import partial
from typing import Any, cast

from twisted.internet.protocol import Factory
from twisted.logger import LogLevel, eventAsJSON, globalLogBeginner

from sipgrace.config.load import parseServer
from sipgrace.lifecycle.steadyclock import keepSteady
from sipgrace.tap.collector import Collector
from sipgrace.workers.siblings import Siblings
from sipgrace.workers.spawning import CONFIG, LINK, OWN
from sipgrace.workers.worker import Worker

#: So long it goes on when the front has gone, in seconds, for what was sent to leave.
_LAST = 0.1


def _log(event: Any) -> None:
    # A front that hangs does not read; that must not hold up calls.
    if event.get("log_level", LogLevel.info) is LogLevel.debug:
        return
    with suppress(OSError):
        os.write(1, eventAsJSON(event).encode("utf-8") + b"\n")


def main(arguments: list[str]) -> None:
    """
    Runs one until the front has gone.
    """
    number, count = int(arguments[0]), int(arguments[1])
    shared, path, stack = arguments[2].encode("ascii"), arguments[3], arguments[4]
    # What is sent to all processes of a service is for the front: it tells the workers what to do.
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    os.set_blocking(1, False)
    globalLogBeginner.beginLoggingTo([cast(Any, _log)], redirectStandardIO=False)
    with open(CONFIG, "rb") as file:
        config = parseServer(file.read().decode("utf-8"), path)
    config = config.model_copy(update={"server": config.server.model_copy(update={"stack": stack})})

    from twisted.internet import reactor as installed

    reactor: Any = installed
    keepSteady(reactor)
    sockets = [socket.socket(fileno=OWN + at) for at in range(count + 1)]
    own, writes = sockets[0], sockets[1:]
    others = {other: each for other, each in enumerate(writes) if other != number}
    siblings = partial(Siblings, reactor, number, shared, own, others)

    def gone() -> None:
        worker.stop()
        reactor.callLater(_LAST, reactor.stop)

    worker = Worker(reactor, config, number, shared, siblings, gone)

    def begin() -> None:
        factory: Any = Factory.forProtocol(lambda: worker.link)
        factory.noisy = False
        os.set_blocking(LINK, False)
        reactor.adoptStreamConnection(LINK, socket.AF_UNIX, factory)
        os.close(LINK)
        worker.start()
        Collector(reactor, worker.service.element.layer).startService()

    reactor.callWhenRunning(begin)
    reactor.run(installSignalHandlers=False)


if __name__ == "__main__":
    main(sys.argv[1:])
