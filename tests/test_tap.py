"""
Tests of L{sipgrace.tap}: the command line, the processes, their signals and how they end.
"""

from __future__ import annotations

import resource
import shutil
import socket
import tempfile
import time
from pathlib import Path
from signal import SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2

from twisted.copyright import version as twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime, IReactorUDP
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import TestCase

from sipgrace import __version__
from sipgrace.compiled import HOW
from tests.children import ROOT, Child
from tests.keysmade import makeOrderKey

TWIST = ("-m", "twisted", "--log-format=text")
TWISTD = ("-c", "from twisted.scripts.twistd import run; run()")


class Signals(TestCase):
    """
    A role that does nothing, run by twistd.
    """

    timeout = 60

    def run_(self, words: str) -> Child:
        """
        Starts it.
        """
        pid = str(Path(self.mktemp()).absolute())
        tac = str(ROOT / "tests" / "dummy.tac")
        options = (f"--pidfile={pid}", "--no_save", "--nodaemon", "--logfile=/dev/null", f"--python={tac}")
        return Child(self, *TWISTD, *options, environment={"DUMMY": words})

    async def ready(self, words: str = "") -> Child:
        """
        Starts it, and waits until it serves.
        """
        child = self.run_(words)
        await child.printed(b"<beside>")
        return child

    async def test_term(self) -> None:
        """
        SIGTERM: the role leaves first, then everything stops; what stands beside it last. Status 0.
        """
        child = await self.ready()
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, 0)
        self.assertEqual(
            child.output, b"<start><started><beside><leave><left><stop><besideStopped>", child.errors
        )

    async def test_termTwice(self) -> None:
        """
        A second SIGTERM does not wait for the role.
        """
        child = await self.ready("never")
        child.signal(SIGTERM)
        await child.printed(b"<leave>")
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, -SIGTERM)
        self.assertEqual(child.output, b"<start><started><beside><leave><leaveNow><stop><besideStopped>")

    async def test_termThenInt(self) -> None:
        """
        Nor does SIGINT.
        """
        child = await self.ready("never")
        child.signal(SIGTERM)
        await child.printed(b"<leave>")
        child.signal(SIGINT)
        self.assertEqual(await child.ended, -SIGINT)
        self.assertEqual(child.output, b"<start><started><beside><leave><leaveNow><stop><besideStopped>")

    async def test_int(self) -> None:
        """
        SIGINT alone leaves at once.
        """
        child = await self.ready()
        child.signal(SIGINT)
        self.assertEqual(await child.ended, -SIGINT)
        self.assertEqual(child.output, b"<start><started><beside><leaveNow><stop><besideStopped>")

    async def test_hangUp(self) -> None:
        """
        SIGHUP, from a terminal that goes away or somebody who means a reload, ends nothing: neither while it
        serves nor while it leaves.
        """
        child = await self.ready("cancelled")
        child.signal(SIGHUP)
        child.signal(SIGTERM)
        await child.printed(b"<leave>")
        child.signal(SIGHUP)
        await child.printed(b"<stayed>")
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, 0)
        self.assertEqual(
            child.output, b"<start><started><beside><leave><stayed><leave><left><stop><besideStopped>"
        )

    async def test_hangUpWhileStopping(self) -> None:
        """
        Nor is it the signal that kills when even stopping does not end.
        """
        child = await self.ready("hangs")
        child.signal(SIGTERM)
        await child.printed(b"<stop>")
        child.signal(SIGHUP)
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, -SIGTERM)

    async def test_clumsy(self) -> None:
        """
        A failure on the way out does not keep the process.
        """
        child = await self.ready("clumsy")
        child.signal(SIGINT)
        self.assertEqual(await child.ended, -SIGINT)
        self.assertEqual(child.output, b"<start><started><beside><leaveNow><stop><besideStopped>")

    async def test_hangs(self) -> None:
        """
        When even stopping does not end, one more signal kills.
        """
        child = await self.ready("hangs")
        child.signal(SIGTERM)
        await child.printed(b"<stop>")
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, -SIGTERM)
        self.assertEqual(child.output, b"<start><started><beside><leave><left><stop>")

    async def test_cancelled(self) -> None:
        """
        When the drain is cancelled the process goes on, and the next SIGTERM is a first one again.
        """
        child = await self.ready("cancelled")
        child.signal(SIGTERM)
        await child.printed(b"<stayed>")
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, 0)
        self.assertEqual(
            child.output, b"<start><started><beside><leave><stayed><leave><left><stop><besideStopped>"
        )

    async def test_refused(self) -> None:
        """
        A role that cannot start ends the process with status 1, and says why in one line.
        """
        child = self.run_("refused")
        self.assertEqual(await child.ended, 1)
        self.assertEqual(child.errors, b"cannot start: no such address\n")
        self.assertEqual(child.output, b"<start><stop>")

    async def test_broken(self) -> None:
        """
        So does one whose start raises.
        """
        child = self.run_("broken")
        self.assertEqual(await child.ended, 1)
        self.assertEqual(child.errors, b"cannot start: broken\n")

    async def test_endsWhileItStarts(self) -> None:
        """
        A start that comes to nothing because the process is to end is no failure of it.
        """
        child = self.run_("slow")
        await child.printed(b"<start>")
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, 0)
        self.assertEqual(child.errors, b"")
        self.assertEqual(child.output, b"<start><leave><left><stop>")

    async def test_besideFails(self) -> None:
        """
        So does one of which a part beside the role cannot start; the role is stopped.
        """
        child = self.run_("doorless")
        self.assertEqual(await child.ended, 1)
        self.assertEqual(child.errors, b"cannot start: no such door\n")
        self.assertEqual(child.output, b"<start><started><beside><stop><besideStopped>")

    async def test_prepared(self) -> None:
        """
        What can be prepared beside a role is, before the role starts.
        """
        child = self.run_("preparing")
        await child.printed(b"<beside><beside>")
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, 0)
        self.assertEqual(
            child.output,
            b"<prepared><start><started><beside><beside><leave><left><stop><besideStopped><besideStopped>",
        )

    async def test_unprepared(self) -> None:
        """
        Where it cannot, the role never starts.
        """
        child = self.run_("unprepared")
        self.assertEqual(await child.ended, 1)
        self.assertEqual(child.errors, b"cannot start: no such file\n")
        self.assertEqual(child.output, b"<prepared><stop><besideStopped>")


