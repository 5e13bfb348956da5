"""
The messages in C{docs/event-package.rst} are messages, and those that this package would send.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent

from twisted.trial.unittest import SynchronousTestCase

from sipgrace.lifecycle.availability import Availability
from sipgrace.message.message import Request, Response
from sipgrace.message.parser import parse

PAGE = Path(__file__).parent.parent / "docs" / "event-package.rst"


def examples() -> Iterator[bytes]:
    """
    Every whole message on the page.
    """
    lines = PAGE.read_text(encoding="utf-8").split("Examples\n--------")[1].splitlines()
    block: list[str] = []
    for line in [*lines, "end"]:
        if line.startswith("    ") or not line:
            block.append(line)
            continue
        text = dedent("\n".join(block)).strip("\n")
        block = []
        if not text or "\n...\n" in text:
            continue
        # A 200 stands in one block with the NOTIFY that follows it.
        for message in text.replace("\n\nNOTIFY", "\n\n\fNOTIFY").split("\f"):
            head, _, body = message.partition("\n\n")
            body = body.strip("\n")
            yield (head + "\n\n" + (body + "\n" if body else "")).replace("\n", "\r\n").encode()


class Page(SynchronousTestCase):
    """
    The examples.
    """

    def test_examples(self) -> None:
        if not PAGE.exists():
            # An installed package has no docs beside it.
            self.skipTest(f"{PAGE} is not there")
        said = []
        for data in examples():
            message = parse(data)
            self.assertEqual(message.contentLength, len(message.body), data)
            if isinstance(message, Response):
                said.append((message.status, message.cseq, None))
                continue
            assert isinstance(message, Request)
            availability = None
            if message.body:
                availability = Availability.parse(message.body)
                self.assertEqual(availability.fragment(), message.body)
            said.append((message.method, message.cseq, availability))
        kernel = b"new kernel"
        self.assertEqual(
            said,
            [
                (b"SUBSCRIBE", 1, None),
                (200, 1, None),
                (b"NOTIFY", 1, Availability(True)),
                (b"NOTIFY", 2, Availability(False, 120, kernel, 600)),
                (b"NOTIFY", 3, Availability(False, 115, kernel, 595)),
            ],
        )
