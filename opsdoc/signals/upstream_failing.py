"""Servers of nginx that fail: which one, why, whether nginx takes it out by itself, and what the clients lost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from opsdoc.model import Finding, Severity, known
from opsdoc.signals.amounts import duration, listed, number, percent
from opsdoc.signals.peers import FEW, LATELY, UpstreamServer
from opsdoc.signals.upstream_causes import by_cause, cause_of, now_words
from opsdoc.signals.upstream_facts import HAPPENED, Facts

ALIKE = 2.0  # times: servers whose shares of failures differ by less than that fail for a common reason


def judge_failing(facts: Facts) -> Iterator[Finding]:
    """All of a group, or its servers one by one, and what clients lost where no server explains it."""
    down = facts.those("down")
    if down and len(down) == len(facts.servers) and (len(down) > 1 or facts.group.configured):
        yield _only_server(facts, down[0]) if facts.single else _all_down(facts, down)
        return
    found = [] if (known(facts.group.no_live) or 0) < facts.limits.no_live.warn else [_none_left(facts)]
    found += [_down(facts, server) for server in down]
    found += [_contradicted(facts, server) for server in facts.those("contradicted")]
    found += [_flapping(facts, server) for server in facts.those("flapping")]
    failing = facts.those("failing")
    found += [_alike(facts, failing)] if _fail_alike(facts, failing) else [_failing(facts, one) for one in failing]
    recovered = [_recovered(facts, server) for server in facts.those("recovered")]
    yield from found
    yield from recovered
    if not any(finding.severity is Severity.CRITICAL for finding in found):
        yield from _lost(facts, over=bool(recovered) and not found)


# ── all of them ──────────────────────────────────────────────────────────────────────────────────


def _all_down(facts: Facts, down: Sequence[UpstreamServer]) -> Finding:
    no_live = known(facts.group.no_live) or 0
    at_once = f"; {number(no_live, 'request')} got 502 at once (no live upstreams)" if no_live else ""
    every = {1: "the only usable server", 2: "both servers"}.get(len(down), f"all {len(down):,} servers")
    causes = dict.fromkeys(server.cause for server in down)
    fail, are = ("fails", "is") if len(down) == 1 else ("fail", "are")
    state = fail if all(server.answers for server in down) else f"{are} down"
    shared = (
        ""
        if len(causes) > 1 or len(down) == 1
        else "; all fail alike: look for what they share (a deploy, a host, the network)"
    )
    elsewhere = f"; {facts.what_clients_get(down[0])}" if facts.answered_elsewhere else ""
    return facts.of_group(
        "upstream.all-down",
        Severity.WARNING if elsewhere else Severity.CRITICAL,
        f"{every} of {facts.name} {state}: {by_cause(down)}{at_once}{elsewhere}",
        down,
    )._replace(next_step=cause_of(down[0].cause).next_step + shared)


def _only_server(facts: Facts, server: UpstreamServer) -> Finding:
    cause = cause_of(server.cause)
    who = (
        f"{server.server}, the only server behind {facts.passes[0].subject}"
        if facts.group.implicit and facts.passes
        else f"{server.server}, the only server of {facts.name}"
    )
    return facts.of_server(
        "upstream.single",
        server,
        Severity.WARNING if facts.answered_elsewhere else Severity.CRITICAL,
        f"{who}, {cause.one}: {facts.how_often(server)}; {facts.what_clients_get(server)}, and "
        f"{facts.will_it_go(server)}",
    )._replace(next_step=f"{cause.next_step}; a second server or a backup would have taken over")


def _none_left(facts: Facts) -> Finding:
    """All servers had been taken out, though they are not all down now."""
    count = known(facts.group.no_live) or 0
    limit = facts.limits.no_live
    bad = facts.those("down", "failing", "flapping", "recovered")
    because = f": {by_cause(bad)}" if bad else ""
    step = (
        "every server had been taken out at the same time; one failure is enough for that with max_fails=1: raise it "
        "where single requests fail, and see why the servers fail"
    )
    may = len(facts.servers) - len(facts.those("down"))
    now = f"; now {may:,} of {len(facts.servers):,} may serve" if facts.servers else ""
    return facts.of_group(
        "upstream.all-down",
        limit.grade(count),
        f"nginx had no server of {facts.name} left to try: {number(count, 'request')} got 502 at once (no live "
        f"upstreams){because}{now}",
        bad,
    )._replace(threshold=limit.crossed("upstream.no_live", count), next_step=step)


# ── one of them ──────────────────────────────────────────────────────────────────────────────────


def _down(facts: Facts, server: UpstreamServer) -> Finding:
    if server.answers:
        return _failing(facts, server)
    cause = cause_of(server.cause)
    severity = facts.severity(facts.lost_by(server), confirmed=server.now == "dead")
    if not facts.has_another(server):
        severity = Severity.CRITICAL
    role = ", the backup," if server.backup else ""
    return facts.of_server(
        "upstream.down",
        server,
        severity,
        f"{facts.who(server)}{role} {cause.one}: {facts.how_often(server)}; {facts.will_it_go(server)}",
    )._replace(next_step=cause.next_step)


def _contradicted(facts: Facts, server: UpstreamServer) -> Finding:
    ago = duration(server.last_success or LATELY)
    return facts.of_server(
        "upstream.down",
        server,
        Severity.WARNING,
        f"{facts.who(server)} {now_words(server)}, though nginx had an answer from it {ago} before the end of the log",
    )._replace(
        confidence="the probe and the log disagree",
        next_step="look again in a moment: it has just gone down, or nginx reaches it another way than this probe "
        "(another network namespace, a firewall rule for nginx's user)",
    )


def _flapping(facts: Facts, server: UpstreamServer) -> Finding:
    changes = known(server.transitions) or 0
    window = f" in {duration(server.window)}" if server.window else ""
    return facts.of_server(
        "upstream.flapping",
        server,
        facts.severity(facts.lost_by(server), confirmed=server.now != "unclear"),
        f"{facts.who(server)} comes and goes: {changes} changes between failing and fine{window}, it "
        f"{cause_of(server.cause).past} in {server.failed:,} of {number(server.tried or 0, 'attempt')}",
    )._replace(
        threshold=facts.limits.changes.crossed("upstream.changes", changes),
        next_step="look there for restarts at these times (a crash, an OOM kill, a health check that kills it, a "
        "deploy) and for load that comes in waves",
    )


def _failing(facts: Facts, server: UpstreamServer) -> Finding:
    """Part of its attempts fail; or all, with a status of its own."""
    rule, cause = _rule_of(server), cause_of(server.cause)
    share = known(server.share)
    keeps = f" and has {percent(share)} of the requests" if rule == "upstream.errors" and share else ""
    often = facts.how_often(server)
    if rule == "upstream.errors" and server.tried:
        times = server.causes.get(server.cause, 0)
        often = ", ".join(filter(None, [f"{times:,} of {number(server.tried, 'attempt')}", now_words(server)]))
    wait = f" ({facts.read_timeout()})" if rule == "upstream.timeouts" else ""
    return facts.of_server(
        rule,
        server,
        facts.severity(facts.lost_by(server), confirmed=server.now == "erring"),
        f"{facts.who(server)} {cause.one}{wait}: {often}{keeps}; {facts.will_it_go(server)}",
    )._replace(next_step=cause.next_step + _listing(facts, server))


def _rule_of(server: UpstreamServer) -> str:
    if server.cause.startswith("http-"):
        return "upstream.errors"
    return "upstream.timeouts" if server.cause == "read-timeout" else "upstream.failing"


def _listing(facts: Facts, server: UpstreamServer) -> str:
    """How to let nginx take out what answers with errors; 500 is left to the application."""
    status = server.cause[5:]
    if server.cause.startswith("http-") and not facts.single and "will not take it out" in facts.will_it_go(server):
        return f"; to let nginx go round it, add http_{status} to the line, where requests may be sent twice"
    return ""


def _recovered(facts: Facts, server: UpstreamServer) -> Finding:
    ago = server.last_failure
    served = ago is not None and server.last_success is not None and server.last_success < ago
    since = f" until {duration(ago)} before the end of the log" if ago else ""
    proof = now_words(server) or "has answered since"
    certain = served and facts.lost_by(server) < facts.limits.lost_share.warn
    doubt = (
        "" if served or (ago or 0.0) >= LATELY else "; it came back just now, or nginx cannot reach it as opsdoc can"
    )
    finding = facts.of_server(
        "upstream.recovered",
        server,
        Severity.OK if certain else Severity.WARNING,
        f"{facts.who(server)} {cause_of(server.cause).past}{since} ({server.failed:,} of "
        f"{number(server.tried or server.failed, 'attempt')}) and {proof}: recovered{doubt}",
    )
    return finding._replace(next_step="read its log for why it was away; a restart and a deploy look the same here")


# ── together ─────────────────────────────────────────────────────────────────────────────────────


def _fail_alike(facts: Facts, failing: Sequence[UpstreamServer]) -> bool:
    """Whether all servers with requests fail for the same reason, about equally often."""
    tried = [server for server in facts.servers if server.tried]
    if len(failing) < 2 or len(tried) != len(failing) or any((server.tried or 0) < FEW for server in failing):
        return False
    shares = [server.failed / (server.tried or 1) for server in failing]
    return len({server.cause for server in failing}) == 1 and max(shares) <= ALIKE * min(shares)


def _alike(facts: Facts, failing: Sequence[UpstreamServer]) -> Finding:
    cause = cause_of(failing[0].cause)
    failed, tried = sum(server.failed for server in failing), sum(server.tried or 0 for server in failing)
    lost = known(facts.group.error_share) or 0.0
    limits = facts.limits
    severity = facts.severity(lost, confirmed=False)
    return facts.of_group(
        _rule_of(failing[0]),
        severity,
        f"all {len(failing):,} servers of {facts.name} {cause.many}, about equally often: {failed:,} of "
        f"{number(tried, 'attempt')} failed; it is not one server, but what they share",
        failing,
    )._replace(
        threshold=limits.lost_share.crossed("upstream.lost_share", lost)
        if severity is Severity.CRITICAL
        else limits.failing_share.crossed("upstream.failing_share", failed / tried),
        confidence=f"{failed:,} of {number(tried, 'attempt')}",
        next_step=f"look at what they share (a database, a service behind them, the last deploy): {cause.next_step}",
    )


def _lost(facts: Facts, *, over: bool) -> Iterator[Finding]:
    """What clients lost, where no server is to blame for most of it."""
    group, limit = facts.group, facts.limits.lost_share
    share, lost = known(group.error_share), known(group.lost) or 0
    if share is None or lost < HAPPENED or limit.grade(share) is Severity.OK:
        return
    severity = Severity.WARNING if over else facts.severity(share, confirmed=False)
    got = [f"{count:,} got {status}" for status, count in _worst(group.statuses)]
    worst = max(facts.servers, key=lambda server: server.failed, default=None)
    named = [worst] if worst is not None and worst.failed else []
    who = f"; most of it on {worst.server}, which {cause_of(worst.cause).past}" if worst is not None and named else ""
    yield facts.of_group(
        "upstream.lost",
        severity,
        f"clients of {facts.name} lost {percent(share)} of their requests: {lost:,} of {facts.requests:,}"
        f"{f' ({listed(got)})' if got else ''}{who}{'; it is over' if over else ''}",
        named,
    )._replace(
        threshold=limit.crossed("upstream.lost_share", share),
        confidence=f"{lost:,} of {number(facts.requests, 'request')}",
        next_step=cause_of(worst.cause).next_step if worst is not None and named else "read the access log for them",
    )


def _worst(statuses: Mapping[str, int]) -> list[tuple[str, int]]:
    """The statuses that are failures of a server, most frequent first."""
    errors = [(status, count) for status, count in statuses.items() if status.startswith("5") or status == "429"]
    return sorted(errors, key=lambda one: (-one[1], one[0]))
