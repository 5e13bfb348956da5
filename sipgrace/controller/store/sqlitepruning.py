"""
How what is old is removed from a SQLite file, in steps that are done in the store's own thread. JSON is read
by SQLite, which lets other threads run meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sipgrace.controller.facts import Kept, Pruned

__all__ = ["STEP", "prune"]

#: So many records are looked at in one step.
STEP: Final = 200

# What cannot be read has neither.
_ENDED: Final = "CASE WHEN json_valid(record) THEN json_extract(record, '$.ended') END"
_ROLLING: Final = "CASE WHEN json_valid(record) THEN json_extract(record, '$.rolling') END"


def prune(cursor: Any, kind: Kept, before: float, after: str, spared: Collection[str]) -> Pruned:
    """
    See L{sipgrace.controller.seams.IFleetStore.prune}.
    """
    if kind is Kept.AUDIT:
        return _pruneAudit(cursor, before)
    if kind is Kept.ROLLINGS:
        return _pruneRollings(cursor, before, after)
    return _pruneOrders(cursor, before, after, spared)


def _pruneAudit(cursor: Any, before: float) -> Pruned:
    # The table's trigger lets nothing else go.
    cursor.execute("INSERT INTO audit_going VALUES (?)", (before,))
    cursor.execute(
        "DELETE FROM audit WHERE number IN (SELECT number FROM audit WHERE at < ? ORDER BY at LIMIT ?)",
        (before, STEP),
    )
    removed = cursor.rowcount
    cursor.execute("DELETE FROM audit_going")
    return Pruned(removed, after="more" if removed == STEP else "")


def _pruneRollings(cursor: Any, before: float, after: str) -> Pruned:
    rows = cursor.execute(
        f"SELECT at, id, {_ENDED} FROM rollings WHERE at < ? AND (at, id) > (?, ?) ORDER BY at, id LIMIT ?",
        (before, *_placeOf(after), STEP),
    ).fetchall()
    old = [(id,) for _, id, ended in rows if ended is not None and ended < before]
    cursor.executemany("DELETE FROM rollings WHERE id = ?", old)
    return Pruned(len(old), [id for _, id, ended in rows if ended is None], _placeAfter(rows))


def _pruneOrders(cursor: Any, before: float, after: str, spared: Collection[str]) -> Pruned:
    rows = cursor.execute(
        f"SELECT at, id, COALESCE({_ENDED}, at), {_ROLLING} FROM orders "
        "WHERE at < ? AND NOT open AND (at, id) > (?, ?) ORDER BY at, id LIMIT ?",
        (before, *_placeOf(after), STEP),
    ).fetchall()
    old = [(id,) for _, id, ended, rolling in rows if ended < before and rolling not in spared]
    cursor.executemany("DELETE FROM orders WHERE id = ?", old)
    return Pruned(len(old), after=_placeAfter(rows))


def _placeAfter(rows: Sequence[Any]) -> str:
    """
    @return: where the last one stands, where there may be more.
    """
    return f"{rows[-1][0]!r} {rows[-1][1]}" if len(rows) == STEP else ""


def _placeOf(text: str) -> tuple[float, str]:
    at, _, id = text.partition(" ")
    return (float(at), id) if at else (float("-inf"), "")
