"""Requests that reach no server: those that a limit holds back, and those that nginx itself fails."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from opsdoc.looks.upstreams import Known
from opsdoc.parsers.error_message import LimitHit
from opsdoc.parsers.nginx_nouns import LimitZone
from opsdoc.signals.peers import NO_LOG
from opsdoc.signals.rate_limit import RateLimit
from opsdoc.signals.untried import Untried

_LIMITS = {"req": "requests", "conn": "connections"}

# ── without a server ────────────────────────────────────────────────────────────────────────────


def untried(known: Known) -> Untried | None:
    """The requests that failed without a server being tried, and the names that could not be looked up for them."""
    tally, errors = known.access.tally, known.errors
    statuses = Counter({s: -n for (_, said, s), n in tally.limited.items() if said == "REJECTED" and s is not None})
    for trace, count in tally.traces.items():
        if not trace.visits and trace.status is not None and trace.status in range(500, 600):
            statuses[trace.status] += count
    failed = {str(status): count for status, count in statuses.most_common() if status >= 500 and count > 0}
    names: Counter[str] = Counter()
    for kind in ("no-resolver", "resolver"):
        names.update({name: seen.times for name, seen in (errors.of(kind) if errors else {}).items()})
    if not failed and not names:
        return None
    requests = sum(failed.values())
    tells = known.access.tells
    return Untried(
        subject="nginx",
        requests=requests if tells else NO_LOG,
        share=requests / tally.rows if tells and tally.rows else None,
        unresolved=sum(names.values()) if errors else NO_LOG,
        statuses=failed if tells else {},
        names=tuple(name for name, _ in names.most_common(5)),
        without_resolver=bool(errors and errors.of("no-resolver")),
        silent=tuple(errors.of("resolver-down"))[:3] if errors else (),
        resolvers=known.conf.resolver,
        places=tuple(str(one.place) for one in known.conf.passes if one.group is None)[:5],
        access_log=known.access.logs[0].subject if known.access.logs else None,
        error_log=known.error_log,
    )


# ── limits ───────────────────────────────────────────────────────────────────────────────────────


def limits(known: Known) -> Iterator[RateLimit]:
    """Each zone that limits anything, by the error log; and what the access log tells of all zones of a kind."""
    hits = known.errors.limits if known.errors else {}
    zones = {(zone.kind, zone.name): zone for zone in known.conf.limit_zones}
    for (kind, name), zone in zones.items():
        of_zone = {hit: seen.times for hit, seen in hits.items() if hit.zone == name and hit.limit == _LIMITS[kind]}
        yield _zone(zone, of_zone, known)
    yield from _by_status(known)


def _zone(zone: LimitZone, hits: Mapping[LimitHit, int], known: Known) -> RateLimit:
    use = next((one for one in known.conf.limit_uses if one.zone == zone.name and one.kind == zone.kind), None)
    rows = known.access.tally.rows

    def times(*, delayed: bool, dry: bool) -> int:
        return sum(count for hit, count in hits.items() if hit.delayed == delayed and hit.dry_run == dry)

    told = known.errors is not None
    rejected, delayed = times(delayed=False, dry=False), times(delayed=True, dry=False)
    return RateLimit(
        subject=f"zone {zone.name}",
        rejected=rejected if told else NO_LOG,
        share=min(1.0, rejected / rows) if told and rows else None,
        delayed=delayed if told else NO_LOG,
        rate=" ".join(part for part in (zone.rate, use.allowed if use else "") if part),
        dry_run_rejected=times(delayed=False, dry=True) if told else NO_LOG,
        dry_run_delayed=times(delayed=True, dry=True) if told else NO_LOG,
        delayed_share=min(1.0, delayed / rows) if told and rows else None,
        limit="requests" if zone.kind == "req" else "connections",
        zone=zone.name,
        key=zone.key,
        status=use.status if use else None,
        error_log=known.error_log,
        place=str(use.place if use else zone.place),
    )


def _by_status(known: Known) -> Iterator[RateLimit]:
    """What `$limit_req_status` and `$limit_conn_status` say, where the error log did not name the zone."""
    limited = known.access.tally.limited
    for kind, word in _LIMITS.items():
        counts = {state: sum(n for (one, said, _), n in limited.items() if one == kind and said == state) for state in
                  ("REJECTED", "DELAYED", "REJECTED_DRY_RUN", "DELAYED_DRY_RUN")}  # fmt: skip
        logged = sum(
            seen.times for hit, seen in (known.errors.limits if known.errors else {}).items() if hit.limit == word
        )
        if not any(counts.values()) or logged >= sum(counts.values()) // 2:
            continue
        rows = known.access.tally.rows
        statuses = {status for (one, said, status) in limited if one == kind and said == "REJECTED"}
        yield RateLimit(
            subject=f"all zones of {word}",
            rejected=counts["REJECTED"],
            share=counts["REJECTED"] / rows if rows else None,
            delayed=counts["DELAYED"],
            dry_run_rejected=counts["REJECTED_DRY_RUN"],
            dry_run_delayed=counts["DELAYED_DRY_RUN"],
            delayed_share=counts["DELAYED"] / rows if rows else None,
            limit="requests" if kind == "req" else "connections",
            status=next(iter(statuses)) if len(statuses) == 1 else None,
        )
