"""
The life of a client's link to one server::

    Stopped     nothing is wanted of it
    Opening     an association is being opened
    Waiting     no association; the next attempt waits for its back-off
    Testing     association up, not on the active list; an OPTIONS is on its way
    Resting     association up, not on the active list; the next test waits
    Active      association up, on the active list
    Counting    association up, not on the active list until the countdown is over
    Away        no association, and none is opened until the countdown is over
    Stopping    the association is being shut down

The grid. A dot is an input that changes nothing there: it comes too late, or cannot come. Whoever leaves
a state cancels what that state had under way (timer, attempt, test), so that no late private input can be
about a state that is gone::

                 Stopped  Opening  Waiting  Testing  Resting  Active   Counting Away     Stopping
    start        Opening  .        .        .        .        .        .        .        Opening
    stop         finish   Stopped  Stopped  Stopping Stopping Stopping Stopping Stopped  .
    unavailable  .        Away     Away     Counting Counting Counting extend   extend   .
    available    .        .        Opening  .        Testing  .        Testing  Opening  .
    unanswered   .        .        .        .        .        Testing  .        .        .
    lost         .        .        .        Waiting  Waiting  Waiting  Away     .        Stopped
    _opened      .        Testing  .        .        .        .        .        .        .
    _trusted     .        Active   .        .        .        .        .        .        .
    _openFailed  .        Waiting  .        .        .        .        .        .        .
    _due         .        .        Opening  .        Testing  test     Testing  Opening  Stopped
    _passed      .        .        .        Active   .        again    .        .        .
    _promising   .        .        .        Resting  .        again    .        .        .
    _doubtful    .        .        .        .        .        doubt    .        .        .
    _failed      .        .        .        Resting  .        Resting  .        .        .
    _exhausted   .        .        .        Waiting  .        Waiting  .        .        .

 - C{available} comes from the server (a cancelled drain is announced) or from a controller. It is believed
   only as far as one test at once.
 - C{unanswered} leads straight to a test: to have been wrong costs one round trip, and one INVITE that no
   server can digest does not take the whole list away for longer than that.
 - C{_exhausted} gives the association up: a stream that a middlebox forgot stays "up" for a quarter of an
   hour, and a new one may be all that is needed.
 - C{_due} in Counting and Away comes before the end of the countdown where a server may return early; then
   the countdown goes on in the states that follow, until a test is good. C{_due} in Active tests a server
   without taking it off the list.
 - C{_due} in Stopping aborts an association that did not end in order.
 - C{start} in Stopping leaves the old association to its shutdown and opens another.
"""

from __future__ import annotations

from collections.abc import Callable

from automat import TypeMachineBuilder

from sipgrace.client.linkcore import Link, LinkCore


