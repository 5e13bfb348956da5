"""
Tests of C{README.rst} and the pages in C{docs/}: what they say to type does what they say, and what they name
is there.
"""

from __future__ import annotations

import configparser
import contextlib
import io
import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any, cast

import click
from twisted.application.twist._options import TwistOptions
from twisted.internet import reactor
from twisted.internet.defer import TimeoutError
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SkipTest, SynchronousTestCase, TestCase

from sipgrace.commands.main import VERBS, sipgrace
from sipgrace.config.load import parseServer
from sipgrace.console import Console
from sipgrace.errors import ConfigError
from sipgrace.server.service import ServerService
from sipgrace.tap.server import Options as ServerOptions
from sipgrace.transport.sctp.usrsctp import load
from tests.children import Child
from tests.test_imports import LEVELS, OUTSIDE

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.rst", ROOT / "CONTRIBUTING.rst", *sorted(DOCS.glob("*.rst"))]


def blocks(path: Path, language: str) -> Iterator[str]:
    """
    The code blocks of a page in one language, unindented.
    """
    lines = path.read_text(encoding="utf-8").splitlines()
    for at, line in enumerate(lines):
        if line == f".. code-block:: {language}":
            block = []
            for follows in lines[at + 1 :]:
                if follows and not follows.startswith("    "):
                    break
                block.append(follows[4:])
            yield "\n".join(block).strip("\n")


@dataclass
class Step:
    """
    A command on a page, and what the page says that it prints.
    """

    command: str
    printed: list[str] = field(default_factory=list)


def steps(path: Path) -> list[Step]:
    """
    What a page says to type at a shell, in order.
    """
    found: list[Step] = []
    for block in blocks(path, "console"):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append(Step(line[2:]))
            elif line.startswith("> "):
                found[-1].command += f"\n{line[2:]}"
            elif line:
                found[-1].printed.append(line)
    return found


def shape(line: str) -> str:
    """
    A line of output without what differs from one run to the next.
    """
    line = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "DATE", line.rstrip())
    line = re.sub(r"^\d\d:\d\d:\d\d(?= )", "TIME", line)
    line = re.sub(r"\d+-\d+@[\d.]+", "CALL", line)
    line = re.sub(r"\b(ordered +\w+ by) \S+", r"\1 SOMEBODY", line)
    line = re.sub(r"\b(interpreted|compiled)\b", "BUILD", line)
    if not line.isdigit():
        # An exit status stays as it is.
        line = re.sub(r"(?:(?<=[ (])|^)\d+(?:\.\d+)?(?= |\)|$)", "N", line)
    return re.sub(r"\b(call|association)s\b", r"\1", line)


def missing(printed: list[str], output: str) -> list[str]:
    """
    @return: the lines that should have been printed and were not. There may be others: a terminal has a bar
        in their place, which goes away.
    """
    seen = [shape(line) for line in output.splitlines()]
    found = []
    for line in printed:
        if shape(line) in seen:
            seen.remove(shape(line))
        else:
            found.append(line)
    return found


