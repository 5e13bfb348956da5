"""
How many files, and so connections, a process may have open.
"""

from __future__ import annotations

import resource

__all__ = ["raiseFileLimit"]


def raiseFileLimit() -> int:
    """
    Raises the limit as far as that is allowed: the usual one, 1024, is for programs that use C{select}.

    @return: the limit now.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            # Some systems say that there is no limit, and have one.
            return soft
    return hard
