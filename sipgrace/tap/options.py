"""
The command line that the roles share.
"""

from __future__ import annotations

import sys
from typing import Any, ClassVar, NoReturn

from twisted.copyright import version as twisted
from twisted.python import usage

from sipgrace import __version__
from sipgrace.compiled import HOW
from sipgrace.config.sections import Section
from sipgrace.errors import ConfigError
from sipgrace.tap.paths import Paths

__all__ = ["FileOptions", "RoleOptions"]


class FileOptions(usage.Options):
    """
    C{--config} and C{--check}.

    The file is read and checked while the command line is parsed, so that a mistake ends the process before
    anything has begun: with its text alone, and status 1.

    @ivar config: what the file says.
    """

    optParameters = [
        ["config", "c", None, "The configuration file (TOML); see docs/configuration.rst and examples/."],
    ]
    optFlags = [
        ["check", None, "Only check the configuration and the files it names: prints what is wrong, or ok."],
    ]
    compData = usage.Completions(optActions={"config": usage.CompleteFiles("*.toml")})

    config: Any

    def load(self, path: str) -> Section:
        """
        Reads the file.
        """
        raise NotImplementedError()

    def opt_version(self) -> NoReturn:
        """
        Print the versions of sipgrace and Twisted, and exit.
        """
        print(f"sipgrace {__version__} ({HOW}), Twisted {twisted}", flush=True)
        raise SystemExit(0)

    def _checked(self, path: str, config: Section) -> int:
        """
        Says whether this user could start a process by it.

        @return: the exit status.
        """
        paths = Paths()
        paths.look(config)
        for text in paths.missing:
            print(f"{path}: {text}", flush=True)
        for text in paths.wrong:
            print(f"{path}: {text}", file=sys.stderr, flush=True)
        if not paths.wrong:
            print(f"{path}: ok", flush=True)
        return 1 if paths.wrong else 0

    def postOptions(self) -> None:
        """
        Reads and checks the file.

        @raise usage.UsageError: when the command line itself is wrong.
        @raise SystemExit: when the file is wrong, or was only to be checked.
        """
        path: str | None = self["config"]
        if path is None:
            raise usage.UsageError("--config FILE is needed")
        try:
            config = self.load(path)
        except ConfigError as error:
            print(error, file=sys.stderr, flush=True)
            raise SystemExit(1) from None
        if self["check"]:
            raise SystemExit(self._checked(path, config))
        self.config = config


class RoleOptions(FileOptions):
    """
    C{--stack} besides.

    @cvar section: the file's section that holds C{stack}.
    """

    optParameters = [
        [
            "stack",
            "s",
            None,
            "The SCTP stack to use in place of the configured one: auto, userspace or kernel.",
        ],
    ]

    section: ClassVar[str]

    def postOptions(self) -> None:
        """
        See L{FileOptions}.
        """
        stack: str | None = self["stack"]
        if self["config"] is not None and stack not in (None, "auto", "userspace", "kernel"):
            raise usage.UsageError(f"--stack: expected auto, userspace or kernel, found {stack!r}")
        super().postOptions()
        if stack is not None:
            role = getattr(self.config, self.section).model_copy(update={"stack": stack})
            self.config = self.config.model_copy(update={self.section: role})
