"""Requests that nginx itself rejects or delays, by limit zone: they never reach a server, and no server is to blame."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal, NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unseen, known, measure
from opsdoc.signals.amounts import listed, number, percent

HAPPENED = 3  # requests: fewer are chance


class RateLimit(Observation):
    """A zone of `limit_req` or `limit_conn` (or what the access log tells of all of them), over the window.

    The error log names the zone; `$limit_req_status` in the access log only says that there was one. In a dry run
    nothing is rejected.
    """

    kind: ClassVar[str] = "rate_limit"
    rejected: int | Unknown = measure("rejected", "count", "main", default=0)
    share: float | Unknown | None = measure("of the requests", "ratio", "line")
    delayed: int | Unknown = measure("delayed", "count", "line", default=0)
    rate: str = measure("rate", "", "line", default="")
    dry_run_rejected: int | Unknown = measure("would be rejected (dry run)", "count", default=0)
    dry_run_delayed: int | Unknown = measure("would be delayed (dry run)", "count", default=0)
    delayed_share: float | Unknown | None = measure("delayed, of the requests", "ratio")
    limit: Literal["requests", "connections"] = measure("limits", default="requests")
    zone: str | None = measure("zone")
    key: str = measure("key", default="")
    status: int | None = measure("answers with status", "id")
    error_log: str | None = measure("error log")
    place: str | None = measure("configured at")

    @property
    def dry(self) -> int:
        """How many requests it would have rejected or delayed."""
        return (known(self.dry_run_rejected) or 0) + (known(self.dry_run_delayed) or 0)


class Limits(NamedTuple):
    """From which share of the requests on a limit is worth a word."""

    rejected_share: Limit = Limit(0.01, None, "ratio", "limits are meant to reject; one client in a hundred is noticed")
    delayed_share: Limit = Limit(0.05, None, "ratio", "delays are what a burst is for; one in twenty is a usual load")


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Rejected, delayed, and what a dry run would do; one finding for the zones that let everything through."""
    zones = [o for o in observations if isinstance(o, RateLimit)]
    quiet: list[RateLimit] = []
    for zone in zones:
        found = [*_rejected(zone, limits.rejected_share), *_delayed(zone, limits.delayed_share), *_dry(zone)]
        yield from found
        if not found:
            quiet.append(zone)
    if quiet:
        yield _quiet(quiet)


def _rejected(zone: RateLimit, limit: Limit) -> Iterator[Finding]:
    count, share = known(zone.rejected) or 0, known(zone.share)
    if not count:
        return
    severity = limit.grade(share) if share is not None else Severity.WARNING
    if count < HAPPENED:
        severity = Severity.OK
    of = f" ({percent(share)} of the requests)" if share is not None else ""
    what = "connections" if zone.limit == "connections" else "requests"
    status = f" with {zone.status}" if zone.status else ""
    yield _finding(
        zone,
        "limit.rejected",
        severity,
        f"nginx itself rejected {number(count, 'request')}{of}{status}, by the limit of {what} {_name(zone)}; no "
        "server is to blame",
    )._replace(
        threshold=None if share is None else limit.crossed("rate_limit.rejected_share", share),
        next_step=f"see whether these clients should be held back; else raise the {_knob(zone)}{_place(zone)}",
    )


def _delayed(zone: RateLimit, limit: Limit) -> Iterator[Finding]:
    count, share = known(zone.delayed) or 0, known(zone.delayed_share)
    if not count:
        return
    severity = Severity.OK if share is None or count < HAPPENED else limit.grade(share)
    of = f" ({percent(share)} of the requests)" if share is not None else ""
    yield _finding(
        zone,
        "limit.delayed",
        severity,
        f"nginx itself delayed {number(count, 'request')}{of}, by the limit {_name(zone)}: they look slow, and no "
        "server is",
    )._replace(
        threshold=None if share is None else limit.crossed("rate_limit.delayed_share", share),
        next_step=f"write nodelay where a burst may pass at once, or raise the rate{_place(zone)}",
    )


def _dry(zone: RateLimit) -> Iterator[Finding]:
    if zone.dry:
        yield _finding(
            zone,
            "limit.dry-run",
            Severity.OK,
            f"the limit {_name(zone)} is in dry run: it would have rejected {known(zone.dry_run_rejected) or 0:,} "
            f"requests and delayed {known(zone.dry_run_delayed) or 0:,}",
        )._replace(next_step=f"look at these clients before it is switched on{_place(zone)}")


def _quiet(zones: Sequence[RateLimit]) -> Finding:
    unknown = [zone for zone in zones if isinstance(zone.rejected, Unknown)]
    names = listed([_name(zone) for zone in zones], 2)
    summary = f"limits rejected nothing ({names})"
    if len(unknown) == len(zones):
        summary = f"whether limits ({names}) reject is not in the logs"
    return Finding(
        rule="limit.quiet",
        key="limit.quiet:nginx",
        severity=Severity.OK,
        subject="nginx",
        summary=summary,
        evidence=tuple(zone.id for zone in zones[:5]),
    )


def _finding(zone: RateLimit, rule: str, severity: Severity, summary: str) -> Finding:
    logs: tuple[str, ...] = ()
    if zone.error_log and zone.error_log.startswith("/"):
        pattern = f"by zone .{zone.zone}" if zone.zone else "limiting (requests|connections)"
        logs = (f"tail -n 10000 {shlex.quote(zone.error_log)} | grep -E {shlex.quote(pattern)} | tail -n 20",)
    return Finding(
        rule=rule,
        key=f"{rule}:{zone.zone or zone.subject}",
        severity=severity,
        subject=zone.subject,
        summary=summary,
        evidence=(zone.id,),
        confidence="access log" if known(zone.share) is not None else "error log: delays stand there only from warn on",
        by_hand=logs,
    )


def _name(zone: RateLimit) -> str:
    """`zone one (10r/s per $binary_remote_addr, nginx.conf:12)`."""
    per = f" per {zone.key}" if zone.key else ""
    inside = ", ".join(filter(None, [f"{zone.rate}{per}".strip(), zone.place]))
    return zone.subject + (f" ({inside})" if inside else "")


def _knob(zone: RateLimit) -> str:
    return "number of connections" if zone.limit == "connections" else "rate or the burst"


def _place(zone: RateLimit) -> str:
    return f" at {zone.place}" if zone.place else ""
