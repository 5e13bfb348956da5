"""
Certificates that are renewed, and that expire: L{sipgrace.transport.linkcertificates}.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.commands.certificates import Authority
from sipgrace.errors import ConfigError
from sipgrace.transport.linkcertificates import LinkCertificates
from tests.test_commands_keys import makeAuthority

DAY = 86400.0


class LinkCertificatesTests(SynchronousTestCase):
    """
    One certificate, valid for a hundred days.
    """

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.began = makeAuthority().now
        self.authority = Authority.make(self.folder, "test", 1000, "p256", self.began)
        self.authority.certify("a", 100, "p256", self.began)
        self.now = self.began.timestamp()
        self.logged: list[str] = []
        globalLogPublisher.addObserver(self._logged)
        self.addCleanup(globalLogPublisher.removeObserver, self._logged)

    def _logged(self, event: Any) -> None:
        if event["log_level"] >= LogLevel.warn:
            self.logged.append(event.get("log_format", "").format_map(event))

    def certificates(self) -> LinkCertificates:
        return LinkCertificates(
            self.folder / "a.crt", self.folder / "a.key", self.folder / "ca.crt", lambda: self.now
        )

    def renew(self, *names: str) -> None:
        """
        Puts some of the files of a new certificate in the place of the old ones.
        """
        beside = self.folder / "new"
        if not beside.exists():
            beside.mkdir()
            self.authority.certify("a", 200, "p256", self.began, beside)
        for name in names:
            shutil.copy(beside / name, self.folder / name)

    def test_renewed(self) -> None:
        """
        What was put in its place counts from then on; while only half of it is there, what was before.
        """
        found = self.certificates()
        context, expires = found.context(), found.expires
        self.assertIs(found.context(), context)
        self.renew("a.crt")
        self.assertIs(found.context(), context)
        self.assertEqual(len(self.logged), 1)
        self.assertIn("cannot be used, and what was read before goes on: certificate: ", self.logged[0])
        self.assertIs(found.context(), context)
        self.assertEqual(len(self.logged), 1)
        self.renew("a.key")
        self.assertIsNot(found.context(), context)
        self.assertEqual(found.expires, expires + 100 * DAY)

    def test_gone(self) -> None:
        """
        Files that have gone are no matter to a process that runs, and keep one from starting.
        """
        found = self.certificates()
        context = found.context()
        (self.folder / "a.key").unlink()
        self.assertIs(found.context(), context)
        self.assertRaises(ConfigError, self.certificates)

    def test_expiry(self) -> None:
        """
        In its last thirty days it is warned of, once a day, until it is renewed.
        """
        found = self.certificates()
        self.now += 69 * DAY
        found.context()
        self.assertEqual(self.logged, [])
        self.now += 1.25 * DAY
        for _ in range(3):
            found.context()
        path = self.folder / "a.crt"
        self.assertEqual(self.logged, [f"the certificate {path} expires in 30 days"])
        self.now += DAY
        found.context()
        self.now += 100 * DAY
        found.context()
        self.assertEqual(
            self.logged[1:],
            [f"the certificate {path} {said}" for said in ("expires in 29 days", "has expired")],
        )
        self.logged.clear()
        self.now = self.began.timestamp() + 90 * DAY
        self.renew("a.crt", "a.key")
        found.context()
        self.assertEqual(self.logged, [])