def _machine() -> TypeMachineBuilder[Link, LinkCore]:
    """
    The grid above as a machine.
    """
    machine = TypeMachineBuilder(Link, LinkCore)

    Stopped = machine.state("Stopped")
    Opening = machine.state("Opening")
    Waiting = machine.state("Waiting")
    Testing = machine.state("Testing")
    Resting = machine.state("Resting")
    Active = machine.state("Active")
    Counting = machine.state("Counting")
    Away = machine.state("Away")
    Stopping = machine.state("Stopping")

    # What changes nothing, state by state.

    Input = Callable[[Link], None]
    opened: list[Input] = [Link._opened, Link._trusted, Link._openFailed]
    tested: list[Input] = [Link._passed, Link._promising, Link._doubtful, Link._failed, Link._exhausted]
    ignored = [
        (Stopped, [Link.available, Link.unanswered, Link.lost, *opened, Link._due, *tested]),
        (Opening, [Link.start, Link.available, Link.unanswered, Link.lost, Link._due, *tested]),
        (Waiting, [Link.start, Link.unanswered, Link.lost, *opened, *tested]),
        (Testing, [Link.start, Link.available, Link.unanswered, *opened, Link._due, Link._doubtful]),
        (Resting, [Link.start, Link.unanswered, *opened, *tested]),
        (Active, [Link.start, Link.available, *opened]),
        (Counting, [Link.start, Link.unanswered, *opened, *tested]),
        (Away, [Link.start, Link.unanswered, Link.lost, *opened, *tested]),
        (Stopping, [Link.stop, Link.available, Link.unanswered, *opened, *tested]),
    ]
    for state, inputs in ignored:
        for given in inputs:
            state.upon(given).loop().returns(None)
    Stopped.upon(Link.unavailable).loop().returns(None)
    Stopping.upon(Link.unavailable).loop().returns(None)

    # Towards an association.

    @Stopped.upon(Link.start).to(Opening)
    @Waiting.upon(Link.available).to(Opening)
    @Waiting.upon(Link._due).to(Opening)
    @Away.upon(Link.available).to(Opening)
    @Away.upon(Link._due).to(Opening)
    def openNow(link: Link, core: LinkCore) -> None:
        """
        Begins to open an association.
        """
        core.enter("Opening")
        core.leaveCountdown()
        core.attemptOpening(link)

    @Stopping.upon(Link.start).to(Opening)
    def reopen(link: Link, core: LinkCore) -> None:
        """
        Leaves the old association to its shutdown, answers those who waited for it, and opens another.
        """
        core.association = None
        core.finishStopping()
        openNow(link, core)

    @Opening.upon(Link._openFailed).to(Waiting)
    @Testing.upon(Link.lost).to(Waiting)
    @Resting.upon(Link.lost).to(Waiting)
    @Active.upon(Link.lost).to(Waiting)
    def retryLater(link: Link, core: LinkCore) -> None:
        """
        Forgets the association and waits for the back-off, which grows until a test is good.
        """
        core.enter("Waiting", "lost")
        core.association = None
        core.good = 0
        core.retry(core.settings.reopen.delay(core.openFailures, core.random), link._due)
        core.openFailures += 1

    @Testing.upon(Link._exhausted).to(Waiting)
    @Active.upon(Link._exhausted).to(Waiting)
    def giveUpAssociation(link: Link, core: LinkCore) -> None:
        """
        Aborts the association that gives no answers, and waits for the back-off.
        """
        association = core.association
        retryLater(link, core)
        if association is not None:
            association.abort()

    # Towards the active list.

    @Opening.upon(Link._opened).to(Testing)
    @Resting.upon(Link.available).to(Testing)
    @Resting.upon(Link._due).to(Testing)
    @Counting.upon(Link.available).to(Testing)
    @Counting.upon(Link._due).to(Testing)
    @Active.upon(Link.unanswered).to(Testing)
    def testNow(link: Link, core: LinkCore) -> None:
        """
        Sends a status test; the countdown, if any, is over, unless the server may return early.
        """
        core.enter("Testing", "unanswered")
        core.leaveCountdown()
        core.attemptTest(link)

    @Testing.upon(Link._promising).to(Resting)
    @Testing.upon(Link._failed).to(Resting)
    @Active.upon(Link._failed).to(Resting)
    def testLater(link: Link, core: LinkCore) -> None:
        """
        Waits for the back-off of the tests.
        """
        core.enter("Resting", "tests")
        # The first wait after a failure is the base; after a good test, where more are asked for, too.
        core.retry(core.settings.tests.delay(max(0, core.testFailures - 1), core.random), link._due)

    @Opening.upon(Link._trusted).to(Active)
    @Testing.upon(Link._passed).to(Active)
    def activate(link: Link, core: LinkCore) -> None:
        """
        Reports the server as up; every count of failures begins anew.
        """
        core.enter("Active")
        core.openFailures = core.testFailures = core.earlyTries = core.good = 0
        core.countdown.clear()
        core.active = True
        core.link.unansweredInRow = 0
        core.link.returned()
        core.testAgain(link._due)
        core.tell("linkUp")

    @Active.upon(Link._due).loop()
    def testActive(link: Link, core: LinkCore) -> None:
        """
        Sends a status test while INVITEs go on.
        """
        core.attemptTest(link)

    @Active.upon(Link._passed).loop()
    @Active.upon(Link._promising).loop()
    def stayActive(link: Link, core: LinkCore) -> None:
        """
        Waits for the next test.
        """
        core.good = 0
        core.testAgain(link._due)

    @Active.upon(Link._doubtful).loop()
    def doubt(link: Link, core: LinkCore) -> None:
        """
        Tests again soon.
        """
        core.wait(core.settings.tests.delay(max(0, core.testFailures - 1), core.random), link._due)

    # The countdown.

    @Testing.upon(Link.unavailable).to(Counting)
    @Resting.upon(Link.unavailable).to(Counting)
    @Active.upon(Link.unavailable).to(Counting)
    def countDown(link: Link, core: LinkCore, retryAfter: float) -> None:
        """
        Takes the server off the list, where it was on it, until the countdown is over.
        """
        core.enter("Counting", "unavailable")
        core.openFailures = core.testFailures = core.good = 0
        core.countdown.ask(retryAfter)
        core.countDown(link._due)
        core.tell("linkCounting", core.countdown.left)

    @Opening.upon(Link.unavailable).to(Away)
    @Waiting.upon(Link.unavailable).to(Away)
    def stayAway(link: Link, core: LinkCore, retryAfter: float) -> None:
        """
        Opens nothing until the countdown is over.
        """
        core.enter("Away")
        core.openFailures = core.testFailures = core.good = 0
        core.countdown.ask(retryAfter)
        core.countDown(link._due)
        core.tell("linkCounting", core.countdown.left)

    @Counting.upon(Link.unavailable).loop()
    @Away.upon(Link.unavailable).loop()
    def extend(link: Link, core: LinkCore, retryAfter: float) -> None:
        """
        Moves the end of the countdown, if the new one is later.
        """
        if core.countdown.ask(retryAfter):
            core.countDown(link._due)
            core.tell("linkCounting", core.countdown.left)

    @Counting.upon(Link.lost).to(Away)
    def lostWhileCounting(link: Link, core: LinkCore) -> None:
        """
        Opens nothing until the countdown is over.
        """
        core.enter("Away")
        core.countDown(link._due)

    # Towards the end.

    @Stopped.upon(Link.stop).to(Stopped)
    @Opening.upon(Link.stop).to(Stopped)
    @Waiting.upon(Link.stop).to(Stopped)
    @Away.upon(Link.stop).to(Stopped)
    @Stopping.upon(Link.lost).to(Stopped)
    def stopped(link: Link, core: LinkCore) -> None:
        """
        Answers those who waited for the stop.
        """
        core.enter("Stopped")
        core.association = None
        core.countdown.clear()
        core.openFailures = core.testFailures = core.earlyTries = core.good = 0
        core.finishStopping()

    @Testing.upon(Link.stop).to(Stopping)
    @Resting.upon(Link.stop).to(Stopping)
    @Active.upon(Link.stop).to(Stopping)
    @Counting.upon(Link.stop).to(Stopping)
    def shutDown(link: Link, core: LinkCore) -> None:
        """
        Ends the association in order, within a limit.
        """
        core.enter("Stopping", "stopped")
        core.wait(core.settings.stopLimit, link._due)
        association = core.association
        if association is not None:
            association.shutdown()
            if not association.reliable:
                # A UDP peer is only forgotten; nobody will report it lost.
                link.lost()

    @Stopping.upon(Link._due).to(Stopped)
    def abort(link: Link, core: LinkCore) -> None:
        """
        Aborts the association, which did not end in order, and answers those who waited for the stop.
        """
        association = core.association
        stopped(link, core)
        if association is not None:
            association.abort()

    return machine


#: The builder, from which the documentation's transition table is generated.
linkBuilder = _machine()
#: Makes a machine for one link.
linkMachine = linkBuilder.build()
