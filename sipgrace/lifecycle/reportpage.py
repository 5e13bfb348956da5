"""
The report of a drain as a page: one HTML file that needs nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from sipgrace.lifecycle.audit import stamp
from sipgrace.lifecycle.orders import Order
from sipgrace.lifecycle.report import DrainReport
from sipgrace.lifecycle.reportplot import plot

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark;
  --ink: #1c2733; --dim: #5d6b79; --line: #dde3e9; --back: #fff; --box: #f5f7f9;
  --accepted: #1f6fb4; --settled: #2e8b57; --refused: #c2452d; --rerouted: #8a55b5; --waiting: #e9b44c;
  --forced: #8c2f6b; }
@media (prefers-color-scheme: dark) { :root {
  --ink: #e4e9ee; --dim: #9aa7b4; --line: #33404d; --back: #141a20; --box: #1c242c;
  --accepted: #62aee8; --settled: #63c58e; --refused: #f0806a; --rerouted: #bd92e0; --forced: #e07ab8; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--back);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
.lead { color: var(--dim); margin: .25rem 0 1.5rem; }
.bad { color: var(--refused); font-weight: 600; }
svg { width: 100%; height: auto; background: var(--box); border-radius: 6px; }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim); } svg .word { fill: var(--ink); }
.grid { stroke: var(--line); } .axis { stroke: var(--dim); }
.mark { stroke: var(--ink); stroke-dasharray: 3 3; opacity: .6; }
.line { fill: none; stroke: var(--dim); stroke-width: 2; stroke-linejoin: round; }
.line.accepted { stroke: var(--accepted); } .line.settled { stroke: var(--settled); }
.line.refused { stroke: var(--refused); } .line.rerouted { stroke: var(--rerouted); }
.line.forced { stroke: var(--forced); }
.waiting { fill: var(--waiting); opacity: .45; }
.key { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; margin: .5rem 0 0; padding: 0; list-style: none;
  color: var(--dim); font-size: .9rem; }
.key i { display: inline-block; width: 1rem; height: .3rem; border-radius: 2px; margin-right: .4rem;
  vertical-align: middle; background: var(--dim); }
.key .waiting i { height: .8rem; background: var(--waiting); } .key .waiting { opacity: 1; }
.key .accepted i { background: var(--accepted); } .key .settled i { background: var(--settled); }
.key .refused i { background: var(--refused); } .key .rerouted i { background: var(--rerouted); }
.key .forced i { background: var(--forced); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0;
  border-bottom: 1px solid var(--line); }
table.facts { max-width: 34rem; }
th { font-weight: 400; color: var(--dim); white-space: nowrap; } td.number { text-align: right; }
pre { background: var(--box); padding: .75rem; border-radius: 6px; overflow-x: auto; white-space: pre-wrap; }
.scroll { overflow-x: auto; }
"""


def page(report: DrainReport) -> str:
    """
    @return: the page. Nothing in it is loaded from elsewhere, nor is anything run.
    """
    title = f"Drain of {report.server}"
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
            "style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}, {stamp(report.startedWall)}</title>",
            f"<style>{_STYLE}</style>",
            "</head>",
            "<body>",
            f"<h1>{escape(title)}</h1>",
            f'<p class="lead">{escape(stamp(report.startedWall))} · {_outcome(report)}</p>',
            plot(report),
            *_key(report),
            "<h2>What became of it</h2>",
            *_facts(report),
            "<h2>Orders</h2>",
            *_orders(report),
            *_maintenance(report),
            "</body>",
            "</html>",
            "",
        ]
    )


def _outcome(report: DrainReport) -> str:
    bad = report.forced or report.failed or report.aborted
    if report.cancelledAfter is not None:
        text = f"taken back after {_seconds(report.cancelledAfter)}"
    elif report.drainedAfter is None:
        text = "under way"
    else:
        text = f"{'cut off' if report.cutOff else 'drained'} after {_seconds(report.drainedAfter)}"
    parts = []
    if report.forced:
        parts.append(f"{_many(report.forced, 'call')} ended by force")
    if report.failed:
        parts.append(f"{_many(report.failed, 'call')} dropped")
    if report.aborted:
        parts.append(f"{_many(report.aborted, 'association')} aborted")
    text += ", " + (", ".join(parts) if parts else "no call lost")
    return f'<span class="bad">{escape(text)}</span>' if bad else escape(text)


def _many(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _key(report: DrainReport) -> Iterator[str]:
    yield '<ul class="key">'
    yield '<li class="waiting"><i></i>waiting</li>'
    for name in report.course.columns:
        yield f'<li class="{escape(name)}"><i></i>{escape(name)}</li>'
    yield "<li>(waiting at the moment; all others since the beginning)</li>"
    yield "</ul>"


def _facts(report: DrainReport) -> Iterator[str]:
    facts: list[tuple[str, str]] = [
        ("Calls waiting at the beginning", str(report.waiting)),
        ("Associations at the beginning", str(report.associations)),
        ("Accepted meanwhile", str(report.accepted)),
        ("Refused", str(report.refused)),
        ("Settled in their own time", str(report.settled)),
        ("Ended by force", str(report.forced)),
        ("Dropped, by a fault of this program", str(report.failed)),
        ("Associations aborted", str(report.aborted)),
        ("Full stop after", _seconds(report.stoppedAfter)),
        ("Guard", _seconds(report.guard)),
        ("Guard as estimated", _noted(report.estimate, report.estimatedFrom)),
        ("Time needed", _noted(report.needed, "cut off: more, had it been let" if report.cutOff else "")),
        ("Retry-After", _seconds(report.retryAfter)),
        ("Associations gone after", _seconds(report.associationsGoneAfter)),
        ("Taken back after", _seconds(report.cancelledAfter)),
        ("Back in service after", _seconds(report.backAfter)),
    ]
    yield '<div class="scroll"><table class="facts">'
    for name, value in facts:
        yield f'<tr><th>{name}</th><td class="number">{value}</td></tr>'
    yield "</table></div>"


def _orders(report: DrainReport) -> Iterator[str]:
    yield '<div class="scroll"><table>'
    for order in report.orders:
        yield f"<tr><th>{escape(stamp(order.when))}</th><td>{escape(_said(order))}</td></tr>"
    yield "</table></div>"


def _said(order: Order) -> str:
    text = f"{order.kind} by {order.who}"
    if order.why:
        text += f": {order.why}"
    wishes = [
        f"{name} {value:g} s"
        for name, value in (
            ("guard", order.guard),
            ("Retry-After", order.retryAfter),
            ("over", order.over),
        )
        if value is not None
    ]
    if order.then is not None:
        wishes.append(f"then {order.then}")
    return f"{text} ({', '.join(wishes)})" if wishes else text


def _maintenance(report: DrainReport) -> Iterator[str]:
    done = report.maintenance
    if done is None:
        return
    yield "<h2>Maintenance</h2>"
    yield f"<p>{escape(done.command)}: {escape(done.outcome())}</p>"
    if done.output:
        yield f"<pre>{escape(done.output)}</pre>"


def _noted(seconds: float | None, note: str) -> str:
    return f"{_seconds(seconds)} ({escape(note)})" if note and seconds is not None else _seconds(seconds)


def _seconds(seconds: float | None) -> str:
    return "&ndash;" if seconds is None else f"{seconds:.2f} s"