SERVER = """
[server]
name = "server-1"
listen = ["udp:0:interface=127.0.0.1"]
[[routes]]
domain = "*"
to = ["sip:127.0.0.1:{port};transport=udp"]
[drain]
guard = 2
margin = 1
"""

CLIENT = """
[client]
name = "client-1"
listen = ["udp:0:interface=127.0.0.1"]
[[servers]]
name = "server-1"
address = "tcp:host=127.0.0.1:port={port}"
"""

CONTROLLER = """
[controller]
name = "controller-1"
[links]
listen = "tcp:0:interface=127.0.0.1"
insecure = true
[key]
name = "c"
file = "c.order"
[store]
path = "c.sqlite"
[http]
listen = "tcp:0:interface=127.0.0.1"
[control]
socket = "{socket}"
"""

#: Twist, with a wall clock that signals set.
CLOCK = """
import signal, sys, time
real, ahead = time.time, [0]
time.time = lambda: real() + ahead[0]
def set(seconds):
    ahead[0] += seconds
    print("clock set by", seconds, flush=True)
from twisted.application.twist._twist import Twist
signal.signal(signal.SIGUSR1, lambda *_: set(3600))
signal.signal(signal.SIGUSR2, lambda *_: set(-3600))
Twist.main(["twist", *sys.argv[1:]])
"""

INVITE = """\
INVITE sip:bob@example.org SIP/2.0
Via: SIP/2.0/UDP 127.0.0.1:{port};branch=z9hG4bKtap;rport
Max-Forwards: 70
From: <sip:alice@example.org>;tag=1
To: <sip:bob@example.org>
Call-ID: tap
CSeq: 1 INVITE
Contact: <sip:alice@127.0.0.1:{port}>
Content-Length: 0

"""


