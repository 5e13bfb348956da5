"""
Writes docs/interop.rst: what ran against what, and what came of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from interop.bench import Result

_TOP = """\
.. Written by make interop: do not edit.

Interoperability
================

Each line below is a run of ``make interop`` against a SIP program that was not written here. The runs are
scripts (``interop/``) that can be repeated on any Debian machine of amd64 or i386. Kamailio and baresip are
unpacked from Debian's packages, SIPp is installed from its own, and none is started as a service. What needs
SCTP in the kernel runs in a guest with a kernel of its own (:doc:`contributing`), where all SCTP, ours too,
is the kernel's. Elsewhere clients and servers speak SCTP in userspace with each other, and the named
transport with the peer.

What ran
--------

"""


def _table(rows: Sequence[Sequence[str]], widths: Sequence[int]) -> str:
    lines = [".. list-table::", "   :header-rows: 1", f"   :widths: {' '.join(map(str, widths))}", ""]
    for row in rows:
        for place, cell in enumerate(row):
            lines.append(f"   {'* -' if not place else '  -'} {cell}".rstrip())
    return "\n".join(lines) + "\n"


def _cell(result: Result | None) -> str:
    if result is None:
        return "\\-"
    word = result.outcome if result.outcome == "passed" else f"**{result.outcome}**"
    return f"{word}: {result.note}" if result.note else word


def page(facts: Iterable[str], results: Sequence[Result]) -> str:
    """
    @param facts: what ran, a line each.
    @return: the text of the page.
    """
    parts = [_TOP, *(f"* {fact}\n" for fact in facts)]
    for peer in dict.fromkeys(result.peer for result in results):
        mine = [result for result in results if result.peer == peer]
        transports = list(dict.fromkeys(result.transport for result in mine))
        found = {(result.transport, result.scenario): result for result in mine}
        rows = [["scenario", *transports]]
        for scenario in dict.fromkeys(result.scenario for result in mine):
            rows.append([scenario, *(_cell(found.get((transport, scenario))) for transport in transports)])
        parts += [f"\n{peer}\n{'-' * len(peer)}\n\n", _table(rows, [50] + [20] * len(transports))]
    passed = sum(result.outcome == "passed" for result in results)
    parts.append(f"\n{passed} of {len(results)} passed.\n")
    return "".join(parts)