class Shell:
    """
    Bash as whoever follows a page has it: in the project's folder, with job control. All that is started here
    ends with it, and it with the test.

    @ivar prefix: what takes the place of C{127.0.0.}, so that no other network is met.
    """

    def __init__(self, test: TestCase, prefix: str) -> None:
        self.prefix = prefix
        # Paths of sockets are short.
        self.folder = Path(tempfile.mkdtemp(prefix="sipgrace-"))
        test.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        for name in ("build", ".venv/bin"):
            (self.folder / name).mkdir(parents=True)
        shutil.copytree(ROOT / "examples", self.folder / "examples", ignore=shutil.ignore_patterns("*.sock"))
        for path in (self.folder / "examples").iterdir():
            text = self._own(path.read_text(encoding="utf-8"))
            # Nobody waits for a test.
            text = re.sub(r"(?m)^guard = 10$", "guard = 5", text)
            text = re.sub(r"(?m)^retry_after_period = 10$", "retry_after_period = 0", text)
            text = re.sub(r"(?m)^spread = 2$", "spread = 0", text)
            path.write_text(text, encoding="utf-8")
        self._script("activate", f'PATH="{self.folder}/.venv/bin:$PATH"')
        self._script("sipgrace", f'exec "{sys.executable}" -m sipgrace.commands.main "$@"')
        tethered = f'exec "{sys.executable}" -m sipgrace.demo.tether $PPID'
        self._script("twist", f'{tethered} "{sys.executable}" -m twisted "$@"')
        self._script("sipp", f'{tethered} "{shutil.which("sipp")}" "$@"')
        command = ("-m", "sipgrace.demo.tether", str(os.getpid()), "bash", "--noprofile", "--norc")
        self.child = Child(test, *command)
        self._count = 0
        self._type(f'set -m; exec 2>&1; cd "{self.folder}"')

    def _script(self, name: str, text: str) -> None:
        path = self.folder / ".venv" / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        path.chmod(0o755)

    def _type(self, command: str) -> None:
        self.child.transport.write(f"{command}\n".encode())

    def _own(self, text: str) -> str:
        return text.replace("127.0.0.", self.prefix)

    async def run(self, command: str) -> tuple[int, str]:
        """
        @return: the exit status, and what was printed.
        """
        self._count += 1
        mark = f"=={self._count}=="
        start = len(self.child.output)
        self._type(f"{self._own(command)}\nended=$?; printf '\\n%s %d\\n' {mark} $ended; (exit $ended)")
        try:
            match = await self.child.printed(rb"\n%s (\d+)\n" % mark.encode())
        except TimeoutError:
            raise AssertionError(f"{command}\ngoes on:\n{self.child.output[start:].decode()}") from None
        output = self.child.output[start : match.start()].decode()
        return int(match[1]), output.replace(self.prefix, "127.0.0.")


class Followed(TestCase):
    """
    Pages that are followed command by command.
    """

    timeout = 120

    def setUp(self) -> None:
        if shutil.which("sipp") is None:
            raise SkipTest("SIPp is not there (Debian's package sip-tester)")
        try:
            load()
        except ConfigError as error:
            raise SkipTest(f"{error}") from None
        self.shell = Shell(self, self.claim())

    def claim(self) -> str:
        """
        @return: a prefix of addresses that are this test's alone.
        """
        for third in range(200, 250):
            lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.addCleanup(lock.close)
            with contextlib.suppress(OSError):
                lock.bind((f"127.0.{third}.250", 61061))
                return f"127.0.{third}."
        raise AssertionError("every prefix is taken")

    async def follow(self, path: Path) -> None:
        """
        Types what the page says. Only what is asked about with C{echo $?} may fail.
        """
        todo = steps(path)
        self.assertGreater(len(todo), 5)
        for step, then in zip(todo, [*todo[1:], Step("")], strict=True):
            status, output = await self.shell.run(step.command)
            if "sipgrace status" in step.command:
                # How things stand takes a while to come about: one asks again.
                for _ in range(25):
                    if not missing(step.printed, output):
                        break
                    await deferLater(cast(IReactorTime, reactor), 0.25, lambda: None)
                    status, output = await self.shell.run(step.command)
            self.assertEqual(missing(step.printed, output), [], f"{step.command}\nprinted:\n{output}")
            if then.command != "echo $?":
                self.assertEqual(status, 0, f"{step.command}\nprinted:\n{output}")
        _, output = await self.shell.run("wait; jobs")
        self.assertNotIn("Running", output)
        logs = "".join(
            log.read_text(encoding="utf-8") for log in sorted((self.shell.folder / "build").glob("*-1*.log"))
        )
        self.assertIn("lifecycle: serving", logs)
        self.assertEqual(re.findall(r"(?m)^.*#(?:error|critical)\].*$", logs), [])

    async def test_readme(self) -> None:
        """
        The first drain by hand.
        """
        await self.follow(ROOT / "README.rst")

    async def test_tutorial(self) -> None:
        """
        Drains, resumes, and what gets in the way.
        """
        await self.follow(DOCS / "tutorial.rst")


