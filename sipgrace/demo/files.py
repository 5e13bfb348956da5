"""
The configuration files of the reference network.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from sipgrace.config.links import PORT as LINKS
from sipgrace.demo.plan import CLIENTS, CONTROLLERS, GATEWAY, SERVERS, Member, Plan
from sipgrace.demo.trust import Trust
from sipgrace.transport.sctp.stack import ENCAPS_PORT

__all__ = [
    "HTTP",
    "LINKS",
    "PORT",
    "auditOf",
    "clientFile",
    "controllerFile",
    "controllerOf",
    "filesOf",
    "maintainedOf",
    "serverFile",
]

PORT = 5060

#: Where the API of a controller is.
HTTP = 7180

#: What a process keeps from one run to the next.
_LEFT = (".sqlite", ".sqlite-wal", ".sqlite-shm", ".sqlite.lock", ".audit", ".audit.nonces")


def auditOf(plan: Plan, member: Member) -> Path:
    """
    @return: the audit log of a server or client.
    """
    return plan.directory / f"{member.name}.audit"


def maintainedOf(plan: Plan) -> Path:
    """
    @return: the file with a line for each time that a server was maintained.
    """
    return plan.directory / "maintained"


def _controlled(plan: Plan, member: Member, trust: Trust) -> str:
    """
    @return: the part of a server's, or client's, file that is about its controller.
    """
    controller = controllerOf(member)
    keys = "".join(
        f"""
[[orders.keys]]
name = "{one.name}"
role = "admin"
public = "{public}"
"""
        for one, public in trust.publics.items()
    )
    return f"""
[[controllers]]
name = "{controller.name}"
host = "{plan.host(controller)}"
{trust.certificates(member)}

[orders]
audit = "{auditOf(plan, member)}"
{keys}"""


def controllerOf(member: Member) -> Member:
    """
    @return: the controller to which a server or client has a link.
    """
    return CONTROLLERS[0] if member.role == "server" else CONTROLLERS[1]


def controllerFile(plan: Plan, member: Member, control: Path, trust: Trust) -> str:
    """
    @param control: the path of its control socket.
    @return: a controller's configuration file. Each has the other for a peer. All servers but one stay in
        service, unless they are to leave all at once.
    """
    peers = "".join(
        f"""
[[peers]]
name = "{other.name}"
host = "{plan.host(other)}"
"""
        for other in CONTROLLERS
        if other != member
    )
    group = "" if plan.atOnce else f"""
[[groups]]
name = "default"
in_service = {len(SERVERS) - 1}
"""
    return f"""\
[controller]
name = "{member.name}"

[links]
listen = "tcp:{LINKS}:interface={plan.host(member)}"
{trust.certificates(member)}

[key]
name = "{member.name}"
file = "{trust.folder / member.name}.order"

[store]
path = "{plan.directory / member.name}.sqlite"

[http]
listen = "tcp:{HTTP}:interface={plan.host(member)}"

[[tokens]]
name = "operator"
role = "operator"
sha256 = "{trust.digest}"
{group}{peers}
[control]
socket = "{control}"
"""


def _encaps(plan: Plan, key: str) -> str:
    # The kernel has one UDP port for the whole host, and needs none on loopback.
    return f":{key}={ENCAPS_PORT}" if plan.stack == "userspace" else ""


def serverFile(plan: Plan, member: Member, control: Path, trust: Trust) -> str:
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
{_maintenance(plan, member)}
[control]
socket = "{control}"
{_controlled(plan, member, trust)}"""


def _maintenance(plan: Plan, member: Member) -> str:
    """
    @return: the work that is done at each server in a rolling maintenance, and after a drain of which nobody
        says otherwise: it takes a second, and leaves a line.
    """
    command = f"run sleep 1; echo {member.name} >> {quote(str(maintainedOf(plan)))}"
    return f"then = {json.dumps(command)}\n"


def clientFile(
    plan: Plan,
    member: Member,
    control: Path,
    trust: Trust,
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
{_controlled(plan, member, trust)}"""


def filesOf(
    plan: Plan, sockets: Path, users: Mapping[Member, tuple[str, int]], trust: Trust
) -> dict[Member, tuple[Path, Path]]:
    """
    Writes all of them, and removes what an earlier run has left in their folder that would be taken up.

    @param sockets: the directory for the control sockets, whose paths must be short.
    @param users: where each client's users are, and the gateway where there is one.
    @return: each member's configuration file and control socket.
    """
    written = {}
    maintainedOf(plan).unlink(missing_ok=True)
    for member in (*CONTROLLERS, *SERVERS, *CLIENTS):
        control = sockets / f"{member.number}.sock"
        for left in _LEFT:
            (plan.directory / f"{member.name}{left}").unlink(missing_ok=True)
        if member in CONTROLLERS:
            text = controllerFile(plan, member, control, trust)
        elif member in users:
            text = clientFile(plan, member, control, trust, users[member], users.get(GATEWAY))
        else:
            text = serverFile(plan, member, control, trust)
        file = plan.directory / f"{member.name}.toml"
        file.write_text(text, encoding="utf-8")
        written[member] = (file, control)
    return written
