"""
A drain's course as a picture: SVG that stands by itself in a page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import floor, log10
from typing import Final

from sipgrace.lifecycle.report import DrainReport

__all__ = ["plot", "ticks"]

WIDTH: Final = 960
HEIGHT: Final = 380
LEFT: Final = 56
RIGHT: Final = 16
TOP: Final = 46
BOTTOM: Final = 42


def ticks(most: float, about: int = 6) -> list[float]:
    """
    @return: round numbers from 0 up to C{most}, about so many.
    """
    if most <= 0:
        return [0.0]
    rough = most / about
    power = 10.0 ** floor(log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)
    return [step * number for number in range(int(most / step + 1e-9) + 1)]


class _Frame:
    """
    From seconds and counts to the picture.
    """

    def __init__(self, seconds: float, count: float) -> None:
        self.seconds = seconds
        self.count = count

    def x(self, seconds: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * seconds / self.seconds

    def y(self, count: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * count / self.count

    def steps(self, points: Sequence[tuple[float, int]]) -> str:
        """
        A line that goes on level until the count changes.
        """
        path = ""
        last: int | None = None
        for seconds, count in points:
            if last is None:
                path = f"M{self.x(seconds):.1f} {self.y(count):.1f}"
            elif count != last:
                path += f"H{self.x(seconds):.1f}V{self.y(count):.1f}"
            last = count
        return path + f"H{self.x(points[-1][0]):.1f}" if points else path


def plot(report: DrainReport) -> str:
    """
    @return: an C{svg} element: the calls that wait as an area; what was accepted, settled, refused and so on
        since the beginning as lines; and the moments that count. Its colours are those of the page's classes.
    """
    rows = report.course.rows
    # What comes long after the drain (maintenance, the return) would press it into a corner.
    end = max(1.0, rows[-1][0]) if rows else 1.0
    most = max([1, *(waiting for _, waiting, _ in rows), *(max(counts, default=0) for _, _, counts in rows)])
    frame = _Frame(end, most * 1.05)
    return "\n".join(
        [
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="The drain from moment to moment">',
            *_axes(frame, most),
            *_area(frame, [(after, waiting) for after, waiting, _ in rows]),
            *(
                line
                for at, name in enumerate(report.course.columns)
                for line in _line(frame, name, [(after, counts[at]) for after, _, counts in rows])
            ),
            *_marks(frame, [mark for mark in report.marks if mark[0] <= end]),
            "</svg>",
        ]
    )


def _axes(frame: _Frame, most: int) -> Iterator[str]:
    bottom = HEIGHT - BOTTOM
    for count in ticks(most):
        if count == int(count):
            y = frame.y(count)
            yield f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>'
            yield f'<text class="tick" x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{count:g}</text>'
    for seconds in ticks(frame.seconds, 10):
        x = frame.x(seconds)
        yield f'<path class="axis" d="M{x:.1f} {bottom}v5"/>'
        yield f'<text class="tick" x="{x:.1f}" y="{bottom + 19}" text-anchor="middle">{seconds:g}</text>'
    yield f'<path class="axis" d="M{LEFT} {bottom}H{WIDTH - RIGHT}"/>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text class="tick" x="{middle:g}" y="{HEIGHT - 6}" text-anchor="middle">seconds</text>'


def _area(frame: _Frame, points: Sequence[tuple[float, int]]) -> Iterator[str]:
    if points:
        ground = frame.y(0)
        path = f"{frame.steps(points)}V{ground:.1f}H{frame.x(points[0][0]):.1f}Z"
        yield f'<path class="waiting" d="{path}"><title>calls waiting</title></path>'


def _line(frame: _Frame, name: str, points: Sequence[tuple[float, int]]) -> Iterator[str]:
    if points:
        total = points[-1][1]
        yield (
            f'<path class="line {escape(name)}" d="{frame.steps(points)}">'
            f"<title>{escape(name)}: {total}</title></path>"
        )


def _marks(frame: _Frame, marks: Sequence[tuple[float, str]]) -> Iterator[str]:
    # Words that would lie upon one another stand on different lines.
    ends = [0.0, 0.0, 0.0]
    for after, name in marks:
        x = frame.x(after)
        yield f'<path class="mark" d="M{x:.1f} {TOP - 4}V{HEIGHT - BOTTOM}"/>'
        words = 6.6 * len(name)
        left = min(x + 3, WIDTH - RIGHT - words)
        row = next((row for row, end in enumerate(ends) if end <= left), 0)
        ends[row] = left + words + 6
        yield (
            f'<text class="word" x="{left:.1f}" y="{TOP - 8 - 13 * row}">{escape(name)}'
            f"<title>{escape(name)} after {after:.2f} s</title></text>"
        )
