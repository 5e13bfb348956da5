"""
The life of a client's subscription to C{service-availability} at one server::

    Idle        no association
    Asking      SUBSCRIBE sent, neither answered nor followed by a NOTIFY yet
    Subscribed  the server tells us
    Waiting     the server has ended the subscription; the next SUBSCRIBE waits
    Without     the server does not tell us on this association; it is not asked again

The grid. A dot is an input that changes nothing there::

                 Idle     Asking      Subscribed  Waiting  Without
    made         Asking   .           .           .        .
    lost         .        Idle        Idle        Idle     Idle
    _accepted    .        Subscribed  renew       .        .
    _refused     .        Without     Asking      .        .
    _notified    .        Subscribed  renew       .        .
    _ended       .        Waiting     Waiting     .        .
    _barred      .        Without     Without     .        .
    _due         .        .           refresh     Asking   .

 - The NOTIFY may come before the answer to the SUBSCRIBE (RFC 6665 §4.1.2.4), over SCTP more than elsewhere.
 - C{_refused} in Asking is what a server says that knows no subscriptions, or its silence: announcements in
   answer must do. In Subscribed it is a refresh that failed: the server may have forgotten the subscription,
   and is asked once more for a new one.
"""

from __future__ import annotations

from collections.abc import Callable

from automat import TypeMachineBuilder

from sipgrace.client.subscribercore import SubscriberCore, Subscribing


def _machine() -> TypeMachineBuilder[Subscribing, SubscriberCore]:
    """
    The grid above as a machine.
    """
    machine = TypeMachineBuilder(Subscribing, SubscriberCore)

    Idle = machine.state("Idle")
    Asking = machine.state("Asking")
    Subscribed = machine.state("Subscribed")
    Waiting = machine.state("Waiting")
    Without = machine.state("Without")

    answers: list[Callable[..., None]] = [
        Subscribing._accepted,
        Subscribing._refused,
        Subscribing._notified,
        Subscribing._ended,
        Subscribing._barred,
    ]
    ignored = [
        (Idle, [Subscribing.lost, *answers, Subscribing._due]),
        (Asking, [Subscribing.made, Subscribing._due]),
        (Subscribed, [Subscribing.made]),
        (Waiting, [Subscribing.made, *answers]),
        (Without, [Subscribing.made, *answers, Subscribing._due]),
    ]
    for state, inputs in ignored:
        for given in inputs:
            state.upon(given).loop().returns(None)

    @Idle.upon(Subscribing.made).to(Asking)
    @Waiting.upon(Subscribing._due).to(Asking)
    @Subscribed.upon(Subscribing._refused).to(Asking)
    def ask(c: Subscribing, core: SubscriberCore) -> None:
        """
        Sends a SUBSCRIBE that begins a new dialog.
        """
        core.enter("Asking")
        core.begin(c)

    @Asking.upon(Subscribing._accepted).to(Subscribed)
    @Asking.upon(Subscribing._notified).to(Subscribed)
    def subscribed(c: Subscribing, core: SubscriberCore, expires: float | None) -> None:
        """
        Waits for the time to refresh it.
        """
        core.enter("Subscribed")
        core.renew(c, expires)

    @Subscribed.upon(Subscribing._accepted).loop()
    @Subscribed.upon(Subscribing._notified).loop()
    def renew(c: Subscribing, core: SubscriberCore, expires: float | None) -> None:
        """
        Sets the time to refresh it anew.
        """
        core.renew(c, expires)

    @Subscribed.upon(Subscribing._due).loop()
    def refresh(c: Subscribing, core: SubscriberCore) -> None:
        """
        Sends a SUBSCRIBE in the dialog.
        """
        core.subscribe(c)

    @Asking.upon(Subscribing._ended).to(Waiting)
    @Subscribed.upon(Subscribing._ended).to(Waiting)
    def wait(c: Subscribing, core: SubscriberCore, seconds: float) -> None:
        """
        Forgets the dialog, and waits as long as the server said.
        """
        core.enter("Waiting")
        core.forget()
        core.wait(c, seconds)

    @Asking.upon(Subscribing._refused).to(Without)
    @Asking.upon(Subscribing._barred).to(Without)
    @Subscribed.upon(Subscribing._barred).to(Without)
    def giveUp(c: Subscribing, core: SubscriberCore) -> None:
        """
        Forgets the dialog.
        """
        core.enter("Without")
        core.forget()

    @Asking.upon(Subscribing.lost).to(Idle)
    @Subscribed.upon(Subscribing.lost).to(Idle)
    @Waiting.upon(Subscribing.lost).to(Idle)
    @Without.upon(Subscribing.lost).to(Idle)
    def rest(c: Subscribing, core: SubscriberCore) -> None:
        """
        Forgets association and dialog.
        """
        core.enter("Idle")
        core.forget()
        core.association = None

    return machine


#: The builder, from which the documentation's transition table is generated.
subscriberBuilder = _machine()
#: Makes a machine for one server.
subscriberMachine = subscriberBuilder.build()
