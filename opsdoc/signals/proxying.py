"""What the settings of each `proxy_pass` make of a failure, and whether connections to the servers are kept open."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unseen, known, measure
from opsdoc.signals.amounts import duration, listed, number, percent
from opsdoc.signals.peers import UpstreamGroup, UpstreamServer

LONG = 30.0  # seconds: what a person does not wait for
SENT = ("read-timeout", "closed-early", "reset", "invalid")  # failures after the request was sent
SLOW = ("read-timeout", "connect-timeout")
HAPPENED = 3  # times: below it is chance
LOCAL_PORTS = 28232  # net.ipv4.ip_local_port_range is 32768 to 60999 by default


class ProxyPass(Observation):
    """A `proxy_pass` (or `fastcgi_pass` and so on) with the settings in force there, inherited ones included."""

    kind: ClassVar[str] = "proxy_pass"
    keepalive: Literal["on", "off"] | Unknown | None = measure("upstream keepalive", "", "main")
    http_version: str | Unknown | None = measure("HTTP", "", "line", default="1.1")
    group: str | None = measure("group")
    target: str = measure("passes to", default="")
    location: str = measure("location", default="")
    module: str = measure("module", default="proxy")
    servers: int = measure("servers to try", "count", default=1)
    tls: bool = measure("TLS", default=False)
    next_upstream: tuple[str, ...] = measure("tries the next server on", default=("error", "timeout"))
    next_upstream_place: str | None = measure("which is written at")
    non_idempotent: bool = measure("sends POST again", default=False)
    tries: int | None = measure("most tries", "count", default=0)
    tries_place: str | None = measure("most tries, written at")
    retry_timeout: float | None = measure("tries for at most", "seconds")
    connect_timeout: float = measure("connect timeout", "seconds", default=60.0)
    read_timeout: float = measure("read timeout", "seconds", default=60.0)
    keepalive_why: str = measure("keepalive: why", default="")
    keepalive_place: str | None = measure("keepalive: the line to change")
    keepalive_wanted: bool = measure("keepalive is written in the group", default=False)
    connect_zero_share: float | Unknown | None = measure("attempts that took no time to connect", "ratio")
    time_wait: int | Unknown | None = measure("connections to the servers in TIME_WAIT", "count")
    no_ports: int | Unknown | None = measure("connections that found no local port", "count")
    loopback: bool = measure("all servers are on this machine", default=False)
    place: str = measure("configured at", default="")


class Limits(NamedTuple):
    """From which number on connections that are not kept matter."""

    time_wait: Limit = Limit(
        LOCAL_PORTS // 2,
        25000,
        "count",
        "of the 28,232 local ports that Linux has by default towards one address and port of a server",
    )
    no_ports: Limit = Limit(1, 1, "count", "each is a request for which nginx could not open a connection (errno 99)")
    connecting: Limit = Limit(
        0.5, None, "ratio", "of attempts that took time to connect: with keepalive in force most of them take none"
    )


# ── judged ───────────────────────────────────────────────────────────────────────────────────────


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Settings that make a failure dearer: one piece of advice a kind, a warning where the logs show that it hurts."""
    passes = [o for o in observations if isinstance(o, ProxyPass)]
    servers: dict[str, list[UpstreamServer]] = {}
    for one in observations:
        if isinstance(one, UpstreamServer):
            servers.setdefault(one.group, []).append(one)
    yield from _ports(passes, limits)
    yield from _keepalive_advice(passes, limits)
    yield from _old_http(passes)
    yield from _retries(passes, servers)
    yield from _non_idempotent(passes, servers)
    yield from _single([o for o in observations if isinstance(o, UpstreamGroup)], servers)


def _advice(rule: str, passes: Sequence[ProxyPass], summary: str, next_step: str) -> Finding:
    """One finding for all places of a kind; those that the summary names are not named twice."""
    named = dict.fromkeys(one.place or one.subject for one in passes)
    places = [place for place in named if re.search(re.escape(place) + r"(?!\d)", summary) is None]
    return Finding(
        rule=rule,
        key=f"{rule}:nginx",
        severity=Severity.OK,
        subject="nginx",
        summary=f"{summary} ({listed(places)})" if places else summary,
        evidence=tuple(one.id for one in passes[:5]),
        confidence="configuration",
        next_step=next_step,
        by_hand=_grep(_WORDS, [one.place for one in passes]),
    )


