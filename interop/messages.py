"""
SIPp's scenario files, put together from few words: each is a list of steps, and what all messages have in
common is written here once.
"""

from __future__ import annotations

import re
from xml.sax.saxutils import quoteattr

SDP = """\
v=0
o=user 1 {version} IN IP4 [local_ip]
s=-
c=IN IP4 [local_ip]
t=0 0
m=audio 9 RTP/AVP 0
"""

_CALLER = "<sip:caller@example.org>;tag=[pid]c[call_number]"
_CONTACT = "Contact: <sip:[service]@[local_ip]:[local_port];transport=[transport]>"


def sdp(version: int = 1, padding: int = 0) -> str:
    """
    @param padding: how many bytes of attributes to add.
    """
    lines = [f"a=x-padding:{number:04d}{'.' * 51}\n" for number in range(padding // 68)]
    return SDP.format(version=version) + "".join(lines)


def _send(message: str, body: str, retransmitted: bool, mark: str = "") -> str:
    lines = [line for line in message.splitlines() if line]
    lines.append(f"Content-Length: {'[len]' if body else 0}")
    text = "\n".join(lines) + "\n\n" + body
    indented = "".join(f"      {line}\n" if line else "\n" for line in text.splitlines())
    attributes = ' retrans="500"' if retransmitted else ""
    return f"  <send{attributes}{mark}>\n    <![CDATA[\n\n{indented}\n    ]]>\n  </send>\n"


def request(
    method: str,
    cseq: int = 1,
    uri: str = "sip:[service]@example.org",
    within: bool = False,
    headers: str = "",
    body: str = "",
    content: str = "application/sdp",
    branch: str = "",
    retransmitted: bool = True,
    cseqMethod: str = "",
    callee: bool = False,
) -> str:
    """
    A request of the caller.

    @param within: whether it belongs to the dialog: then it follows its route set.
    @param branch: what tells its branch from the others of this call; by default method and CSeq.
    @param callee: whether it is the callee who sends it.
    """
    transaction = branch or f"{method}{cseq}"
    if callee:
        here, there, within = "[$to];tag=[pid]s[call_number]", "[$from]", True
    else:
        here, there = _CALLER, f"<sip:[service]@example.org>{'[peer_tag_param]' if within else ''}"
    lines = [
        f"{method} {'[next_url]' if within else uri} SIP/2.0",
        f"Via: SIP/2.0/[transport] [local_ip]:[local_port];branch=z9hG4bK[pid]x[call_number]x{transaction}",
        "[routes]" if within else "",
        f"From: {here}",
        f"To: {there}",
        "Call-ID: [call_id]",
        f"CSeq: {cseq} {cseqMethod or method}",
        _CONTACT if method in ("INVITE", "OPTIONS", "UPDATE") else "",
        "Max-Forwards: 70",
        headers,
        f"Content-Type: {content}" if body else "",
    ]
    return _send("\n".join(lines), body, retransmitted and method not in ("ACK",))


def ack(cseq: int = 1, of: str = "") -> str:
    """
    The ACK of a 2xx, or of another final response to the INVITE of that branch.
    """
    if of:
        return request(
            "ACK", cseq, branch=of, headers="To: <sip:[service]@example.org>[peer_tag_param]"
        ).replace("      To: <sip:[service]@example.org>\n", "", 1)
    return request("ACK", cseq, within=True)


def cancel(cseq: int = 1) -> str:
    """
    The CANCEL of the INVITE with this CSeq.
    """
    return request("CANCEL", cseq, branch=f"INVITE{cseq}")


def respond(
    status: str, headers: str = "", body: str = "", tag: bool = True, retransmitted: bool = False
) -> str:
    """
    A response of the callee to the last request.

    @param tag: whether it adds the tag of To, for the request had none.
    """
    lines = [
        f"SIP/2.0 {status}",
        "[last_Via:]",
        "[last_Record-Route:]",
        "[last_From:]",
        "[last_To:]" + (";tag=[pid]s[call_number]" if tag else ""),
        "[last_Call-ID:]",
        "[last_CSeq:]",
        "" if headers.startswith("Contact:") else _CONTACT.replace("[service]", "callee"),
        headers,
        "Content-Type: application/sdp" if body else "",
    ]
    return _send("\n".join(lines), body, retransmitted)


#: What a callee must keep of an INVITE that it answers after another request has come: all lines of its Vias
#: and Record-Routes (there are several, one below the other), and the values of three fields.
KEEP = "".join(
    f'      <ereg regexp="{name}: .*{name}: [^[:cntrl:]]*" search_in="msg" assign_to="{variable}"/>\n'
    for name, variable in (("Via", "via"), ("Record-Route", "route"))
) + "".join(
    f'      <ereg regexp=".*" search_in="hdr" header="{name}:" assign_to="{name.lower()}"/>\n'
    for name in ("From", "To", "CSeq")
)


def answer(status: str, headers: str = "", body: str = "", retransmitted: bool = False) -> str:
    """
    A response to the INVITE that was received with L{KEEP}, other requests notwithstanding.
    """
    lines = [
        f"SIP/2.0 {status}",
        "[$via]",
        "[$route]",
        "[last_From:]",
        "To: [$to];tag=[pid]s[call_number]",
        "[last_Call-ID:]",
        "CSeq: [$cseq]",
        _CONTACT.replace("[service]", "callee"),
        headers,
        "Content-Type: application/sdp" if body else "",
    ]
    return _send("\n".join(lines), body, retransmitted)


def receive(what: str, checks: str = "", **attributes: str | bool) -> str:
    """
    @param what: a method or a status.
    @param checks: actions.
    @param attributes: further ones of C{recv}; C{True} is C{"true"}.
    """
    kind = "response" if what.isdigit() else "request"
    values = {kind: what} | {
        key.rstrip("_"): "true" if value is True else str(value) for key, value in attributes.items() if value
    }
    words = "".join(f" {key}={quoteattr(value)}" for key, value in values.items())
    if not checks:
        return f"  <recv{words}/>\n"
    return f"  <recv{words}>\n    <action>\n{checks}    </action>\n  </recv>\n"


def has(pattern: str, header: str = "") -> str:
    """
    Fails the call unless the message, or that header field of it, fits a regular expression.
    """
    where = f'search_in="hdr" header="{header}:"' if header else 'search_in="msg"'
    return f'      <ereg regexp={quoteattr(pattern)} {where} check_it="true" assign_to="1"/>\n'


def pause(milliseconds: int) -> str:
    """
    Waits.
    """
    return f'  <pause milliseconds="{milliseconds}"/>\n'


def scenario(name: str, *steps: str) -> str:
    """
    A whole file.
    """
    body = "".join(steps)
    # SIPp takes a variable that nobody reads for a mistake.
    variables = ",".join(dict.fromkeys(re.findall(r'assign_to="(\w+)"', body)))
    if variables:
        body += f'  <Reference variables="{variables}"/>\n'
    return (
        '<?xml version="1.0" encoding="ISO-8859-1" ?>\n<!DOCTYPE scenario SYSTEM "sipp.dtd">\n'
        f'<scenario name="{name}">\n{body}</scenario>\n'
    )


#: What a caller may see before anything else.
EARLY = receive("100", optional=True) + receive("180", optional=True)
