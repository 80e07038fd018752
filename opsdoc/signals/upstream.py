"""Whether the servers behind nginx serve: by access log, error log and a connection now, and their configuration."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unseen, known
from opsdoc.signals.access_log import AccessLogRead
from opsdoc.signals.alike import summed_up
from opsdoc.signals.amounts import listed, number, percent
from opsdoc.signals.nginx_workers import Nginx
from opsdoc.signals.peers import CHANGES, FAILING, UpstreamGroup, UpstreamServer, state_of
from opsdoc.signals.proxying import ProxyPass
from opsdoc.signals.upstream_commands import by_hand
from opsdoc.signals.upstream_facts import Facts
from opsdoc.signals.upstream_failing import judge_failing
from opsdoc.signals.upstream_traffic import judge_traffic

__all__ = ["Limits", "UpstreamGroup", "UpstreamServer", "judge", "state_of"]


class Limits(NamedTuple):
    """From which share, number or ratio on it matters."""

    lost_share: Limit = Limit(
        0.001, 0.01, "ratio", "one client in a hundred sees an error; a thousandth is what 99.9 % leaves"
    )
    failing_share: Limit = Limit(
        FAILING, None, "ratio", "of at least 20 attempts; public alert rules for nginx fire at 5 % of status 5xx"
    )
    no_live: Limit = Limit(1, 1, "count", "each is a client that got 502 because nginx had taken out all servers")
    masked_share: Limit = Limit(0.01, None, "ratio", "one request in a hundred waits for a failure before it is served")
    slower: Limit = Limit(
        3.0, None, "", "times the median p95 of the siblings; with equal servers and work they differ by less than half"
    )
    changes: Limit = Limit(
        CHANGES, None, "count", "down, up and down again in steps of 10 s, nginx's default fail_timeout"
    )
    skew: Limit = Limit(
        0.2, None, "ratio", "of its part, and 3 standard deviations in 500 first attempts: not by chance, and felt"
    )


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Each group with its servers; then one finding for those that are fine, and one for those nobody could judge."""
    fine: list[Facts] = []
    blind: list[Facts] = []
    findings: list[Finding] = []
    for facts in _groups(observations, limits):
        found = list(judge_failing(facts))
        failing = any(finding.severity is not Severity.OK for finding in found)
        found += judge_traffic(facts, failing=failing)
        findings += found
        if not facts.servers or any(finding.severity is not Severity.OK for finding in found):
            continue
        (blind if _nobody_tells(facts) else fine).append(facts)
    yield from summed_up(findings)
    if all(set(facts.standings) == {"unknown"} for facts in fine):  # a log without requests is no proof of anything
        blind, fine = blind + fine, []
    if not findings and not blind and not fine:
        yield from _none(observations)
    if blind:
        yield _unknown(blind)
    if fine:
        yield _fine(fine, others=any(f.severity is not Severity.OK for f in findings) or bool(blind))


def _none(observations: Sequence[Observation]) -> Iterator[Finding]:
    """That there is nothing to judge: said only where a configuration was read."""
    read = [
        one
        for one in observations
        if (isinstance(one, Nginx) and one.config_read) or (isinstance(one, AccessLogRead) and one.configured)
    ]
    if read:
        yield Finding(
            rule="upstream.none",
            key="upstream.none:nginx",
            severity=Severity.OK,
            subject="nginx",
            summary="the configuration names no server that requests are passed on to",
            evidence=(read[0].id,),
        )


def _nobody_tells(facts: Facts) -> bool:
    return set(facts.standings) == {"unknown"} and all(server.tried is None for server in facts.servers)


def _groups(observations: Sequence[Observation], limits: Limits) -> Iterator[Facts]:
    """Each group with its servers and passes; a server whose group was not given makes one."""
    groups = {o.subject: o for o in observations if isinstance(o, UpstreamGroup)}
    servers: dict[str, list[UpstreamServer]] = {name: [] for name in groups}
    passes: dict[str | None, list[ProxyPass]] = {}
    for one in observations:
        if isinstance(one, UpstreamServer):
            servers.setdefault(one.group, []).append(one)
        elif isinstance(one, ProxyPass):
            passes.setdefault(one.group, []).append(one)
    for name, members in servers.items():
        group = groups.get(name) or UpstreamGroup(subject=name, server_count=len(members))
        yield Facts(group, members, passes.get(name, []), limits)


def _fine(groups: Sequence[Facts], *, others: bool) -> Finding:
    """What was looked at and serves."""
    servers = [server for facts in groups for server in facts.servers]
    return Finding(
        rule="upstream.fine",
        key="upstream.fine:nginx",
        severity=Severity.OK,
        subject="nginx",
        summary=f"{_who(servers, groups, others=others)}: {_attempts(servers)}, {_connects(servers)}",
        evidence=tuple(server.id for server in servers[:5]),
    )


def _who(servers: Sequence[UpstreamServer], groups: Sequence[Facts], *, others: bool) -> str:
    if others and len(servers) == 1:
        return f"the other server, {servers[0].server}"
    return f"{'the other ' if others else ''}{number(len(servers), 'server')} in {number(len(groups), 'group')}"


def _attempts(servers: Sequence[UpstreamServer]) -> str:
    told = [server for server in servers if server.tried is not None]
    if not told:
        return "no log tells of their attempts"
    tried = sum(server.tried or 0 for server in told)
    failed = sum(server.failed for server in told)
    said = f"{number(tried, 'attempt')}, {percent(failed / tried)} failed" if tried else "no request in this time"
    return said if len(told) == len(servers) else f"{said} (of {len(told):,} of them)"


def _connects(servers: Sequence[UpstreamServer]) -> str:
    """What the probe found, `all connect` or how many; a server that is judged by its log need not be probed."""
    good = sum(server.now == "fine" for server in servers)
    if good == len(servers):
        return "it connects" if good == 1 else "all connect"
    unasked = sum(server.now == "unclear" for server in servers)
    return f"{good:,} connect, {unasked:,} not probed" if good else "not probed"


def _unknown(groups: Sequence[Facts]) -> Finding:
    """Groups that neither a log nor a connection says anything about."""
    servers = [server for facts in groups for server in facts.servers]
    names = listed([facts.name for facts in groups])
    serve = "serves" if len(servers) == 1 else "serve"
    log = next((g.group.requests.reason for g in groups if isinstance(g.group.requests, Unknown)), "no request in it")
    probe = next((server.probed.reason for server in servers if isinstance(server.probed, Unknown)), "")
    probe = probe or next((said for server in servers if (said := known(server.probed))), "not probed")
    return Finding(
        rule="upstream.unknown",
        key="upstream.unknown:" + ",".join(sorted(facts.name for facts in groups)[:5]),
        severity=Severity.UNKNOWN,
        subject=names,
        summary=f"unknown whether {number(len(servers), 'server')} of {names} {serve}: {log}; {probe}",
        evidence=tuple(filter(None, (*(facts.group.id for facts in groups[:3]), *(s.id for s in servers[:3])))),
        next_step="give it a log with the upstream variables, or let it be probed from where nginx runs",
        by_hand=by_hand(servers[0], groups[0].group, groups[0].passes),
    )
