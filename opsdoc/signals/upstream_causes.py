"""Why a server of nginx fails, in words; what to do about it; whether nginx takes it out by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from opsdoc.signals.amounts import duration, listed, number
from opsdoc.signals.peers import UpstreamGroup, UpstreamServer
from opsdoc.signals.proxying import ProxyPass


class Cause(NamedTuple):
    """A cause: what one server does, what several do, what one did, and the next step."""

    one: str
    many: str
    past: str
    next_step: str


CAUSES: Mapping[str, Cause] = {
    "refused": Cause(
        "refuses connections",
        "refuse connections",
        "refused connections",
        "nothing listens there: see on that machine whether the program runs, and on which address and port",
    ),
    "socket-missing": Cause(
        "has no socket",
        "have no socket",
        "had no socket",
        "start what should listen on the socket, or correct its path; a service with PrivateTmp or a container has "
        "paths of its own",
    ),
    "unreachable": Cause(
        "has no route to it",
        "have no route to them",
        "had no route to it",
        "see whether the machine is on, and the route to it",
    ),
    "connect-timeout": Cause(
        "does not accept connections in time",
        "do not accept connections in time",
        "did not accept connections in time",
        "see whether packets reach it (firewall, security group, machine off) and whether its accept queue is full: "
        "there, ss -ltn shows Recv-Q at Send-Q",
    ),
    "read-timeout": Cause(
        "accepts, but does not answer in time",
        "accept, but do not answer in time",
        "did not answer in time",
        "see there what its requests wait for: opsdoc cpu and a dump of its stacks, its database, its pools; a longer "
        "proxy_read_timeout only moves the wait to the client",
    ),
    "closed-early": Cause(
        "closes the connection before it answers",
        "close the connection before they answer",
        "closed the connection before it answered",
        "read its log at these times: it crashed, was restarted, or closes idle connections sooner than nginx reuses "
        "them (its keep-alive timeout must be above nginx's keepalive_timeout, 60 s by default)",
    ),
    "cut-short": Cause(
        "breaks off its answers in the middle",
        "break off their answers in the middle",
        "broke off its answers in the middle",
        "clients got a success and a part of the answer: read its log at these times for a crash, a limit or a timeout "
        "that ends a request, and see whether a firewall or proxy between closes long answers",
    ),
    "reset": Cause(
        "resets connections",
        "reset connections",
        "reset connections",
        "see there for a crash, an accept queue that overflows, or a firewall that forgets connections",
    ),
    "tls": Cause(
        "fails the TLS handshake",
        "fail the TLS handshake",
        "failed the TLS handshake",
        "compare protocols, ciphers, certificate and name with what nginx asks for (proxy_ssl_server_name, "
        "proxy_ssl_name, proxy_ssl_protocols, proxy_ssl_verify)",
    ),
    "queue-full": Cause(
        "has a full accept queue",
        "have full accept queues",
        "had a full accept queue",
        "it accepts too slowly: see what all its workers are busy with, before its backlog and net.core.somaxconn",
    ),
    "not-permitted": Cause(
        "does not let nginx connect",
        "do not let nginx connect",
        "did not let nginx connect",
        "see the mode of the socket and of its folders for nginx's user, SELinux (httpd_can_network_connect), or a "
        "packet filter",
    ),
    "no-local-port": Cause(
        "gets no connection, for nginx has no local port left",
        "get no connection, for nginx has no local port left",
        "got no connection, for nginx had no local port left",
        "keep connections open (keepalive in the upstream block), so that they do not pile up in TIME_WAIT",
    ),
    "resolver": Cause(
        "has a name that cannot be resolved",
        "have names that cannot be resolved",
        "had a name that could not be resolved",
        "see whether the name still exists, and whether the resolver of nginx answers",
    ),
    "invalid": Cause(
        "answers with what is no valid response",
        "answer with what is no valid response",
        "answered with what was no valid response",
        "see whether it speaks this protocol on that port (TLS or HTTP/2 instead of HTTP), or sends more headers than "
        "fit into proxy_buffer_size",
    ),
    "other": Cause("fails", "fail", "failed", "read the lines of the error log that name it"),
}

_STATUSES: Mapping[str, str] = {
    "429": "it limits requests: see its limits and who sends so many",
    "502": "it is a proxy itself: look at what is behind it",
    "503": "it says that it is overloaded or in maintenance: read its log, its health page and its pools",
    "504": "it waits for something itself: look at what is behind it",
}


def cause_of(key: str) -> Cause:
    """The words for a cause; a status has its number in them."""
    if key.startswith("http-"):
        status = key[5:]
        step = _STATUSES.get(status, "read its log: the application fails")
        return Cause(f"answers {status}", f"answer {status}", f"answered {status}", step)
    return CAUSES.get(key, CAUSES["other"])


def by_cause(servers: Sequence[UpstreamServer]) -> str:
    """`10.0.0.12:80 and 10.0.0.13:80 refuse connections, 10.0.0.14:80 has no socket`."""
    groups: dict[str, list[str]] = {}
    for server in servers:
        groups.setdefault(server.cause, []).append(server.server)
    clauses = []
    for key, names in groups.items():
        cause = cause_of(key)
        clauses.append(f"{listed(names)} {cause.one if len(names) == 1 else cause.many}")
    return "; ".join(clauses[:4]) + ("; and more" if len(clauses) > 4 else "")


def now_words(server: UpstreamServer) -> str:
    """What the probe says, to follow a comma; nothing where it was not asked."""
    said = server.probed
    if not isinstance(said, str):
        return ""
    words = {
        "connects": "connects now",
        "tls ok": "connects now, with TLS",
        "refused": "refuses now",
        "no answer": "does not answer now",
        "no route": "is not reachable now",
        "socket missing": "its socket is missing now",
        "reset": "resets the connection now",
        "tls failed": "fails the TLS handshake now",
        "tls no answer": "does not answer the TLS handshake now",
        "queue full": "its accept queue is full now",
        "silent": "accepts now, but says nothing",
        "closed early": "closes the connection now",
        "not http": "does not answer in HTTP now",
        "not permitted": "this user may not connect now",
    }
    return f"{said.replace('http ', 'answers HTTP ')} now" if said.startswith("http ") else words.get(said, "")


# ── whether nginx takes it out by itself ─────────────────────────────────────────────────────────


def ejection(server: UpstreamServer, group: UpstreamGroup, passes: Sequence[ProxyPass], *, single: bool) -> str:
    """Whether nginx stops using the server by itself, how soon and for how long, to follow a semicolon.

    By ngx_http_upstream_round_robin.c: a single server is always used; without `zone` each worker counts for itself.
    By ngx_http_upstream.c: a status counts only where `proxy_next_upstream` lists it, everything else always does.
    """
    if not group.configured:
        return "whether nginx takes it out is written in its configuration"
    kept = _kept(server, passes, single=single)
    if kept:
        return kept
    each = duration(server.fail_timeout)
    if group.zone is not None or group.workers == 1:
        together = f", all workers together (zone {group.zone})" if group.zone is not None else ""
        return f"nginx takes it out for {each} after {number(server.max_fails, 'failed attempt')}{together}"
    if group.workers is None:
        return f"each worker takes it out by itself, for {each} after {number(server.max_fails, 'failed attempt')}"
    most = number(group.workers * server.max_fails, "attempt")
    return f"each of {group.workers} workers takes it out by itself (no zone): up to {most} fail every {each}"


def _kept(server: UpstreamServer, passes: Sequence[ProxyPass], *, single: bool) -> str:
    """Why nginx goes on using it, or nothing where it does not."""
    if single:
        return "nginx never takes it out: max_fails does not apply to the only server of a group"
    if server.max_fails == 0:
        return f"nginx never takes it out: max_fails=0{_at(server.place)}"
    if server.cause.startswith("http-"):
        blind = _not_listed(server, passes)
        return f"nginx will not take it out: {blind}" if blind else ""
    if server.cause == "cut-short" or server.counted is False:
        return "nginx will not take it out: the answer has begun, and counts as a success"
    return ""


def _not_listed(server: UpstreamServer, passes: Sequence[ProxyPass]) -> str:
    """`proxy_next_upstream lacks http_503 (nginx.conf:31)`, or nothing where every pass that is known lists it."""
    status = "http_" + server.cause[5:]
    for one in passes:
        if status not in one.next_upstream:
            where = _at(one.next_upstream_place) or f" (it is not written; {one.place or one.subject})"
            return f"{one.module}_next_upstream lacks {status}{where}"
    if not passes and server.counted is False:
        return f"proxy_next_upstream lacks {status}"
    return ""


def _at(place: str | None) -> str:
    return f" ({place})" if place else ""
