"""
Tests of L{sipgrace.tap.manhole}: logging in as an operator does, and not getting in.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from signal import SIGTERM
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from twisted.conch.error import ConchError
from twisted.conch.ssh.channel import SSHChannel
from twisted.conch.ssh.connection import SSHConnection
from twisted.conch.ssh.keys import Key
from twisted.conch.ssh.session import packRequest_pty_req
from twisted.conch.ssh.transport import SSHClientTransport
from twisted.conch.ssh.userauth import SSHUserAuthClient
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTCP, IReactorTime
from twisted.internet.protocol import ClientFactory
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from sipgrace.config.sections import ManholeSection
from sipgrace.errors import ConfigError, OrderRefused
from sipgrace.tap.manhole import hostKey, manholeBeside
from sipgrace.tap.preparedport import PreparedPort
from tests.children import Child


def newKey() -> Key:
    """
    A private key.
    """
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    return Key.fromString(pem)


class Shell(SSHChannel):
    """
    The terminal of whoever logs in.
    """

    name = b"session"

    def __init__(self, opened: Deferred[Shell]) -> None:
        super().__init__()
        self.opened = opened
        self.screen = b""
        self.ended: Deferred[None] = Deferred()
        self._waiting: list[tuple[bytes, Deferred[bytes]]] = []

    def channelOpen(self, data: bytes) -> None:
        """
        See L{SSHChannel}.
        """
        self.conn.sendRequest(self, b"pty-req", packRequest_pty_req(b"vt100", (24, 80, 0, 0), b""))
        ready = self.conn.sendRequest(self, b"shell", b"", wantReply=1)
        ready.addCallbacks(lambda _: self.opened.callback(self), self.opened.errback)

    def closed(self) -> None:
        """
        See L{SSHChannel}.
        """
        self.ended.callback(None)

    def dataReceived(self, data: bytes) -> None:
        """
        See L{SSHChannel}.
        """
        self.screen += data
        for one in list(self._waiting):
            text, done = one
            if text in self.screen:
                self._waiting.remove(one)
                done.callback(self.screen)

    def shown(self, text: bytes) -> Deferred[bytes]:
        """
        @return: fires when the screen has shown this from now on.
        """
        self.screen = b""
        done: Deferred[bytes] = Deferred()
        self._waiting.append((text, done))
        return done.addTimeout(30, IReactorTime(reactor))


class Connection(SSHConnection):
    """
    Opens the terminal.
    """

    def __init__(self, opened: Deferred[Shell]) -> None:
        super().__init__()
        self.opened = opened

    def serviceStarted(self) -> None:
        """
        See L{SSHConnection}.
        """
        super().serviceStarted()
        self.openChannel(Shell(self.opened))


class Login(SSHUserAuthClient):
    """
    Shows a key, and a password if it is asked for one.
    """

    def __init__(self, key: Key | None, connection: Connection) -> None:
        super().__init__(b"anybody", connection)
        self.key = key
        self.methods: list[bytes] = []

    def getPublicKey(self) -> Key | None:
        """
        See L{SSHUserAuthClient}.
        """
        key, self.offered = self.key, self.key
        self.key = None
        return key.public() if key is not None else None

    def getPrivateKey(self) -> Deferred[Key]:
        """
        See L{SSHUserAuthClient}.
        """
        return succeed(self.offered)

    def getPassword(self, prompt: bytes | None = None) -> Deferred[bytes]:
        """
        See L{SSHUserAuthClient}.
        """
        return succeed(b"secret")

    def ssh_USERAUTH_FAILURE(self, packet: bytes) -> object:
        """
        See L{SSHUserAuthClient}.
        """
        length = int.from_bytes(packet[:4], "big")
        self.methods = packet[4 : 4 + length].split(b",")
        return super().ssh_USERAUTH_FAILURE(packet)


class Client(SSHClientTransport):
    """
    One attempt to log in.
    """

    def __init__(self, key: Key | None) -> None:
        self.opened: Deferred[Shell] = Deferred()
        self.gone: Deferred[None] = Deferred()
        self.login = Login(key, Connection(self.opened))
        self.hostKey = b""

    def verifyHostKey(self, key: bytes, fingerprint: bytes) -> Deferred[int]:
        """
        See L{SSHClientTransport}.
        """
        self.hostKey = key
        return succeed(1)

    def connectionSecure(self) -> None:
        """
        See L{SSHClientTransport}.
        """
        self.requestService(self.login)

    def connectionLost(self, reason: Any = None) -> None:
        """
        See L{SSHClientTransport}.
        """
        super().connectionLost(reason)
        self.gone.callback(None)
        if not self.opened.called:
            self.opened.errback(ConchError("not let in"))


async def logIn(test: TestCase, port: int, key: Key | None) -> Client:
    """
    Tries to.
    """
    client = Client(key)
    factory = ClientFactory()
    factory.buildProtocol = lambda address: client
    client.factory = factory
    connector = IReactorTCP(reactor).connectTCP("127.0.0.1", port, factory)
    test.addCleanup(lambda: client.gone)
    test.addCleanup(connector.disconnect)
    return client


class Logins(TestCase):
    """
    Over TCP on loopback.
    """

    timeout = 60

    def setUp(self) -> None:
        self.key = newKey()
        folder = Path(self.mktemp())
        folder.mkdir()
        self.keys = folder / "authorized_keys"
        self.keys.write_bytes(b"# operators\n" + self.key.public().toString("OPENSSH") + b" me\n")
        self.section = ManholeSection.model_validate(
            {
                "listen": "tcp:0:interface=127.0.0.1",
                "authorized_keys": str(self.keys),
                "host_key": str(folder / "host_key"),
            }
        )
        self.calls: list[str] = []
        self.namespace = {
            "show": self.show,
            "drain": lambda: deferLater(reactor, 0, lambda: "drained"),
            "refuse": self.refuse,
            "failLater": lambda: deferLater(reactor, 0, self.refuse),
        }

    def show(self) -> None:
        """
        As the real one does, it prints.
        """
        self.calls.append("show")
        print("state: serving")

    def refuse(self) -> None:
        """
        An order that is refused.
        """
        raise OrderRefused("not now")

    def manhole(self) -> PreparedPort:
        """
        A manhole that does not listen yet.
        """
        (manhole,) = manholeBeside(reactor, self.section, self.namespace)
        assert isinstance(manhole, PreparedPort)
        return manhole

    async def start(self) -> PreparedPort:
        """
        A manhole that listens.
        """
        manhole = self.manhole()
        await manhole.startService()
        self.addCleanup(manhole.stopService)
        return manhole

    async def connect(self, manhole: PreparedPort, key: Key | None) -> Client:
        """
        Tries to log in.
        """
        assert manhole.port is not None
        return await logIn(self, manhole.port.getHost().port, key)

    async def test_show(self) -> None:
        """
        Who holds an authorized key gets a prompt, at which C{show()} shows.
        """
        manhole = await self.start()
        client = await self.connect(manhole, self.key)
        shell = await client.opened
        self.assertEqual(client.hostKey, hostKey(self.section.hostKey).public().blob())
        prompt = shell.shown(b"state: serving")
        shell.write(b"show()\r")
        await prompt
        self.assertEqual(self.calls, ["show"])

    async def test_deferred(self) -> None:
        """
        What takes time is shown when it is done, also when it fails.
        """
        shell = await (await self.connect(await self.start(), self.key)).opened
        done = shell.shown(b"called back: 'drained'")
        shell.write(b"drain()\r")
        await done
        failed = shell.shown(b"failed: 'not now'")
        shell.write(b"failLater()\r")
        await failed

    async def test_refused(self) -> None:
        """
        An order that is refused says why, without a traceback.
        """
        shell = await (await self.connect(await self.start(), self.key)).opened
        said = shell.shown(b"not now\r\n")
        shell.write(b"refuse()\r")
        self.assertNotIn(b"Traceback", await said)
        wrong = shell.shown(b"ZeroDivisionError")
        shell.write(b"1 / 0\r")
        self.assertIn(b"Traceback", await wrong)

    async def test_quit(self) -> None:
        """
        C{quit()} ends the login, as Ctrl-D does, and is no error.
        """
        manhole = await self.start()
        for word in (b"quit()", b"exit(1)", b"raise SystemExit", b"\x04"):
            shell = await (await self.connect(manhole, self.key)).opened
            shell.write(word + b"\r")
            await shell.ended.addTimeout(30, IReactorTime(reactor))
        shell = await (await self.connect(manhole, self.key)).opened
        prompt = shell.shown(b"state: serving")
        shell.write(b"show()\r")
        await prompt

    async def test_ownNames(self) -> None:
        """
        What one login defines another one does not see.
        """
        manhole = await self.start()
        first = await (await self.connect(manhole, self.key)).opened
        done = first.shown(b"7\r\n")
        first.write(b"show = 3 + 4\rshow\r")
        await done
        second = await (await self.connect(manhole, self.key)).opened
        again = second.shown(b"state: serving")
        second.write(b"show()\r")
        await again

    async def test_otherKey(self) -> None:
        """
        Another key is of no use, and a password is not even asked for.
        """
        client = await self.connect(await self.start(), newKey())
        await self.assertFailure(client.opened, ConchError)
        self.assertEqual(client.login.methods, [b"publickey"])

    async def test_noKey(self) -> None:
        client = await self.connect(await self.start(), None)
        await self.assertFailure(client.opened, ConchError)
        self.assertEqual(client.login.methods, [b"publickey"])

    async def test_keyTakenAway(self) -> None:
        """
        The file counts as it is at the moment of the login.
        """
        manhole = await self.start()
        self.keys.write_bytes(newKey().public().toString("OPENSSH"))
        client = await self.connect(manhole, self.key)
        await self.assertFailure(client.opened, ConchError)

    async def test_resize(self) -> None:
        """
        A terminal may change its size.
        """
        shell = await (await self.connect(await self.start(), self.key)).opened
        await shell.conn.sendRequest(
            shell, b"window-change", b"".join(n.to_bytes(4, "big") for n in (100, 40, 0, 0)), wantReply=1
        )

    async def test_cannotStart(self) -> None:
        """
        What is wrong with a key file is said by its key.
        """

        async def said() -> str:
            error = await self.assertFailure(self.manhole().startService(), ConfigError)
            return str(error)

        self.keys.write_bytes(b"# nobody\n")
        self.assertEqual(await said(), f"manhole.authorized_keys: expected a public key in {self.keys}")
        self.keys.unlink()
        self.assertEqual(
            await said(), f"manhole.authorized_keys: cannot read {self.keys}: No such file or directory"
        )
        self.section.hostKey.unlink()
        self.section.hostKey.mkdir(0o700)
        self.assertEqual(await said(), f"manhole.host_key: cannot use {self.section.hostKey}: Is a directory")


SERVER = """
[server]
name = "server-1"
listen = ["udp:0:interface=127.0.0.1"]
[drain]
guard = 5
[manhole]
listen = "tcp:0:interface=127.0.0.1"
authorized_keys = "authorized_keys"
host_key = "host_key"
"""


class Server(TestCase):
    """
    A server's own manhole.
    """

    timeout = 60

    async def test_orders(self) -> None:
        """
        C{show()}, C{drain()} and C{resume()} do as they say; C{cancel()} without a drain says what would be
        accepted.
        """
        key = newKey()
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "authorized_keys").write_bytes(key.public().toString("OPENSSH"))
        (folder / "server.toml").write_text(SERVER, encoding="utf-8")
        command = ("-m", "twisted", "--log-format=text", "sipgrace-server", "--config")
        child = Child(self, *command, str(folder / "server.toml"))
        match = await child.printed(rb"manhole at 127\.0\.0\.1:(\d+)")
        client = await logIn(self, int(match[1]), key)
        shell = await client.opened
        for typed, expected in [
            (b"show()", b"state          serving"),
            (b"cancel()", b"drain is what would be accepted"),
            (b"drain(announce='loudly')", b"in-answer, broadcast, both is expected"),
            (b"drain(then='run')", b"has no command to run"),
            (b"drain(why='new kernel')", b"offline"),
            (b"show()", b"state          offline"),
            (b"resume()", b"serving"),
            (b"show()", b"state          serving"),
        ]:
            seen = shell.shown(expected)
            shell.write(typed + b"\r")
            self.assertNotIn(b"Traceback", await seen, typed)
        child.signal(SIGTERM)
        self.assertEqual(await child.ended, 0)


class HostKey(SynchronousTestCase):
    """
    The key of the host.
    """

    def test_made(self) -> None:
        """
        It is made once, for its owner's eyes alone, whatever the umask is.
        """
        path = Path(self.mktemp())
        self.addCleanup(os.umask, os.umask(0))
        key = hostKey(path)
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        self.assertEqual(key.sshType(), b"ssh-ed25519")
        self.assertEqual(hostKey(path), key)

    def test_fullDisk(self) -> None:
        """
        Of one that cannot be written nothing is left, which would keep every later start from going on.
        """
        path = Path(self.mktemp())
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        try:
            # Python has SIGXFSZ ignored.
            self.assertRaises(OSError, hostKey, path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        self.assertEqual(hostKey(path).sshType(), b"ssh-ed25519")

    def test_open(self) -> None:
        """
        One that others may read is refused.
        """
        path = Path(self.mktemp())
        hostKey(path)
        path.chmod(0o640)
        error = self.assertRaises(ConfigError, hostKey, path)
        self.assertEqual(
            str(error), f"manhole.host_key: expected that only the owner may read {path}: chmod 600 {path}"
        )

    def test_noKey(self) -> None:
        path = Path(self.mktemp())
        for text, expected in [
            (b"nonsense", f"manhole.host_key: expected a private key in {path}: "),
            (newKey().public().toString("OPENSSH"), f"expected a private key in {path}, found a public one"),
        ]:
            path.write_bytes(text)
            path.chmod(0o600)
            self.assertIn(expected, str(self.assertRaises(ConfigError, hostKey, path)))

    def test_off(self) -> None:
        """
        Without the section there is no manhole.
        """
        self.assertEqual(list(manholeBeside(reactor, None, {})), [])
