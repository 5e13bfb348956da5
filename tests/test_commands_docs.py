"""
Tests of C{docs/commands.rst}: it says what the command line knows.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from sipgrace.commands.main import VERBS, sipgrace
from sipgrace.commands.outcome import Exit
from tests.controlled import ControlledCase

PAGE = (Path(__file__).parent.parent / "docs" / "commands.rst").read_text(encoding="utf-8")


class Page(SynchronousTestCase):
    """
    The page as a whole.
    """

    def test_verbs(self) -> None:
        """
        Each verb is explained, and no other.
        """
        known = {verb for verb in VERBS if verb != "demo"} | {"demo", "VERB"}
        self.assertEqual(set(re.findall(r"``sipgrace\s(\w+)", PAGE)), known)

    def test_options(self) -> None:
        """
        So is each option.
        """
        group: Any = sipgrace
        context = click.Context(sipgrace)
        options = {
            option
            for verb in VERBS
            if verb != "demo"
            for command in [group.get_command(context, verb)]
            for each in (command, *getattr(command, "commands", {}).values())
            for parameter in each.params
            if isinstance(parameter, click.Option)
            for option in parameter.opts
        }
        self.assertGreater(len(options), 8)
        said = set(re.findall(r"``(?:sipgrace [^`]*)?(--[a-z-]+)", PAGE))
        self.assertEqual(options - said, set())
        self.assertEqual(said - options - {"--help"}, set())

    def test_statuses(self) -> None:
        """
        The exit statuses are those of the program.
        """
        rows = re.findall(r"(?m)^(\d)        (\w+)?", PAGE)
        self.assertEqual(
            [(int(number), word) for number, word in rows],
            [(status, "" if status is Exit.USAGE else status.name.lower()) for status in Exit],
        )


class Program(ControlledCase):
    """
    The program on the page.
    """

    async def test_runs(self) -> None:
        await self.server()
        code = re.search(r"(?ms)^    (from sipgrace\.control.*?node\.end\(\))$", PAGE)
        assert code is not None
        text = re.sub(r"(?m)^    ", "", code[1]).replace("/run/sipgrace/server-102.sock", str(self.path))
        printed: list[tuple[object, ...]] = []
        names: dict[str, Any] = {"print": lambda *words: printed.append(words)}
        exec(compile(text, "commands.rst", "exec"), names)
        await names["drain"](reactor)
        self.assertEqual(printed, [("offline", "with", 0, "calls ended by force")])
        await self.until(lambda: not self.control._factory.links)
