"""
Starts a program that cannot outlive whoever started it: C{python -m sipgrace.demo.tether PARENT COMMAND...}.

The kernel kills it when its parent ends, however that comes about. It has a process group of its own, so that
Ctrl-C reaches the parent alone, which then ends it in order.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

#: From linux/prctl.h. What is set stays set across execve(2).
_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """
    @param arguments: the parent's process id, then the command and its arguments. Does not return.
    """
    parent, *command = arguments
    os.setpgid(0, 0)
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != int(parent):
        # It ended before the kernel knew.
        raise SystemExit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
