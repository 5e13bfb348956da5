"""
The configuration files of the reference network.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from sipgrace.demo.plan import CLIENTS, GATEWAY, SERVERS, Member, Plan
from sipgrace.transport.sctp.stack import ENCAPS_PORT

__all__ = ["clientFile", "filesOf", "serverFile"]

PORT = 5060


def _encaps(plan: Plan, key: str) -> str:
    # The kernel has one UDP port for the whole host, and needs none on loopback.
    return f":{key}={ENCAPS_PORT}" if plan.stack == "userspace" else ""


def serverFile(plan: Plan, member: Member, control: Path) -> str:
    """
    @param control: the path of its control socket.
    @return: a server's configuration file. It knows all clients, and routes by the first digits of a number.

        Clients are asked to stay away until the guard, no longer, and all of them until the same moment
        (with four clients nothing is to be spread): so it is back within the run.
    """
    clients = "".join(
        f"""
[[clients]]
name = "{client.name}"
networks = ["{plan.host(client)}"]

[[routes]]
prefix = "{client.number}"
to = ["{client.name}"]
"""
        for client in CLIENTS
    )
    return f"""\
[server]
name = "{member.name}"
listen = ["sctp:{PORT}:interface={plan.host(member)}{_encaps(plan, "encaps")}"]
stack = "{plan.stack}"
{clients}
[drain]
guard = {plan.guard}
retry_after_period = 0
spread = 0
announce = "{plan.announce}"

[control]
socket = "{control}"
"""


def clientFile(
    plan: Plan,
    member: Member,
    control: Path,
    users: tuple[str, int],
    gateway: tuple[str, int] | None = None,
) -> str:
    """
    @param control: the path of its control socket.
    @param users: host and port where all its users are.
    @param gateway: host and port of the TDM route, where there is one.
    @return: a client's configuration file: its users on UDP, an association to each server, and a listener
        for what other clients send within calls.
    """
    local = _encaps(plan, "localEncaps")
    rest = f"port={PORT}{_encaps(plan, 'encaps')}:bindAddress={plan.host(member)}{local}"
    servers = "".join(
        f"""
[[servers]]
name = "{server.name}"
address = "sctp:host={plan.host(server)}:{rest}"
"""
        for server in SERVERS
    )
    host, port = users
    tdm = "" if gateway is None else f"""
[tdm]
gateway = "sip:{gateway[0]}:{gateway[1]};transport=udp"
"""
    # Else the answers to earlier calls would tell of a drain before a call is refused.
    overload = "false" if plan.announce == "in-answer" else "true"
    return f"""\
[client]
name = "{member.name}"
listen = ["udp:{PORT}:interface={plan.host(member)}"]
listen_network = ["sctp:{PORT}:interface={plan.host(member)}{_encaps(plan, "encaps")}"]
stack = "{plan.stack}"
strategy = "round-robin"
response_period = 2
overload_control = {overload}
{servers}
[[users]]
prefix = "{member.number}"
contact = "sip:{host}:{port}"
{tdm}
# A server that was away is looked for often, for a run is short.

[probe]
timeout = 1
interval = 0.5
longest = 2

[reconnect]
interval = 0.25
longest = 1

[control]
socket = "{control}"
"""


def filesOf(
    plan: Plan, sockets: Path, users: Mapping[Member, tuple[str, int]]
) -> dict[Member, tuple[Path, Path]]:
    """
    Writes all of them.

    @param sockets: the directory for the control sockets, whose paths must be short.
    @param users: where each client's users are, and the gateway where there is one.
    @return: each member's configuration file and control socket.
    """
    written = {}
    for member in (*SERVERS, *CLIENTS):
        control = sockets / f"{member.number}.sock"
        if member in users:
            text = clientFile(plan, member, control, users[member], users.get(GATEWAY))
        else:
            text = serverFile(plan, member, control)
        file = plan.directory / f"{member.name}.toml"
        file.write_text(text, encoding="utf-8")
        written[member] = (file, control)
    return written