class CommandLine(TestCase):
    """
    What C{twist sipgrace-server} and C{twist sipgrace-client} take.
    """

    timeout = 60

    def file(self, text: str) -> str:
        """
        A configuration file.
        """
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        return str(path.absolute())

    async def end(self, *arguments: str) -> tuple[int, str, str]:
        """
        Exit status, output and errors.
        """
        child = Child(self, *TWIST, *arguments)
        status = await child.ended
        return status, child.output.decode(), child.errors.decode()

    async def test_help(self) -> None:
        """
        Twist lists all roles, and still those that are its own.
        """
        status, output, errors = await self.end("--help")
        self.assertEqual((status, errors), (0, ""))
        for name in ("sipgrace-server", "sipgrace-client", "sipgrace-controller", "web", "procmon"):
            self.assertRegex(output, rf"(?m)^    {name} ")

    async def test_helpOfRoles(self) -> None:
        for role in ("sipgrace-server", "sipgrace-client"):
            status, output, errors = await self.end(role, "--help")
            self.assertEqual((status, errors), (0, ""))
            for option in ("--config=", "--check", "--stack="):
                self.assertIn(option, output)

    async def test_helpOfControllers(self) -> None:
        """
        A controller has no SCTP stack.
        """
        status, output, errors = await self.end("sipgrace-controller", "--help")
        self.assertEqual((status, errors), (0, ""))
        for option in ("--config=", "--check"):
            self.assertIn(option, output)
        self.assertNotIn("--stack", output)

    async def test_version(self) -> None:
        self.assertEqual(
            await self.end("sipgrace-server", "--version"),
            (0, f"sipgrace {__version__} ({HOW}), Twisted {twisted}\n", ""),
        )

    async def test_check(self) -> None:
        server, client = self.file(SERVER.format(port=1)), self.file(CLIENT.format(port=1))
        self.assertEqual(
            await self.end("sipgrace-server", "--config", server, "--check"), (0, f"{server}: ok\n", "")
        )
        self.assertEqual(
            await self.end("sipgrace-client", "--config", client, "--check"), (0, f"{client}: ok\n", "")
        )
        controller = self.file(CONTROLLER.format(socket="c.sock"))
        makeOrderKey(Path(controller).with_name("c.order"))
        self.assertEqual(
            await self.end("sipgrace-controller", "--config", controller, "--check"),
            (0, f"{controller}: ok\n", ""),
        )

    async def test_wrongPaths(self) -> None:
        """
        C{--check} says so, too, when a process could not use what the file names.
        """
        path = self.file(SERVER.format(port=1) + '\n[control]\nsocket = "none/s.sock"\n')
        socket_ = Path(path).parent / "none" / "s.sock"
        expected = f"{path}: control.socket: expected a path in a folder that exists, found {socket_}\n"
        self.assertEqual(await self.end("sipgrace-server", "--config", path, "--check"), (1, "", expected))
        path = self.file(SERVER.format(port=1) + '\n[control]\nsocket = "/run/no-such-service/s"\n')
        said = f"{path}: control.socket: /run/no-such-service is not there yet; it has to be when the process"
        self.assertEqual(
            await self.end("sipgrace-server", "--config", path, "--check"),
            (0, f"{said} starts\n{path}: ok\n", ""),
        )

    async def test_wrongFile(self) -> None:
        """
        The same with C{--check} and without: what is wrong, and nothing else.
        """
        path = self.file(SERVER.format(port=1) + "retry_after = 1\nguards = 2")
        expected = (
            f"{path}: drain.retry_after: expected at least the guard, which is 2 seconds, found 1\n"
            f"{path}: drain.guards: expected one of the keys guard, guard_floor, guard_ceiling, margin, "
            "retry_after, retry_after_period, spread, over, then, then_limit, announce, found "
            "an unknown one; did you mean guard?\n"
        )
        for more in ((), ("--check",)):
            status, output, errors = await self.end("sipgrace-server", "--config", path, *more)
            self.assertEqual((status, output, errors), (1, "", expected))

    async def test_unknownStrategy(self) -> None:
        """
        One that is neither ours nor installed is a mistake in the file, and the known ones are named.
        """
        text = CLIENT.format(port=1).replace("[client]\n", '[client]\nstrategy = "random"\n', 1)
        path = self.file(text)
        expected = (
            f"{path}: client.strategy: expected one of latency, least-loaded, primary-secondary, priority, "
            "round-robin, srv, weighted, found 'random'\n"
        )
        for more in ((), ("--check",)):
            self.assertEqual(await self.end("sipgrace-client", "--config", path, *more), (1, "", expected))

    async def test_noFile(self) -> None:
        self.assertEqual(
            await self.end("sipgrace-client", "--config", "/none"),
            (1, "", "/none: cannot be read: No such file or directory\n"),
        )

    async def test_usage(self) -> None:
        """
        A wrong command line is answered as Twisted does: with the usage, and status 64.
        """
        path = self.file(SERVER.format(port=1))
        for arguments, message in [
            ((), "--config FILE is needed"),
            (("--config", path, "--stack", "x"), "--stack: expected auto, userspace or kernel, found 'x'"),
        ]:
            status, output, errors = await self.end("sipgrace-server", *arguments)
            self.assertEqual(status, 64)
            self.assertTrue((output + errors).startswith(f"Error: {message}\n"), output + errors)

    async def test_portTaken(self) -> None:
        """
        A place that is taken is said in one line.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
            path = self.file(SERVER.format(port=1).replace("udp:0", f"udp:{port}"))
            status, _, errors = await self.end("sipgrace-server", "--config", path)
        self.assertEqual(status, 1)
        self.assertRegex(
            errors, rf"\Acannot start: .*udp:{port}:interface=127\.0\.0\.1: Address already in use\n\Z"
        )

    async def test_neverServed(self) -> None:
        """
        A server of which the metrics, the control socket or the manhole cannot be had does not serve for a
        moment, and lose the calls of that.
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            nowhere = str(Path(self.mktemp()).absolute() / "control.sock")
            for section, message in [
                (
                    f'[metrics]\nlisten = "127.0.0.1:{port}"',
                    f"metrics.listen: cannot listen at 127.0.0.1:{port}: Couldn't listen on "
                    f"127.0.0.1:{port}: [Errno 98] Address already in use.",
                ),
                (
                    f'[control]\nsocket = "{nowhere}"',
                    f"control.socket {nowhere}: cannot be made: No such file or directory",
                ),
                (
                    '[manhole]\nauthorized_keys = "/none"\nhost_key = "key"',
                    "manhole.authorized_keys: cannot read /none: No such file or directory",
                ),
            ]:
                path = self.file(SERVER.format(port=1) + section)
                status, output, errors = await self.end("sipgrace-server", "--config", path)
                self.assertEqual((status, errors), (1, f"cannot start: {message}\n"))
                self.assertNotIn("lifecycle: serving", output)


