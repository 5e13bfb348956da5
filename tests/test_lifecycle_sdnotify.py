"""
What systemd is told, over real datagram sockets.
"""

from __future__ import annotations

import os
import socket

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.lifecycle.orders import Kind
from sipgrace.lifecycle.sdnotify import Notifier, Systemd
from tests.test_lifecycle_machine import Call, World, order


class Manager:
    """
    The service manager's end.
    """

    def __init__(self, case: SynchronousTestCase, abstract: bool = False) -> None:
        # A path of a UNIX socket may have about a hundred characters: trial's own are too long.
        name = f"/tmp/sipgrace-notify-{os.getpid()}-{id(self)}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        case.addCleanup(self.socket.close)
        if abstract:
            self.socket.bind("\0" + name)
            self.environ = {"NOTIFY_SOCKET": "@" + name}
        else:
            self.socket.bind(name)
            case.addCleanup(os.unlink, name)
            self.environ = {"NOTIFY_SOCKET": name}
        self.socket.setblocking(False)

    def told(self) -> list[str]:
        messages = []
        while True:
            try:
                messages.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return messages


class NotifierTests(SynchronousTestCase):
    def test_path(self) -> None:
        manager = Manager(self)
        notifier = Notifier(manager.environ)
        self.assertTrue(notifier.wanted)
        notifier.send("READY=1", "STATUS=Serving")
        self.assertEqual(manager.told(), ["READY=1\nSTATUS=Serving"])

    def test_abstract(self) -> None:
        manager = Manager(self, abstract=True)
        Notifier(manager.environ).send("STOPPING=1")
        self.assertEqual(manager.told(), ["STOPPING=1"])

    def test_unset(self) -> None:
        for environ in ({}, {"NOTIFY_SOCKET": ""}):
            notifier = Notifier(environ)
            self.assertFalse(notifier.wanted)
            notifier.send("READY=1")

    def test_strange(self) -> None:
        """
        What is neither a path nor an abstract name is not guessed at.
        """
        self.assertFalse(Notifier({"NOTIFY_SOCKET": "vsock:2:1234"}).wanted)

    def test_nobodyThere(self) -> None:
        """
        The server goes on.
        """
        Notifier({"NOTIFY_SOCKET": "/nonexistent/notify"}).send("READY=1")


class SystemdTests(SynchronousTestCase):
    def watch(self, world: World) -> tuple[Manager, Systemd]:
        manager = Manager(self)
        systemd = Systemd(Notifier(manager.environ), world.clock, world.lifecycle.status)
        world.lifecycle.observe(systemd)
        return manager, systemd

    def test_start(self) -> None:
        world = World(serving=False, associations=0)
        manager, _ = self.watch(world)
        self.assertEqual(manager.told(), [])
        world.lifecycle.resume()
        self.assertEqual(manager.told(), ["READY=1\nSTATUS=Serving"])

    def test_drain(self) -> None:
        """
        While it drains, systemd is asked each second for more time, until it is offline.
        """
        world = World()
        call = Call(world, "call")
        manager, systemd = self.watch(world)
        systemd.leaving()
        systemd.leaving()
        self.assertEqual(manager.told(), ["STOPPING=1\nSTATUS=Leaving\nEXTEND_TIMEOUT_USEC=10000000"])
        world.lifecycle.drain(order())
        draining = (
            "STATUS=Draining: 1 accepted INVITEs and 2 associations left, guard in {} s\n"
            "EXTEND_TIMEOUT_USEC=10000000"
        )
        self.assertEqual(manager.told(), [draining.format(30)])
        world.lifecycle.drain(order())
        world.clock.advance(0.9)
        self.assertEqual(manager.told(), [])
        world.clock.advance(0.1)
        self.assertEqual(manager.told(), [draining.format(29)])
        call.end()
        world.clock.advance(1)
        self.assertEqual(manager.told(), [draining.format(28).replace("1 accepted", "0 accepted")])
        world.associations.go()
        self.assertEqual(manager.told(), ["STATUS=Offline"])
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_gradual(self) -> None:
        """
        From when it begins to slow down.
        """
        world = World()
        Call(world, "call")
        manager, _ = self.watch(world)
        world.lifecycle.drain(order(over=2))
        told = "STATUS=About to drain, in {} s\nEXTEND_TIMEOUT_USEC=10000000"
        self.assertEqual(manager.told(), [told.format(2)])
        world.clock.advance(1)
        self.assertEqual(manager.told(), [told.format(1)])
        world.clock.advance(1)
        self.assertEqual(world.lifecycle.status().state, "draining")
        world.clock.advance(1)
        self.assertIn("STATUS=Draining: 1 accepted INVITEs", manager.told()[-1])
        world.lifecycle.cancel()
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_cancelled(self) -> None:
        world = World()
        Call(world, "call")
        manager, _ = self.watch(world)
        world.lifecycle.drain(order())
        manager.told()
        world.lifecycle.cancel()
        self.assertEqual(manager.told(), ["STATUS=Serving"])
        self.assertEqual(world.clock.getDelayedCalls(), [])

    def test_failed(self) -> None:
        """
        Why it could not listen, in one line: a line break would begin another assignment.
        """
        world = World(serving=False)
        manager, _ = self.watch(world)

        def listen() -> None:
            raise OSError("port 5060\nREADY=1")

        world.associations.listen = listen
        self.failureResultOf(world.lifecycle.resume(), OSError)
        self.assertEqual(manager.told(), ["STATUS=Offline: port 5060 READY=1"])

    def test_takenOffline(self) -> None:
        world = World()
        manager, _ = self.watch(world)
        world.lifecycle.offline(order(Kind.OFFLINE))
        self.assertEqual(manager.told(), ["STATUS=Offline"])

    def test_nobodyThere(self) -> None:
        """
        Without systemd, nothing ticks.
        """
        world = World()
        Call(world, "call")
        systemd = Systemd(Notifier({}), world.clock, world.lifecycle.status)
        systemd.leaving()
        world.lifecycle.observe(systemd)
        world.lifecycle.drain(order())
        self.assertEqual(len(world.clock.getDelayedCalls()), 1)