def _in(passes: Sequence[ProxyPass], of: Sequence[ProxyPass]) -> str:
    return "" if len(passes) == len(of) == 1 else f" in {len(passes):,} of {number(len(of), 'place')}"


_WORDS = "keepalive|proxy_(pass|http_version|set_header|next_upstream)"


def _grep(pattern: str, places: Sequence[str]) -> tuple[str, ...]:
    """The lines of these files that it is about."""
    files = list(dict.fromkeys(place.rpartition(":")[0] for place in places if ":" in place))
    return (f"grep -nE '{pattern}' {shlex.join(files[:5])}",) if files else ()


def _ports(passes: Sequence[ProxyPass], limits: Limits) -> Iterator[Finding]:
    """Local ports towards the servers: none left by the error log, or most of them in TIME_WAIT."""
    busiest = max(passes, key=lambda one: known(one.time_wait) or 0, default=None)
    if busiest is None:
        return
    none_left = max(known(one.no_ports) or 0 for one in passes)
    waiting = known(busiest.time_wait) or 0
    severity = max(limits.no_ports.grade(none_left), limits.time_wait.grade(waiting))
    if severity is Severity.OK:
        return
    said = [f"{number(none_left, 'connection')} found none"] if none_left else []
    said += [f"{number(waiting, 'connection')} to {busiest.group or busiest.target} in TIME_WAIT"] if waiting else []
    state = busiest.keepalive if isinstance(busiest.keepalive, str) else "unknown"
    why = f" ({busiest.keepalive_why})" if busiest.keepalive_why else ""
    at = f" at {busiest.keepalive_place}" if busiest.keepalive_place else ""
    yield Finding(
        rule="proxying.ports",
        key="proxying.ports:nginx",
        severity=severity,
        subject="nginx",
        summary=f"nginx runs out of local ports towards its servers: {', '.join(said)}; keepalive is {state}{why}",
        evidence=(busiest.id,),
        threshold=limits.no_ports.crossed("proxying.no_ports", none_left)
        if none_left
        else limits.time_wait.crossed("proxying.time_wait", waiting),
        next_step=f"keep connections open{at}: keepalive N in the upstream block, proxy_http_version 1.1, "
        'proxy_set_header Connection ""; until then a wider net.ipv4.ip_local_port_range',
        by_hand=("ss -s", "ss -tan state time-wait | awk '{print $4}' | sort | uniq -c | sort -rn | head"),
    )


def _keepalive_advice(passes: Sequence[ProxyPass], limits: Limits) -> Iterator[Finding]:
    off = [one for one in passes if one.keepalive == "off" and one.module == "proxy" and _matters(one)]
    broken = [one for one in off if one.keepalive_wanted and _connects_anew(one, limits)]
    if off:
        whys = listed(list(dict.fromkeys(one.keepalive_why for one in broken or off if one.keepalive_why)), 2)
        finding = _advice(
            "proxying.keepalive",
            broken or off,
            f"connections to the servers are not kept open{_in(broken or off, passes)}: "
            f"{whys or 'it is not configured'}",
            "each request opens a connection of its own: before 1.29.7 keepalive needs all of keepalive N in the "
            'upstream block, proxy_http_version 1.1 and proxy_set_header Connection "" at the level that has '
            "proxy_set_header; from 1.29.7 on it is on by default in upstream blocks",
        )
        if broken:
            zero = known(broken[0].connect_zero_share) or 0.0
            finding = finding._replace(
                severity=Severity.WARNING,
                summary=f"{finding.summary}; only {percent(zero)} of the attempts took no time to connect",
                threshold=limits.connecting.crossed("proxying.connecting", 1 - zero),
                confidence="configuration and connect times",
            )
        yield finding
    unclear = [one for one in passes if isinstance(one.keepalive, Unknown)]
    if unclear and not off:
        why = listed(list(dict.fromkeys(one.keepalive_why for one in unclear if one.keepalive_why)), 2)
        yield _advice("proxying.keepalive", unclear, f"whether connections are kept open is not known: {why}", "")
    on = [one for one in passes if one.keepalive == "on"]
    if on and not off and not unclear:
        yield _advice("proxying.keepalive", on, "connections to the servers are kept open", "")


def _matters(one: ProxyPass) -> bool:
    """On this machine a connection costs next to nothing: no word of it, unless it was meant to be kept open."""
    return one.keepalive_wanted or not one.loopback