class Phone(DatagramProtocol):
    """
    A UDP socket that sends and receives SIP messages.
    """

    def __init__(self, test: TestCase) -> None:
        self.messages: list[bytes] = []
        self._waiting: list[tuple[bytes, bytes, Deferred[bytes]]] = []
        port = IReactorUDP(reactor).listenUDP(0, self, interface="127.0.0.1")
        self.port = port.getHost().port
        test.addCleanup(port.stopListening)

    def send(self, text: str, port: int) -> None:
        """
        Sends a message, its lines ended as SIP wants them.
        """
        self.transport.write(text.replace("\n", "\r\n").encode(), ("127.0.0.1", port))

    def received(self, start: bytes, part: bytes = b"") -> Deferred[bytes]:
        """
        @return: fires with the first message that begins so, and has that part.
        """
        done: Deferred[bytes] = Deferred()
        self._waiting.append((start, part, done))
        self._look()
        return done.addTimeout(30, IReactorTime(reactor))

    def _look(self) -> None:
        for one in list(self._waiting):
            start, part, done = one
            found = [message for message in self.messages if message.startswith(start) and part in message]
            if found:
                self._waiting.remove(one)
                done.callback(found[0])

    def datagramReceived(self, datagram: bytes, addr: object) -> None:
        """
        See C{DatagramProtocol}.
        """
        self.messages.append(datagram)
        self._look()


