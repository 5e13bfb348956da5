"""
The log of the demo's own process.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)

__all__ = ["keepLog"]


def keepLog(path: Path) -> None:
    """
    Writes all that this process logs to a file, and what is worse than a warning to standard error as well.
    """
    # It stays open for as long as the process does.
    file = path.open("w", encoding="utf-8")
    worst = FilteringLogObserver(
        textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(defaultLogLevel=LogLevel.error)]
    )
    globalLogBeginner.beginLoggingTo([textFileLogObserver(file), worst], redirectStandardIO=False)
