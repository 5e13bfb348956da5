"""
The seams between the rooms of the house. Data flows one way: the object above calls down; what
travels up goes through one of these interfaces, which the upper object passed in.
"""

from __future__ import annotations

from typing import Any

from twisted.python.failure import Failure
from zope.interface import Attribute, Interface


class IAssociation(Interface):
    """
    One transport relation with one SIP element: an SCTP association, a TCP or TLS connection, or a
    UDP peer. It carries whole SIP messages.
    """

    transport: bytes = Attribute("The Via transport token: C{b'UDP'}, C{b'TCP'}, C{b'TLS'}, C{b'SCTP'}.")
    reliable: bool = Attribute("Whether the transport retransmits by itself: false for UDP alone.")
    via: bytes = Attribute(
        """
        Sent-protocol and sent-by for the Via of requests that leave here, as they stand on the wire:
        C{b'SIP/2.0/SCTP 192.0.2.1:5060'}. The sent-by is where this element listens for that
        transport, or else the local address of the association.
        """
    )
    zone: str = Attribute(
        """
        The name of the side it belongs to, given by whoever listened or connected: C{'network'}
        between clients and servers, C{'interface'} towards a client's users. Routing, loop and merge
        detection tell the two sides apart by it.
        """
    )
    peerHost: str = Attribute("The peer's IP address, as text; of the primary path where there are several.")
    peerPort: int = Attribute("The peer's port (of SCTP, not of its UDP encapsulation).")
    localHost: str = Attribute("Our own IP address, as text.")
    localPort: int = Attribute("Our own port.")
    opened: bool = Attribute("Whether this side opened it (C{connect}), rather than accepted it.")
    up: bool = Attribute("Whether L{send} can succeed now: false from shutdown() or loss onwards.")

    def send(data: bytes) -> bool:
        """
        Sends one whole SIP message. What the transport cannot take now is kept, up to a bound
        (1 MiB, and what the others leave of a reserve of 64 MiB); an association whose bound is passed is
        aborted.

        @return: false when the association is not C{up}, and the message went nowhere. Never raises.
        """

    def shutdown() -> None:
        """
        Ends it in order: what was sent is delivered first (SCTP SHUTDOWN; TCP FIN). Nothing can be
        sent afterwards. On a UDP peer this only forgets the peer.
        """

    def abort() -> None:
        """
        Ends it at once (SCTP ABORT; TCP RST); what was not yet delivered is lost.
        """


class IAssociationUser(Interface):
    """
    What stands above the associations of one element.
    """

    def associationMade(association: IAssociation) -> None:
        """
        An association came up, by our doing or the peer's. (Not called for UDP peers.)
        """

    def messageReceived(message: Any, association: IAssociation) -> None:
        """
        One valid SIP message arrived.

        @param message: a L{sipgrace.message.message.Request} or L{sipgrace.message.message.Response}.
        """

    def associationLost(association: IAssociation, reason: Failure) -> None:
        """
        An association has gone: called exactly once for each C{associationMade}.

        @param reason: C{ConnectionDone} after an orderly end, C{ConnectionAborted} when either side
            aborted, C{ConnectionLost} or another C{ConnectError} otherwise.
        """


class IListener(Interface):
    """
    A place where associations are accepted.
    """

    transport: bytes = Attribute("As in L{IAssociation}.")
    host: str = Attribute("The IP address it is bound to; the first of several.")
    hosts: tuple[str, ...] = Attribute("All of them: SCTP may have several.")
    port: int = Attribute("The port it is bound to (the real one, where 0 was asked for).")
    via: bytes = Attribute("As in L{IAssociation}.")
    zone: str = Attribute("As in L{IAssociation}: that of what is accepted here.")

    def stopListening() -> object:
        """
        Accepts no more associations; those that are there go on. On UDP this closes the socket.

        @return: a C{Deferred} that fires with C{None} when the port is free.
        """


class ITransactionUser(Interface):
    """
    What stands above the transaction layer (RFC 3261 §5 calls it the TU): the proxy core.
    """

    def requestReceived(transaction: Any, request: Any) -> None:
        """
        A new request other than ACK; its server transaction waits for C{respond}.

        @param transaction: an L{sipgrace.transaction.inviteserver.InviteServer} or
            L{sipgrace.transaction.noninviteserver.NonInviteServer}.
        """

    def ackReceived(request: Any, association: IAssociation) -> None:
        """
        An ACK that belongs to no transaction here: that of a 2xx, to be passed on statelessly.
        """

    def responseReceived(response: Any, association: IAssociation) -> None:
        """
        A response that belongs to no client transaction here (RFC 3261 §16.7, RFC 6026 §8.9).
        """


class IServerTransactionUser(Interface):
    """
    Whoever answers one server transaction; set as its C{user}.
    """

    def serverTransactionEnded(transaction: Any, reason: str) -> None:
        """
        The transaction has terminated and forgotten its request.

        @param reason: C{'done'}; C{'timeout'} where no ACK came for a non-2xx final response (Timer
            H), or no final response in 64*T1 for a request other than INVITE; C{'lost'} where its
            association went before the final response could leave.
        """


class IClientTransactionUser(Interface):
    """
    Whoever sent one request through a client transaction.
    """

    def clientResponse(transaction: Any, response: Any) -> None:
        """
        A provisional or final response, its top Via still on it. Each final response once, except
        2xx of INVITE, of which every retransmission is passed up (RFC 6026 §7.2).
        """

    def clientFailed(transaction: Any, reason: str) -> None:
        """
        No final response will come: C{'timeout'} (Timer B or F) or C{'lost'} (the association went,
        or could not take the request). Called at most once, never after a final response.
        """
