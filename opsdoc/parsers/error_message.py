"""What one message of nginx's error.log means: a server that failed and how, a limit, or what the workers ran out of.

A message is what stands between `*CONNECTION` and `, client: `. It counts only as a whole, and none that counts ends
with words of a client. The texts are nginx's own: all but those of system calls that could not be provoked were seen in
the log of 1.22.1.
"""

from __future__ import annotations

import re
from typing import NamedTuple

# How an attempt at a server failed. The first nine are causes that the access log tells, too.
FAILURES = frozenset(
    "refused socket-missing unreachable connect-timeout read-timeout closed-early reset tls invalid other".split()
    + "no-local-port not-permitted queue-full cut-short".split()
)


class Event(NamedTuple):
    """What happened, and to whom: the address of a server, or what is said at each kind; "" where the line was cut.

    Besides FAILURES, the kinds are `disabled` (by nginx, for fail_timeout; only at level warn); `no-live` (a group);
    `resolver` (a name without an answer), `no-resolver` (a name that nothing is there to resolve), `resolver-down` (the
    address of a resolver); `client-left` (before the server answered); `buffered` (a response, to disk) and
    `body-buffered` (a request); `body-too-large`; `connections-out` and `connections-reused` (of worker_connections);
    `files-out` (of descriptors); `worker-died` ("signal 9", "code 2").
    """

    kind: str
    subject: str = ""


class LimitHit(NamedTuple):
    """What a zone of limit_req (`requests`) or limit_conn (`connections`) did: it rejected, or only delayed."""

    limit: str
    zone: str
    delayed: bool = False
    dry_run: bool = False


class Kind(NamedTuple):
    """What a message means; `named` says that its line holds the address of the server."""

    what: Event | LimitHit
    named: bool = False


_LIMIT = re.compile(
    rb"(limiting requests|limiting connections|delaying request)(, dry run)?,?(?: excess: [\d.]{1,20},?)?"
    rb' by zone "([^"]{1,255})"'
)
_NAME = rb"([\w.-]{1,255})"
_EVENTS = {  # the first group is the subject
    kind: re.compile(pattern)
    for kind, pattern in {
        "resolver": rb"%b could not be resolved \(\d{1,5}: [\w ]+\)" % _NAME,
        "no-resolver": rb"no resolver defined to resolve %b" % _NAME,
        "resolver-down": rb"\w+\(\) failed \(\d{1,5}: [^)]*\) while resolving, resolver: ([\w.:\[\]]{1,60})",
        "connections-out": rb"\d+ worker_connections are not enough(?: while [a-zA-Z ]+)?()",
        "connections-reused": rb"\d+ worker_connections are not enough, reusing connections(?: while [a-zA-Z ]+)?()",
        "files-out": rb"(?:accept4?|socket)\(\) failed \(2[34]: [^)]*\)(?: while [a-zA-Z ]+)?()",
        "worker-died": rb"[a-z ]{1,30} process \d+ exited (?:on|with fatal) (signal \d{1,3}|code \d{1,3})"
        rb"(?: \(core dumped\)| and cannot be respawned)?",
        "body-too-large": rb"client intended to send too large (?:chunked )?body(?:: \d+(?:\+\d+)? bytes)?()",
        "body-buffered": rb"a client request body is buffered to a temporary file \S+()",
    }.items()
}
_AT_SERVER = {  # how messages with the address of a server begin
    b"no live upstreams": "no-live",
    b"upstream server temporarily disabled": "disabled",
    b"an upstream response is buffered to a temporary file": "buffered",
    b"epoll_wait() reported that client prematurely closed connection, so": "client-left",
    b"kevent() reported that client prematurely closed connection, so": "client-left",
}

_WHILE = re.compile(rb" while [a-zA-Z ]{1,60}\Z")
_DOING = re.compile(
    rb"(.+) while (connecting to|SSL handshaking to|sending request to|reading response header from|reading) upstream"
)
_TIMEOUT = "timeout"
_CAUSES = {  # how messages begin that tell of a failed attempt
    b"upstream timed out": _TIMEOUT,
    b"upstream prematurely closed": "closed-early",
    b"upstream sent": "invalid",
    b"upstream SSL certificate": "tls",
    b"peer closed connection in SSL": "tls",
    b"SSL_": "tls",
    b"upstream ": "other",
    b"bind(": "other",  # the address that proxy_bind names is not ours
}
_CALL = re.compile(rb"\w+\(\)( to unix:.*| to .*)? failed \((\d{1,5}): [^)]*\)")
_ERRNO = {  # Linux's numbers
    1: "not-permitted",  # a packet filter
    2: "socket-missing",
    13: "not-permitted",  # the mode of a socket, SELinux
    32: "reset",  # a broken pipe
    99: "no-local-port",  # all of ip_local_port_range is in use towards this server
    100: "unreachable",  # the network is down
    101: "unreachable",  # no route to the network
    103: "reset",
    104: "reset",
    110: _TIMEOUT,
    111: "refused",
    112: "unreachable",
    113: "unreachable",
}
_MILD = (b"warn", b"notice", b"info", b"debug")


def kind_of(level: bytes, message: bytes) -> Kind | None:
    """What a message means; None where it tells nothing of servers, limits and workers."""
    if (limit := _LIMIT.fullmatch(message)) is not None:
        what, dry_run, zone = limit.groups()
        connections = what == b"limiting connections"
        return Kind(
            LimitHit("connections" if connections else "requests", text(zone), what[:1] == b"d", dry_run is not None)
        )
    for kind, pattern in _EVENTS.items():
        if (event := pattern.fullmatch(message)) is not None:
            return Kind(Event(kind, text(event[1])))
    at_server = next((kind for beginning, kind in _AT_SERVER.items() if message.startswith(beginning)), None)
    if at_server is not None:
        return Kind(Event(at_server), named=True) if _WHILE.search(message) else None
    # A mild one, such as of more data than announced, is of an answer that was passed on.
    doing = None if level in _MILD else _DOING.fullmatch(message)
    cause = None if doing is None else _cause(*doing.groups())
    return None if cause is None else Kind(Event(cause), named=True)


def _cause(what: bytes, doing: bytes) -> str | None:
    """How an attempt failed. What FastCGI and Lua applications log stands in messages of the same form, and is None."""
    cause = next((cause for beginning, cause in _CAUSES.items() if what.startswith(beginning)), None)
    if cause is None:
        call = _CALL.fullmatch(what)
        if call is None:
            return None
        number = int(call[2])
        full = number == 11 and (call[1] or b"").startswith(b" to unix:")  # its accept queue
        cause = "queue-full" if full else _ERRNO.get(number, "other")
    if doing == b"SSL handshaking to":
        return "tls"
    if doing == b"reading":
        return "cut-short"  # the client has its status already, and a part of the answer
    if cause == _TIMEOUT:
        return "connect-timeout" if doing == b"connecting to" else "read-timeout"
    return cause


def text(raw: bytes) -> str:
    """A name as text."""
    return raw.decode("utf-8", "backslashreplace")
