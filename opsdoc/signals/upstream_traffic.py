"""Servers of nginx that serve, but oddly: retries that clients do not see, slow ones, backups, parts, stale names."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from opsdoc.model import Finding, Severity, known
from opsdoc.signals.amounts import duration, listed, number, percent
from opsdoc.signals.balance import Deviation, deviations, medians_of_others
from opsdoc.signals.peers import FEW, UpstreamServer
from opsdoc.signals.upstream_causes import cause_of
from opsdoc.signals.upstream_commands import is_file
from opsdoc.signals.upstream_facts import HAPPENED, Facts

MANY = 500  # first attempts: below it a share of a fifth more or less is chance
SIGMA = 3.0  # standard deviations
NOTICEABLE = 0.05  # seconds: what is slower by less is not felt
EXTREME = 0.1  # of its part: what gets less is left out, by whatever method
BUSIER = 1.5  # times its part: from there on the skew of a hash is worth a word


def judge_traffic(facts: Facts, *, failing: bool) -> Iterator[Finding]:
    """What is odd. `failing` says that servers fail: then parts of the traffic tell nothing."""
    yield from _stale(facts)
    yield from _slow(facts)
    yield from _masked(facts)
    yield from _backup(facts)
    if not failing:
        yield from _balance(facts)


# ── retries that clients do not see ──────────────────────────────────────────────────────────────


def _masked(facts: Facts) -> Iterator[Finding]:
    group, limit = facts.group, facts.limits.masked_share
    masked, requests = known(group.masked) or 0, facts.requests
    if masked < HAPPENED or requests < FEW or limit.grade(masked / requests) is Severity.OK:
        return
    by = max(facts.servers, key=lambda server: known(server.masked_retries) or 0, default=None)
    because, evidence = "", []
    if by is not None and (most := known(by.masked_retries) or 0):
        total = sum(known(server.masked_retries) or 0 for server in facts.servers)
        part = "all" if most == total else percent(most / total)
        because = f"; {by.server} causes {part} of them: it {cause_of(by.cause).one}"
        evidence = [by]
    price = known(group.retry_seconds)
    cost = "" if price is None else f", which costs {duration(price)} each (median)"
    yield facts.of_group(
        "upstream.masked",
        limit.grade(masked / requests),
        f"clients of {facts.name} saw success, but {percent(masked / requests)} of the requests ({masked:,} of "
        f"{requests:,}) needed another server{cost}{because}",
        evidence,
    )._replace(
        threshold=limit.crossed("upstream.masked_share", masked / requests),
        confidence=f"{masked:,} of {number(requests, 'request')}",
        next_step="mend the server; until then a shorter proxy_connect_timeout, or a longer fail_timeout for it, makes "
        "fewer requests wait",
        by_hand=_retried(facts),
    )


def _retried(facts: Facts) -> tuple[str, ...]:
    """The lines with more than one attempt: an address, a comma, and another."""
    log = facts.group.access_log
    return (
        (f"tail -n 10000 {shlex.quote(log)} | grep -E ':[0-9]+, [0-9u]' | tail -n 20",) if log and is_file(log) else ()
    )


# ── slow beside its siblings ─────────────────────────────────────────────────────────────────────


def _slow(facts: Facts) -> Iterator[Finding]:
    """By p95, against the median of the others with enough attempts; not where it is already said to fail."""
    timed = [(s, p95) for s in facts.those("up", "recovered") if (s.tried or 0) >= FEW and (p95 := known(s.p95))]
    limit = facts.limits.slower
    others = len(timed) - 1
    for (server, p95), usual in zip(timed, medians_of_others([p95 for _, p95 in timed]), strict=True):
        if not usual or p95 - usual < NOTICEABLE or limit.grade(p95 / usual) is Severity.OK:
            continue
        finding = facts.of_server(
            "upstream.slow",
            server,
            limit.grade(p95 / usual),
            f"{facts.who(server)} is slow: one request in 20 takes over {duration(p95)}, {p95 / usual:.0f} times "
            f"the {duration(usual)} of its {number(others, 'sibling')}; nginx does not take it out for that"
            f"{_where(server, p95)}",
        )
        yield finding._replace(
            threshold=limit.crossed("upstream.slower", p95 / usual),
            confidence=number(server.tried or 0, "attempt"),
            next_step="compare it with a sibling: its load, its version, its neighbours, what it waits for "
            "(opsdoc cpu there)",
        )


def _where(server: UpstreamServer, p95: float) -> str:
    """Where the time goes: the connection, the first byte, or the rest of the answer."""
    connect, header = known(server.connect_p50), known(server.header_p95)
    if connect is not None and connect >= p95 / 2:
        return f"; connecting takes {duration(connect)}: the network or its accept queue"
    if header is not None and header >= p95 / 2:
        return f"; it is the program: the first byte takes {duration(header)}"
    if header is not None:
        return f"; the first byte comes after {duration(header)}: it is the size of its answers or the network"
    return ""


# ── a backup that serves ─────────────────────────────────────────────────────────────────────────


def _backup(facts: Facts) -> Iterator[Finding]:
    on_backup = known(facts.group.backup_attempts) or 0
    backups = [server for server in facts.servers if server.backup]
    out = [server for server in facts.those("down", "failing", "flapping") if not server.backup]
    attempts = sum(server.tried or 0 for server in facts.servers)
    if on_backup < HAPPENED or not backups or not attempts:
        return
    if not out and facts.limits.failing_share.grade(on_backup / attempts) is Severity.OK:
        return  # for a moment, when the primaries were out
    because = f"; of the primaries {listed([f'{s.server} {cause_of(s.cause).one}' for s in out], 2)}" if out else ""
    finding = facts.of_group(
        "upstream.backup",
        Severity.WARNING,
        f"the backup of {facts.name} serves: {listed([server.server for server in backups])} had {on_backup:,} of "
        f"{number(attempts, 'attempt')}{because}",
        [*backups, *out],
    )
    step = "bring the primaries back: when the backup fails too, nothing is left"
    yield finding._replace(confidence=f"{on_backup:,} of {number(attempts, 'attempt')}", next_step=step)


# ── who gets which part ──────────────────────────────────────────────────────────────────────────


def _balance(facts: Facts) -> Iterator[Finding]:
    servers = [s for s in facts.servers if not s.backup and isinstance(s.first_attempts, int)]
    primaries = [s for s in facts.servers if not s.backup]
    counts = [known(server.first_attempts) or 0 for server in servers]
    if len(servers) < max(2, len(primaries)) or sum(counts) < MANY or any(s.shared_with for s in servers):
        return
    parts = deviations(counts, [float(server.weight) for server in servers])
    for server, part in sorted(zip(servers, parts, strict=True), key=lambda one: -abs(one[1].relative)):
        if finding := _uneven(facts, server, part, len(servers), sum(counts)):
            yield finding
            return


def _uneven(facts: Facts, server: UpstreamServer, part: Deviation, servers: int, attempts: int) -> Finding | None:
    """The finding for the server that is furthest from its part, or none where that is as the method means it."""
    if abs(part.sigma) <= SIGMA:
        return None
    method, limit = facts.group.method, facts.limits.skew
    has = f"{server.server} has {percent(part.share)} of the requests, by its weight {percent(part.expected)}"
    if method.startswith(("ip_hash", "hash", "sticky")):
        if part.share < BUSIER * part.expected:
            return None
        key = facts.group.key or "the client's address"
        return facts.of_group(
            "upstream.unbalanced",
            Severity.OK,
            f"{facts.name} is uneven by design ({method}): the busiest of {servers:,} servers has "
            f"{percent(part.share)}, for all requests with the same {key} go to one",
            [server],
        )
    by_weight = method == "round robin"
    if not by_weight and part.share > EXTREME * part.expected:
        return None  # the others look at how busy a server is, too, and give a slow one less
    if limit.grade(abs(part.relative)) is Severity.OK:
        return None
    step = (
        "compare the weights in the file with what runs (was it reloaded?), and look at max_conns, and for a server "
        "that was away for a part of this time"
        if by_weight
        else f"{method} gives less to a server that is slow or busy, but hardly nothing: see whether it was away"
    )
    return facts.of_group(
        "upstream.unbalanced",
        limit.grade(abs(part.relative)),
        f"{facts.name} is unbalanced ({method}): {has}",
        [server],
    )._replace(
        threshold=limit.crossed("upstream.skew", abs(part.relative)),
        confidence=f"{number(attempts, 'first attempt')}, {abs(part.sigma):.0f} standard deviations",
        next_step=step,
    )


# ── names that were resolved once ────────────────────────────────────────────────────────────────


def _stale(facts: Facts) -> Iterator[Finding]:
    for server in facts.servers:
        gone = server.probed == "name unknown"
        if not (server.stale or gone):
            continue
        host = server.server.rpartition(":")[0]
        if gone:
            what = f"the name {host} cannot be resolved now: nginx goes on with the addresses of its start, but cannot "
            what += "be reloaded or started"
        else:
            now = f", now it is {listed(server.addresses)}" if server.addresses else ""
            what = f"nginx still sends requests for {host} to {listed(server.stale)}{now}: names are resolved at start"
        severity = Severity.WARNING
        if server in facts.those("down") and not facts.has_another(server):
            severity = Severity.CRITICAL  # the headline: what is said to be down is only no longer there
        finding = facts.of_server("upstream.stale-name", server, severity, what)
        yield finding._replace(
            threshold=None,
            confidence="resolved now",
            next_step="correct the name before anything else"
            if gone
            else "reload nginx once the new addresses serve; for good: server NAME resolve with a zone and a resolver "
            "(from 1.27.3 on), or a variable in proxy_pass with a resolver",
            by_hand=(f"getent ahosts {shlex.quote(host)}", *_seen_in(facts)),
        )


def _seen_in(facts: Facts) -> tuple[str, ...]:
    log = facts.group.access_log
    return (f"tail -n 1000 {shlex.quote(log)}",) if log and is_file(log) else ()
