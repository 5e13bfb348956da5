"""
Addresses of loopback that no other test has at the same time, in this process or another.
"""

from __future__ import annotations

import socket
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.scenarios.waiting import poll

#: 127.0.8.0/24 in blocks of ten.
BLOCKS = range(10, 250, 10)

#: The UDP port that stands for a whole block.
LOCK = 61


def claim(test: TestCase) -> list[str]:
    """
    @return: ten addresses, which are this test's alone until it ends.
    """
    for block in BLOCKS:
        lock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            lock.bind((f"127.0.8.{block}", 61000 + LOCK))
        except OSError:
            lock.close()
            continue
        test.addCleanup(lock.close)
        return [f"127.0.8.{block + offset}" for offset in range(10)]
    raise AssertionError("every address of 127.0.8.0/24 is taken")


async def bound(transport: str, host: str, port: int) -> None:
    """
    Waits until somebody listens there.

    @param transport: C{"udp"} or C{"tcp"}.
    """
    packed = socket.inet_aton(host)[::-1].hex().upper()
    state = "0A" if transport == "tcp" else "07"
    table = Path(f"/proc/net/{transport}")

    def there() -> bool:
        rows = (line.split() for line in table.read_text().splitlines()[1:])
        return any(row[1] == f"{packed}:{port:04X}" and row[3] == state for row in rows)

    await poll(there, f"somebody at {transport} {host}:{port}")