class Roles(TestCase):
    """
    The roles themselves.
    """

    timeout = 60

    async def start(self, role: str, text: str) -> tuple[Child, int]:
        """
        Starts a role.

        @return: the process, and the UDP port it listens at.
        """
        path = Path(self.mktemp())
        path.write_text(text, encoding="utf-8")
        child = Child(self, *TWIST, role, "--config", str(path))
        match = await child.printed(rb"SIP/2\.0/UDP 127\.0\.0\.1:(\d+)")
        return child, int(match[1])

    async def draining(self, more: str = "") -> tuple[Child, Phone, Phone]:
        """
        A server that SIGTERM has reached while a call rings.

        @param more: what else its file has.

        @return: the process, the caller and the callee.
        """
        caller, callee = Phone(self), Phone(self)
        child, port = await self.start("sipgrace-server", SERVER.format(port=callee.port) + more)
        caller.send(INVITE.format(port=caller.port), port)
        await caller.received(b"SIP/2.0 100 ")
        await callee.received(b"INVITE sip:bob@")
        child.signal(SIGTERM)
        await child.printed(rb"lifecycle: draining")
        caller.send(INVITE.format(port=caller.port).replace("tap", "late"), port)
        await caller.received(b"SIP/2.0 503 ")
        return child, caller, callee

    async def test_idle(self) -> None:
        """
        A server without calls ends at SIGTERM, and so does a client.
        """
        for role, text in [("sipgrace-server", SERVER), ("sipgrace-client", CLIENT)]:
            child, _ = await self.start(role, text.format(port=1))
            child.signal(SIGTERM)
            self.assertEqual(await child.ended, 0)

    async def test_clockSet(self) -> None:
        """
        A wall clock that is set, forward or back, is none of a call's or a guard's business.
        """
        caller, callee = Phone(self), Phone(self)
        path = Path(self.mktemp())
        path.write_text(SERVER.format(port=callee.port), encoding="utf-8")
        child = Child(self, "-c", CLOCK, "--log-format=text", "sipgrace-server", "--config", str(path))
        port = int((await child.printed(rb"SIP/2\.0/UDP 127\.0\.0\.1:(\d+)"))[1])
        caller.send(INVITE.format(port=caller.port), port)
        await callee.received(b"INVITE sip:bob@")
        child.signal(SIGUSR1)
        await child.printed(b"clock set by 3600")
        # What would expire does so before the answer to this.
        caller.send(INVITE.format(port=caller.port).replace("tap", "late"), port)
        await callee.received(b"INVITE", b"Call-ID: late")
        self.assertEqual({message[:11] for message in caller.messages}, {b"SIP/2.0 100"})
        child.signal(SIGUSR2)
        await child.printed(b"clock set by -3600")
        began = time.monotonic()
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, 0)
        self.assertLess(time.monotonic() - began, 10)

    async def test_commandNotBegun(self) -> None:
        """
        What is to be run after a drain is not begun where the process ends with the drain, and would be ended
        with it.
        """
        ran = Path(self.mktemp()).absolute()
        text = SERVER.format(port=1) + f'then = "run touch {ran}; sleep 60"\n'
        child, _ = await self.start("sipgrace-server", text)
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, 0)
        self.assertIn(b"is not run", child.output)
        self.assertFalse(ran.exists())

    async def test_drainWithoutController(self) -> None:
        """
        With no controller there, calls and drains go on as ever.
        """
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            port = nobody.getsockname()[1]
            child, caller, _ = await self.draining(
                f'[[controllers]]\nname = "c"\nhost = "127.0.0.1"\nport = {port}\ninsecure = true\n'
            )
            self.assertEqual(await child.ended, 0)
        self.assertIn(b"no link to c: Connection was refused by other side", child.output)
        self.assertIn(True, [message.startswith(b"SIP/2.0 503 ") for message in caller.messages])

    async def test_drain(self) -> None:
        """
        The call that rings gets a final answer in time, the new one 503 with Retry-After; then the process
        ends, within the guard (2 seconds) and what it takes to stop.
        """
        began = IReactorTime(reactor).seconds()
        child, caller, _ = await self.draining()
        self.assertEqual(await child.ended, 0)
        self.assertLess(IReactorTime(reactor).seconds() - began, 10)
        finals = {
            "late" if b"late" in message else "tap": message
            for message in caller.messages
            if not message.startswith(b"SIP/2.0 1")
        }
        self.assertEqual(set(finals), {"late", "tap"})
        self.assertTrue(finals["late"].startswith(b"SIP/2.0 503 "), finals)
        self.assertIn(b"\r\nRetry-After: ", finals["late"])
        self.assertRegex(finals["tap"], rb"\ASIP/2\.0 (503|487|500) ")
        self.assertNotIn(b"\r\nRetry-After: ", finals["tap"])

    async def test_controller(self) -> None:
        """
        A controller says how it stands at its own socket, and ends at SIGTERM.
        """
        folder = Path(tempfile.mkdtemp(prefix="sipgrace-"))
        self.addCleanup(shutil.rmtree, folder)
        makeOrderKey(folder / "c.order")
        (folder / "c.toml").write_text(CONTROLLER.format(socket="c.sock"), encoding="utf-8")
        lower = "import resource as r, os, sys; hard = r.getrlimit(r.RLIMIT_NOFILE)[1]; "
        lower += "r.setrlimit(r.RLIMIT_NOFILE, (256, hard)); "
        lower += "os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
        words = (*TWIST, "sipgrace-controller", "--config", str(folder / "c.toml"))
        child = Child(self, "-c", lower, *words)
        await child.printed(rb"control socket at ")
        # Files are connections, and there may be many.
        pid = child.transport.pid
        assert pid is not None
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        self.assertEqual((soft, hard), (hard, hard))
        words = ("status", "--is", "serving", "--socket", str(folder / "c.sock"))
        asked = Child(self, "-m", "sipgrace.commands.main", *words)
        self.assertEqual(await asked.ended, 0, asked.errors)
        self.assertRegex(asked.output, rb"name +controller-1 \(controller, version ")
        self.assertRegex(asked.output, rb"nodes +0 linked, 0 lost\n")
        child.signal(SIGTERM)
        self.assertEqual((await child.ended, child.errors), (0, b""))

    async def test_termTwice(self) -> None:
        """
        A second SIGTERM does not wait for the call.
        """
        child, _, _ = await self.draining()
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, -SIGTERM)
