"""
A real etcd on loopback, for the tests that need one.
"""

from __future__ import annotations

import atexit
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

__all__ = ["Etcd", "etcd", "program"]


def program() -> str | None:
    """
    @return: where it is installed.
    """
    unpacked = Path(__file__).parent.parent / "build" / "etcd-server" / "usr" / "bin"
    return shutil.which("etcd") or shutil.which("etcd", path=f"{unpacked}:/usr/bin:/usr/local/bin")


def _freePorts() -> tuple[int, int]:
    with socket.socket() as one, socket.socket() as two:
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


class Etcd:
    """
    One process, with its data in a folder of its own.
    """

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix="sipgrace-etcd-")
        client, peer = _freePorts()
        self.url = f"http://127.0.0.1:{client}"
        self._arguments = [
            program() or "etcd",
            f"--data-dir={self._folder}/data",
            f"--listen-client-urls={self.url}",
            f"--advertise-client-urls={self.url}",
            f"--listen-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-advertise-peer-urls=http://127.0.0.1:{peer}",
            f"--initial-cluster=default=http://127.0.0.1:{peer}",
            "--log-level=error",
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """
        Starts it, and waits until it answers.
        """
        with (Path(self._folder) / "log").open("ab") as log:
            self._process = subprocess.Popen(self._arguments, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with suppress(OSError), urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                if answer.status == 200:
                    return
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        raise RuntimeError(f"etcd does not start: {(Path(self._folder) / 'log').read_text()[-2000:]}")

    def pause(self) -> None:
        """
        It does not answer any more.
        """
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def proceed(self) -> None:
        """
        It does again.
        """
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """
        Ends it at once.
        """
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """
        Ends it, and removes its data.
        """
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


_running: list[Etcd] = []


def etcd() -> Etcd:
    """
    @return: the one that all tests of a process share.
    """
    if not _running:
        _running.append(Etcd())
        atexit.register(_running[0].remove)
    return _running[0]
