"""Requests that nginx answers with an error of its own, no server tried: names without an address, and what is left."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unseen, known, measure
from opsdoc.signals.amounts import listed, number, percent
from opsdoc.signals.peers import NO_LOG

HAPPENED = 3  # requests: fewer are chance


class Untried(Observation):
    """The requests of the window that failed though no server was tried; those that a limit rejected are left out.

    A name that only a request tells (a variable in `proxy_pass`) is looked up for it: `unresolved` are the lines of the
    error log about names without an address.
    """

    kind: ClassVar[str] = "untried"
    requests: int | Unknown = measure("failed without a server tried", "count", "main", default=NO_LOG)
    share: float | Unknown | None = measure("of the requests", "ratio", "line")
    unresolved: int | Unknown = measure("names not resolved", "count", "line", default=NO_LOG)
    statuses: Mapping[str, int] = measure("by status", default={})
    names: tuple[str, ...] = measure("names, the first five", default=())
    without_resolver: bool = measure("no resolver is configured for them", default=False)
    silent: tuple[str, ...] = measure("resolvers that do not answer", default=())
    resolvers: tuple[str, ...] = measure("resolvers", default=())
    places: tuple[str, ...] = measure("passes to a variable at", default=())
    access_log: str | None = measure("access log")
    error_log: str | None = measure("error log")


class Limits(NamedTuple):
    """From which share of all requests on it matters."""

    share: Limit = Limit(
        0.001, 0.01, "ratio", "one client in a hundred sees an error; a thousandth is what 99.9 % leaves"
    )


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Names that cannot be resolved; else errors that nobody explains."""
    for one in observations:
        if isinstance(one, Untried):
            if known(one.unresolved):
                yield _unresolved(one, limits.share)
            elif (known(one.requests) or 0) >= HAPPENED:
                yield from _unexplained(one, limits.share)


def _unresolved(one: Untried, limit: Limit) -> Finding:
    lines, share = known(one.unresolved) or 0, known(one.share)
    names = listed(one.names)
    at = f" ({listed(one.places)})" if one.places else ""
    if one.without_resolver:
        why = f"nginx has no resolver to look up {names} with{at}"
        step = (
            "write resolver ADDRESS in http: a name in a variable is looked up for each request; or name it without one"
        )
    elif one.silent:
        why = f"the resolver {listed(one.silent)} does not answer for {names}{at}"
        step = "see whether the resolver runs, and answers this machine"
    else:
        why = f"{names} cannot be resolved{at}"
        step = "see whether the name still exists, and what the resolver of nginx says: it reads no /etc/hosts"
    finding = _finding(one, "untried.resolver", f"{number(lines, 'request')} got 502, no server was tried: {why}")
    return finding._replace(
        severity=Severity.WARNING if share is None else max(Severity.WARNING, limit.grade(share)),
        threshold=None if share is None else limit.crossed("untried.share", share),
        confidence=number(lines, "line") + " of the error log",
        next_step=step,
        by_hand=(*_asked(one), *_grep(one.error_log, "resolve")),
    )


def _asked(one: Untried) -> Iterator[str]:
    servers = one.silent or one.resolvers
    for name in one.names[:2] if servers and not one.without_resolver else ():
        host, _, port = servers[0].rpartition(":")
        at = f"@{host.strip('[]')} -p {port}" if host and port.isdecimal() else f"@{servers[0]}"
        yield f"dig +time=2 +tries=1 {shlex.quote(name)} {at}"


def _unexplained(one: Untried, limit: Limit) -> Iterator[Finding]:
    requests, share = known(one.requests) or 0, known(one.share) or 0.0
    if limit.grade(share) is Severity.OK:
        return
    got = listed([f"{count:,} got {status}" for status, count in one.statuses.items()])
    yield _finding(
        one,
        "untried.unexplained",
        f"nginx itself failed {number(requests, 'request')} ({percent(share)} of all; {got}): no server was tried, and "
        "no limit rejected them",
    )._replace(
        severity=Severity.WARNING,
        threshold=limit.crossed("untried.share", share),
        confidence="access log",
        next_step="read the error log at these times; a return 503 (maintenance), an internal redirect or a missing "
        "file of an error page is meant so or told there",
        by_hand=_grep(one.error_log, "[error]"),
    )


def _finding(one: Untried, rule: str, summary: str) -> Finding:
    return Finding(
        rule=rule, key=f"{rule}:nginx", severity=Severity.OK, subject="nginx", summary=summary, evidence=(one.id,)
    )


def _grep(log: str | None, text: str) -> tuple[str, ...]:
    if not log or not log.startswith("/"):
        return ()
    return (f"tail -n 10000 {shlex.quote(log)} | grep -F {shlex.quote(text)} | tail -n 5",)
