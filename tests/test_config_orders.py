"""
What a file may say about orders.
"""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.config.load import parseClient, parseServer
from sipgrace.config.server import Drain
from sipgrace.errors import ConfigError
from tests.test_config import CLIENT, SERVER

#: RFC 8032 §7.1, the first test's public key, as OpenSSH writes it.
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAINdamAGCsQq31Uv+08lkBzoO4XLz2qYjJa8CGmj3B1Ea"
RSA = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC7lFqb5Yc5M9R2dlC3rX3DIwZ0gJ0ZSsvJmGLnDlCDXIVYPwD1S8L2gV8lJ5oDqD"
)


class OrdersTests(SynchronousTestCase):
    """
    The section [orders].
    """

    def errors(self, text: str) -> list[str]:
        error = self.assertRaises(ConfigError, parseServer, SERVER + dedent(text), "s.toml")
        return [line.removeprefix("s.toml: ") for line in str(error).splitlines()]

    def test_defaults(self) -> None:
        """
        Both roles have it, and it need not be there.
        """
        for config in (parseServer(SERVER, "s.toml"), parseClient(CLIENT, "c.toml")):
            self.assertEqual(
                config.orders.model_dump(),
                {
                    "verify": "self",
                    "keys": (),
                    "signedLocally": False,
                    "longest": 3600.0,
                    "skew": 30.0,
                    "clientsApprove": 0,
                    "approveWithin": 5.0,
                    "audit": None,
                    "nonces": None,
                },
            )
            self.assertIs(config.orders.noncesPath, None)

    def test_keys(self) -> None:
        """
        As OpenSSH writes them, with a comment or without; paths count from the file's folder.
        """
        text = f"""
            [orders]
            verify = "controller"
            audit = "log/audit.jsonl"
            [[orders.keys]]
            name = "alice"
            role = "admin"
            public = "{KEY} alice@example.org"
            [[orders.keys]]
            name = "watch"
            role = "viewer"
            public = "{KEY}"
        """
        orders = parseServer(SERVER + dedent(text), "/etc/sipgrace/s.toml").orders
        self.assertEqual(
            [(key.name, key.role) for key in orders.keys], [("alice", "admin"), ("watch", "viewer")]
        )
        for key in orders.keys:
            assert isinstance(key.public, Ed25519PublicKey)
            self.assertEqual(
                key.public.public_bytes_raw().hex(),
                "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            )
        self.assertEqual(orders.model_dump()["keys"][0]["public"], KEY)
        self.assertEqual(orders.audit, Path("/etc/sipgrace/log/audit.jsonl"))
        self.assertEqual(orders.noncesPath, Path("/etc/sipgrace/log/audit.jsonl.nonces"))

    def test_wrong(self) -> None:
        self.assertEqual(
            self.errors(
                f"""
                [orders]
                verify = "maybe"
                longest = 0
                clients_approve = -1
                [[orders.keys]]
                name = "alice"
                role = "god"
                public = "{KEY[:40]}"
                [[orders.keys]]
                name = "bob"
                role = "admin"
                public = "{RSA}"
                """
            ),
            [
                "orders.verify: expected 'self', 'controller' or 'none', found 'maybe'",
                "orders.keys[1].role: expected 'viewer', 'operator' or 'admin', found 'god'",
                "orders.keys[1].public: expected a public key such as 'ssh-ed25519 AAAAC3NzaC1...', found "
                f"'{KEY[:30]}'",
                "orders.keys[2].public: expected a public key such as 'ssh-ed25519 AAAAC3NzaC1...', found "
                f"'{RSA[:30]}'",
                "orders.longest: expected at least 1, found 0",
                "orders.clients_approve: expected at least 0, found -1",
            ],
        )

    def test_together(self) -> None:
        """
        Keys need an audit log, and names of their own.
        """
        key = f'[[orders.keys]]\nname = "alice"\nrole = "admin"\npublic = "{KEY}"\n'
        self.assertEqual(
            self.errors(key + key),
            [
                "orders.keys[2].name: expected a name that no other key has, found 'alice' again",
                "orders.audit: expected the path of the audit log, which keys need, found none",
            ],
        )


class GuardTests(SynchronousTestCase):
    """
    The guard, where it is estimated.
    """

    def drain(self, text: str) -> Drain:
        return parseServer(f"{SERVER}[drain]\n{text}", "s.toml").drain

    def test_auto(self) -> None:
        drain = self.drain('guard = "auto"')
        self.assertEqual((drain.guard, drain.guardFloor, drain.guardCeiling), ("auto", 5, 180))
        self.assertEqual((drain.usualGuard, self.drain("guard = 7").usualGuard), (180, 7))

    def test_wrong(self) -> None:
        cases = [
            (
                'guard = "often"',
                "drain.guard: expected a number of seconds from 0.5 to 86400, or 'auto', found 'often'",
            ),
            (
                "guard = nan",
                "drain.guard: expected a number of seconds from 0.5 to 86400, or 'auto', found nan",
            ),
            (
                "guard = true",
                "drain.guard: expected a number of seconds from 0.5 to 86400, or 'auto', found true",
            ),
            (
                'guard = "auto"\nguard_floor = 20\nguard_ceiling = 10',
                "drain.guard_ceiling: expected at least guard_floor, which is 20 seconds, found 10",
            ),
            (
                'guard = "auto"\nretry_after = 4',
                "drain.retry_after: expected at least the guard, which is 5 seconds, found 4",
            ),
            (
                'guard = "auto"\nmargin = 3',
                "drain.margin: expected at most half the guard, which is 5 seconds, found 3",
            ),
        ]
        for text, reason in cases:
            error = self.assertRaises(ConfigError, self.drain, text)
            self.assertEqual(str(error), f"s.toml: {reason}")
