"""
A role that does nothing but say what it is told, for the tests of processes and signals (twistd -noy).
DUMMY in the environment says how it behaves, by words.
"""

import os

from twisted.application.service import Application, Service
from twisted.internet import reactor
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import deferLater

from sipgrace.errors import OrderRefused, TransportError
from sipgrace.tap.signals import RoleProcess

WORDS = os.environ["DUMMY"].split()


def say(text):
    # Not print: twistd makes that a line of the log.
    os.write(1, f"<{text}>".encode())


class Dummy:
    def startService(self):
        say("start")
        if "refused" in WORDS:
            return fail(TransportError("no such address"))
        if "broken" in WORDS:
            raise ZeroDivisionError("broken")
        if "slow" in WORDS:
            self.starting = Deferred()
            return self.starting
        return deferLater(reactor, 0, say, "started")

    def stopService(self):
        say("stop")
        if "slow" in WORDS:
            self.starting.errback(TransportError("no longer open"))
        return Deferred() if "hangs" in WORDS else succeed(None)

    def leave(self):
        say("leave")
        if "cancelled" in WORDS:
            WORDS.remove("cancelled")
            reactor.callLater(0.1, say, "stayed")
            return deferLater(reactor, 0.05).addCallback(lambda _: fail(OrderRefused("cancelled")))
        if "never" in WORDS:
            return Deferred()
        return deferLater(reactor, 0.05, say, "left")

    def leaveNow(self):
        say("leaveNow")
        if "clumsy" in WORDS:
            raise ZeroDivisionError("clumsy")


class Beside(Service):
    def startService(self):
        say("beside")
        return fail(TransportError("no such door")) if "doorless" in WORDS else None

    def stopService(self):
        say("besideStopped")


class Prepared(Beside):
    def prepare(self):
        say("prepared")
        return fail(TransportError("no such file")) if "unprepared" in WORDS else None


application = Application("dummy")
beside = [Beside()]
if {"preparing", "unprepared"} & set(WORDS):
    beside.append(Prepared())
RoleProcess(reactor, Dummy(), *beside).setServiceParent(application)