def _connects_anew(one: ProxyPass, limits: Limits) -> bool:
    """Whether the log shows new connections; on loopback and for a handful of TIME_WAIT it proves nothing."""
    zero = known(one.connect_zero_share)
    return zero is not None and not one.loopback and limits.connecting.grade(1 - zero) is not Severity.OK


def _old_http(passes: Sequence[ProxyPass]) -> Iterator[Finding]:
    old = [one for one in passes if one.http_version == "1.0" and one.module == "proxy" and _matters(one)]
    if old:
        yield _advice(
            "proxying.old-http",
            old,
            f"HTTP/1.0 to the servers{_in(old, passes)}",
            "write proxy_http_version 1.1; HTTP/1.0 has no keepalive, no chunked answers and no WebSocket",
        )


def _retries(passes: Sequence[ProxyPass], servers: dict[str, list[UpstreamServer]]) -> Iterator[Finding]:
    """No limit to the tries and none to their time: a request may wait for each server in turn."""
    unbounded = [
        one
        for one in passes
        if one.servers > 2
        and not one.tries
        and not one.retry_timeout
        and one.read_timeout >= LONG
        and "timeout" in one.next_upstream
    ]
    if not unbounded:
        return
    worst = max(unbounded, key=lambda one: one.servers * one.read_timeout)
    finding = _advice(
        "proxying.retries-unbounded",
        unbounded,
        f"a request may wait {duration(worst.servers * worst.read_timeout)}, {duration(worst.read_timeout)} on each of "
        f"{worst.servers} servers of {worst.group or worst.target}: no limit to retries",
        f"write {worst.module}_next_upstream_tries 2 and {worst.module}_next_upstream_timeout, e.g. 10s",
    )
    yield from _where_it_happens(finding, unbounded, servers, SLOW, "timed out")


def _non_idempotent(passes: Sequence[ProxyPass], servers: dict[str, list[UpstreamServer]]) -> Iterator[Finding]:
    """POST that is sent again although the first server may have done what it asked for."""
    again = [one for one in passes if one.non_idempotent and one.servers > 1]
    if not again:
        return
    first = again[0]
    at = first.next_upstream_place or first.place
    finding = _advice(
        "proxying.non-idempotent",
        again,
        f"POST is sent to a second server when the first fails after having got it: non_idempotent at {at}",
        "take non_idempotent out unless every request may be done twice: orders and payments may be doubled",
    )
    yield from _where_it_happens(
        finding, again, servers, SENT, "failed after they were sent, and may have been doubled"
    )


def _where_it_happens(
    finding: Finding,
    passes: Sequence[ProxyPass],
    servers: dict[str, list[UpstreamServer]],
    causes: Sequence[str],
    words: str,
) -> Iterator[Finding]:
    """The advice as a warning where the log has failures that it is about, which were tried again."""
    groups = dict.fromkeys(one.group for one in passes if one.group is not None)
    struck = [s for group in groups for s in servers.get(group, []) if known(s.masked_retries)]
    times = sum(s.causes.get(cause, 0) for s in struck for cause in causes)
    if times < HAPPENED:
        yield finding
        return
    yield finding._replace(
        severity=Severity.WARNING,
        summary=f"{finding.summary}; {number(times, 'attempt')} {words}",
        evidence=(*finding.evidence, *(server.id for server in struck[:3])),
        confidence="configuration and log",
    )


def _single(groups: Sequence[UpstreamGroup], servers: dict[str, list[UpstreamServer]]) -> Iterator[Finding]:
    """`max_fails` and `fail_timeout` that were written in vain."""
    vain = [
        (group, server)
        for group in groups
        if group.single and not group.implicit
        for server in servers.get(group.subject, [])
        if (server.max_fails, server.fail_timeout) != (1, 10.0) and len(server.addresses) < 2
    ]
    if vain:
        places = listed([server.place or server.server for _, server in vain])
        yield Finding(
            rule="proxying.single",
            key="proxying.single:nginx",
            severity=Severity.OK,
            subject="nginx",
            summary=f"max_fails and fail_timeout have no effect on the only server of a group ({places})",
            evidence=tuple(server.id for _, server in vain[:5]),
            confidence="configuration",
            next_step="add a second server or a backup: nginx never takes out the only one",
            by_hand=_grep("max_fails|fail_timeout", [server.place or "" for _, server in vain]),
        )