class Named(SynchronousTestCase):
    """
    What pages name is there.
    """

    maxDiff = None

    def test_pages(self) -> None:
        """
        The index leads to every page.
        """
        index = (DOCS / "index.rst").read_text(encoding="utf-8")
        listed = re.findall(r"(?m)^   (?!:)([a-z/-]+)$", index)
        pages = {page.stem for page in DOCS.glob("*.rst")} - {"index"}
        self.assertEqual(sorted(listed), sorted({*pages, "api/index"}))

    def test_files(self) -> None:
        """
        Every file of the project that is named.
        """
        places = r"(?<![\w/.])((?:docs|examples|tests|tools|twisted|benchmarks|\.ci)/[\w./@-]*\w)(?![\w$-])"
        made = r"docs/_build|examples/(?:\w+-1\d\d\.sock|authorized_keys)"
        for page in PAGES:
            if page.name != "configuration.rst":
                named = set(re.findall(places, page.read_text(encoding="utf-8")))
                lacking = [
                    name for name in sorted(named) if not (re.match(made, name) or (ROOT / name).exists())
                ]
                self.assertEqual(lacking, [], page.name)

    def test_names(self) -> None:
        """
        Every module, class and function that is named in full.
        """
        seen = 0
        for page in PAGES:
            for name in re.findall(r"``(sipgrace(?:\.\w+)+)``", page.read_text(encoding="utf-8")):
                found: Any = None
                parts = name.split(".")
                for at in range(len(parts), 0, -1):
                    with contextlib.suppress(ImportError):
                        found = import_module(".".join(parts[:at]))
                        break
                for part in parts[at:]:
                    found = getattr(found, part)
                self.assertIsNotNone(found)
                seen += 1
        self.assertGreater(seen, 5)

    def test_targets(self) -> None:
        """
        Every target of make.
        """
        targets = set(re.findall(r"(?m)^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
        for page in PAGES:
            named = set(re.findall(r"(?:^    |``)make ([a-z-]+)", page.read_text(encoding="utf-8"), re.M))
            self.assertEqual(named - targets, set(), page.name)

    def test_verbs(self) -> None:
        """
        The verbs and options of the command line.
        """
        group: Any = sipgrace
        context = click.Context(sipgrace)
        said = r"(?m)(?:``|^    (?:.*[ $])?)sipgrace ([a-z]+)((?: [^`|\n]*)?)"
        for page in PAGES:
            for verb, options in re.findall(said, page.read_text(encoding="utf-8")):
                self.assertIn(verb, VERBS, page.name)
                command = group.get_command(context, verb)
                below = getattr(command, "commands", {}).values()
                parameters = [one for each in (command, *below) for one in each.params]
                known = {"--help"}.union(*(parameter.opts for parameter in parameters))
                unknown = set(re.findall(r"--[a-z-]+", options)) - known
                self.assertEqual(unknown, set(), f"{page.name}: {verb}")


class Architecture(SynchronousTestCase):
    """
    C{docs/architecture.rst}.
    """

    maxDiff = None

    def setUp(self) -> None:
        self.page = (DOCS / "architecture.rst").read_text(encoding="utf-8")

    def test_rooms(self) -> None:
        """
        Every room is in the table, in the order in which they may import.
        """
        inside = (ROOT / "sipgrace").iterdir()
        there = {path.stem for path in inside if path.name[0] not in "_." and path.name != "py.typed"}
        table = self.page[self.page.index("The rooms\n") : self.page.index("The life of a server\n")]
        self.assertEqual(set(re.findall(r"(?m)^``(\w+)``", table)), there)
        drawing = table[table.index("::\n") :]
        drawn = [line.split() for line in re.findall(r"(?m)^    ([a-z ]+)$", drawing)]
        levels = [[name for name in names if name in there] for names in LEVELS]
        self.assertEqual([set(line) for line in drawn], [set(names) for names in levels if names])
        self.assertEqual(OUTSIDE, {"testing"})

    def test_dependencies(self) -> None:
        """
        Every package that is installed has its reason, and no other.
        """
        setup = (ROOT / "setup.py").read_text(encoding="utf-8")
        required = re.search(r"(?s)install_requires=\[(.*?)\n    \]", setup)
        assert required is not None
        packages = re.findall(r'(?m)^ +"([\w.]+)', required[1])
        table = self.page[self.page.index("\nDependencies\n") :]
        self.assertEqual(re.findall(r"(?m)^([A-Za-z][\w.]*)  ", table), packages)


class Tutorial(SynchronousTestCase):
    """
    What C{docs/tutorial.rst} shows and does not have typed at a shell.
    """

    def setUp(self) -> None:
        self.page = DOCS / "tutorial.rst"

    def config(self) -> str:
        """
        The file of server-102 with the section for the manhole.
        """
        (section,) = blocks(self.page, "toml")
        return f"{(ROOT / 'examples' / 'server-102.toml').read_text(encoding='utf-8')}\n{section}\n"

    def test_manhole(self) -> None:
        """
        The section is accepted.
        """
        manhole = parseServer(self.config(), "server-102.toml").manhole
        assert manhole is not None
        self.assertEqual(manhole.listen, "tcp:2222:interface=127.0.0.1")

    def test_prompt(self) -> None:
        """
        What is said at the prompt is understood.
        """
        service = ServerService(Clock(), parseServer(self.config(), "server-102.toml"))
        names = service.orders()
        (block,) = blocks(self.page, "pycon")
        said = re.findall(r"(?m)^>>> (\w+)\((.*)\)\n?((?:(?!>>>).*\n?)*)", block)
        self.assertEqual([name for name, _, _ in said], ["show", "drain", "show", "resume"])
        for name, arguments, printed in said:
            function = cast(Any, names[name])
            signature(function).bind(**eval(f"dict({arguments})"))
            if name == "show":
                output = io.StringIO()
                with contextlib.redirect_stdout(output):
                    function()
                shown = [line.split()[0] for line in output.getvalue().splitlines()]
                told = [line.split()[0] for line in printed.splitlines()]
                self.assertEqual(shown[: len(told)], told)
        for name in re.findall(r"``(\w+)\(\w*\)``", self.page.read_text(encoding="utf-8")):
            # Those that are a client's alone are no names here.
            self.assertTrue(name in ("help", "quit") or callable(getattr(Console, name)), name)

    def test_controllerUnit(self) -> None:
        """
        So is that of a controller.
        """
        unit = configparser.ConfigParser(interpolation=None)
        unit.read(ROOT / "examples" / "sipgrace-controller@.service", encoding="utf-8")
        command = unit["Service"]["ExecStart"].split()
        at = command.index("sipgrace-controller")
        options = TwistOptions()
        options.parseOptions([*command[1:at], "web"])
        self.assertEqual(command[at + 1 :], ["--config", "/etc/sipgrace/%i.toml"])

    def test_unit(self) -> None:
        """
        What systemd is to start is a command line that is understood, and drains at SIGTERM.
        """
        unit = configparser.ConfigParser(interpolation=None)
        unit.read(ROOT / "examples" / "sipgrace-server@.service", encoding="utf-8")
        service = unit["Service"]
        self.assertEqual((service["Type"], service["KillMode"]), ("notify", "mixed"))
        command = service["ExecStart"].split()
        self.assertEqual(command[0].rpartition("/")[2], "twist")
        options = TwistOptions()
        at = command.index("sipgrace-server")
        options.parseOptions([*command[1:at], "web"])
        file = str(ROOT / "examples" / "server-102.toml")
        words = [word.replace("/etc/sipgrace/%i.toml", file) for word in command[at + 1 :]]
        ServerOptions().parseOptions(words)
