"""
The first set-up of C{docs/controllers.rst}, step by step.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path
from signal import SIGTERM

from twisted.trial.unittest import TestCase

from tests.children import Child

PAGE = (Path(__file__).parent.parent / "docs" / "controllers.rst").read_text(encoding="utf-8")

#: What the page's programs are here.
PROGRAMS = {
    "sipgrace": ("-m", "sipgrace.commands.main"),
    "twist": ("-m", "twisted", "--log-format=text"),
}


class FirstSetUp(TestCase):
    """
    In a folder of its own, on loopback.
    """

    timeout = 120

    def setUp(self) -> None:
        folder = tempfile.mkdtemp(prefix="sipgrace-")
        self.addCleanup(shutil.rmtree, folder)
        self.folder = Path(folder)
        self.said = ""

    def child(self, command: str) -> Child:
        """
        Starts one of the page's commands in that folder.
        """
        program, *words = command.split()
        # The children's folder is that of the tests.
        code = f"import os, runpy, sys; os.chdir({str(self.folder)!r}); sys.argv = sys.argv[1:]; "
        code += "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
        return Child(self, "-c", code, *PROGRAMS[program][1:], *words)

    def files(self) -> None:
        """
        Writes the page's files, with what was printed here, and on loopback.
        """
        for name, block in re.findall(r"(?ms):caption: (\S+)\n\n(.*?)\n(?=\S)", PAGE):
            lines = re.sub(r"(?m)^    ", "", block).splitlines()
            made = dict(re.findall(r'(?m)^(sha256|public) = (".*")$', self.said))
            lines = [f"{key} = {made[key]}" if (key := one.split(" ")[0]) in made else one for one in lines]
            file = "\n".join(lines)
            for there, here in (("192.0.2.", "127.0.6."), ("tcp:7180", "tcp:0"), ("udp:5060", "udp:0")):
                file = file.replace(there, here)
            (self.folder / name).write_text(file, encoding="utf-8")

    async def test_page(self) -> None:
        """
        The keys are made, the files are right, the server links up, and the end is in order.
        """
        at = PAGE.index("A first set-up")
        commands = re.findall(r"(?m)^    \$ (.+)$", PAGE[at : PAGE.index("Who may what")])
        self.assertEqual(len(commands), 11)
        for command in commands[:6]:
            child = self.child(command)
            self.assertEqual((await child.ended, child.errors), (0, b""), command)
            self.said += child.output.decode("utf-8")
        self.files()
        for command in commands[6:8]:
            child = self.child(command)
            self.assertEqual((await child.ended, child.errors), (0, b""), command)
        controller = self.child(commands[8])
        await controller.printed(b"control socket at ")
        server = self.child(commands[9])
        await server.printed(b"linked to controller-120")
        status = self.child(commands[10])
        self.assertEqual(await status.ended, 0, status.errors)
        self.assertIn(b"1 linked, 0 lost", status.output)
        for child in (server, controller):
            child.signal(SIGTERM)
            self.assertEqual(await child.ended, 0)
