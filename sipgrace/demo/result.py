"""
What a run has shown: as JSON, as tables, and as an exit status.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from sipgrace.demo.book import Book, percentiles
from sipgrace.demo.bounds import Figure, figuresOf
from sipgrace.demo.drains import Drain
from sipgrace.demo.plan import Plan
from sipgrace.demo.rolling import Course

__all__ = ["Result"]


@dataclass(frozen=True)
class Result:
    """
    One run.

    @ivar rerouted: the Call-IDs of calls that some client had to try at another server.
    @ivar reasons: why, counted over all attempts.
    @ivar steps: what happened when: seconds since the first call, and a line.
    @ivar error: what kept the run from its end.
    @ivar course: how the rolling maintenance went, where there was one.
    @ivar load: the host's load average over the last minute, at the beginning and at the end.
    """

    plan: Plan
    book: Book
    drains: Sequence[Drain]
    rerouted: Collection[bytes]
    reasons: Mapping[str, int]
    steps: Sequence[tuple[float, str]]
    error: str = ""
    load: Sequence[float] = ()
    course: Course | None = None

    @property
    def good(self) -> bool:
        """
        Whether all calls were placed and completed, every drain was made and met its guard, and all bounds
        were kept.
        """
        return (
            not self.error
            and self.book.outcomes["completed"] == len(self.book.calls) == self.plan.calls
            and len(self.drains) == len(self.plan.drains)
            and all(drain.met for drain in self.drains)
            and all(figure.met for figure in self.figures())
            and (self.course.good if self.course is not None else not self.plan.rolling)
        )

    def figures(self) -> list[Figure]:
        """
        The bounds that this kind of run has.
        """
        return list(figuresOf(self.plan, self.book, self.drains, self._reroutedHere()))

    def toJSON(self, startedAt: float) -> dict[str, Any]:
        """
        @param startedAt: when the first call was placed, in seconds of the host's monotonic clock.
        @return: for C{json.dumps}. Names that end in C{_s} are seconds, in C{_ms} milliseconds.
        """
        outcomes = self.book.outcomes
        rerouted = self._reroutedHere()
        return {
            "calls_started": len(self.book.calls),
            "calls_completed": outcomes["completed"],
            "calls_failed": outcomes["failed"],
            "calls_lost": outcomes["lost"],
            "calls_rerouted": len(rerouted),
            "setup_ms": {
                **percentiles(self.book.setUpTimes()),
                "rerouted": percentiles(self.book.setUpTimes(rerouted)),
                "others": percentiles(self.book.setUpTimes(self.book.calls.keys() - set(rerouted))),
            },
            "ways": dict(sorted(Counter(call.way for call in self.book.calls.values()).items())),
            "bounds": [figure.toJSON() for figure in self.figures()],
            "rolling": None if self.course is None else self.course.toJSON(),
            "drains": [_drainJSON(drain, startedAt) for drain in self.drains],
            "troubles": [
                {"call_id": call.callId.decode("ascii"), "outcome": call.outcome, "why": call.why}
                for call in self.book.troubles()
            ],
            "reroutes": dict(self.reasons),
            "error": self.error,
            "load_average": list(self.load),
            "answers_repeated": self.book.repeated,
            "rate": self.plan.rate,
            "ring_s": self.plan.ring,
            "announce": self.plan.announce,
            "stack": self.plan.stack,
        }

    def _reroutedHere(self) -> list[bytes]:
        return [callId for callId in self.rerouted if callId in self.book.calls]

    # ------------------------------------------------------------------ for people

    def show(self) -> RenderableType:
        """
        @return: the tables.
        """
        parts: list[RenderableType] = []
        for title, table in (
            ("Calls", self._callTable()),
            ("From INVITE to 200, the ringing included", self._setUp()),
            ("Drains: seconds after each was ordered", self._drainTable()),
            ("Rolling maintenance: by the servers' own audit logs", self._turns()),
            ("Bounds", self._bounds()),
        ):
            if table.row_count:
                parts += [Text(), Text(title, style="bold"), table]
        if self.load:
            between = " and ".join(f"{load:.1f}" for load in self.load)
            parts += [Text(), Text(f"The host's load average, at the beginning and at the end: {between}")]
        parts += [Text(), Text("Timeline", style="bold"), *self._timeline(), Text()]
        return Group(*parts)

    def _callTable(self) -> Table:
        table = _table("", "started", "completed", "failed", "lost", "rerouted")
        outcomes = self.book.outcomes
        table.add_row(
            "",
            str(len(self.book.calls)),
            str(outcomes["completed"]),
            _bad(outcomes["failed"]),
            _bad(outcomes["lost"]),
            str(len(self._reroutedHere())),
        )
        return table

    def _setUp(self) -> Table:
        table = _table("", "calls", "p50", "p99")
        rerouted = self.book.setUpTimes(self._reroutedHere())
        for name, times in (("all", self.book.setUpTimes()), ("rerouted", rerouted)):
            figures = [
                "-" if figure is None else f"{figure:.0f} ms" for figure in percentiles(times).values()
            ]
            table.add_row(name, str(len(times)), *figures)
        return table

    def _drainTable(self) -> Table:
        table = _table("server", "guard", "to set up", "drained", "forced", "all gone", "back", "")
        for drain in self.drains:
            table.add_row(
                drain.server,
                f"{drain.guard:g} s",
                str(drain.waiting),
                _seconds(drain.drainedAfter),
                str(drain.forced),
                _seconds(drain.goneAfter),
                _seconds(drain.backAfter),
                _word(drain.met),
            )
        return table

    def _turns(self) -> Table:
        table = _table("server", "drained", "maintained", "resumed", "")
        for name, turn in self.course.turns.items() if self.course is not None else ():
            times = (turn.drains, turn.maintained, turn.resumes)
            table.add_row(name, *(f"{number} x" for number in times), _word(turn.once))
        return table

    def _bounds(self) -> Table:
        table = _table("", "bound", "worst", "")
        for figure in self.figures():
            measured = "none" if figure.measured is None else f"{figure.measured:g} {figure.unit}"
            table.add_row(
                figure.what,
                f"{'>=' if figure.atLeast else '<='} {figure.bound:g} {figure.unit}",
                measured,
                _word(figure.met),
            )
        return table

    def _timeline(self) -> list[RenderableType]:
        return [Text(f"{at:6.2f} s  {text}") for at, text in self.steps]

    def troubles(self) -> Iterator[str]:
        """
        @return: what went wrong, in lines.
        """
        if self.error:
            yield self.error
        reasons = Counter(f"{call.outcome}: {call.why}" for call in self.book.troubles())
        for reason, number in reasons.most_common():
            yield f"{number} x {reason}"
        if self.course is not None and self.course.progress != "done":
            yield f"the rolling maintenance: {self.course.progress or 'not ended'} {self.course.text}"
        missing = self.plan.calls - len(self.book.calls)
        if missing:
            yield f"{missing} calls were not placed"
        for drain in self.drains:
            if drain.trouble:
                yield f"{drain.server}: {drain.trouble}"


def _drainJSON(drain: Drain, startedAt: float) -> dict[str, Any]:
    return {
        "server": drain.server,
        "guard_s": drain.guard,
        "drained_after_s": drain.drainedAfter,
        "forced": drain.forced,
        "associations_gone_after_s": drain.goneAfter,
        "back_after_s": drain.backAfter,
        "met": drain.met,
        "begun_at_s": None if drain.begunAt is None else round(drain.begunAt - startedAt, 3),
        "obeyed_after_s": _rounded(drain.obeyedAt - drain.askedAt) if drain.obeyedAt else None,
        "waiting": drain.waiting,
        "associations": drain.associations,
        "aborted": drain.aborted,
        "offline_after_order_s": _rounded(drain.offlineAfter),
        "offline_after_last_settled_s": _rounded(drain.sinceSettled),
        "last_invite_after_s": _rounded(drain.lastInvite),
        "cancelled_after_s": _rounded(
            None if drain.cancelledAt is None else drain.cancelledAt - drain.obeyedAt
        ),
        "used_again_after_s": {client: _rounded(after) for client, after in sorted(drain.usedAgain.items())},
        "gone_by_server_after_s": drain.goneByServer,
        "gone_by_clients_after_s": drain.goneByClients,
        "trouble": drain.trouble,
    }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _word(met: bool) -> str:
    return "[green]good[/]" if met else "[red]missed[/]"


def _bad(number: int) -> str:
    return f"[red]{number}[/]" if number else "0"


def _table(heading: str, *headings: str) -> Table:
    """
    @param heading: of the first column.
    @param headings: of the columns of figures.
    """
    table = Table(box=None, pad_edge=False)
    table.add_column(heading)
    for each in headings:
        table.add_column(each, justify="right")
    return table


def _seconds(figure: float | None) -> str:
    return "-" if figure is None else f"{figure:.2f} s"
