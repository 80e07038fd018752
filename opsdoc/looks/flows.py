"""Whose attempts these were: the traces of an access log, shared out to the groups of servers that were tried."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from opsdoc.parsers.attempts import NO_LIVE, Trace, Visit
from opsdoc.parsers.nginx_nouns import Group

UNLISTED = "(no group)"  # that of servers which no configuration names
_TOO_MANY = 429  # the one status below 500 that nginx itself takes for a failure


@dataclass(slots=True)
class Served:
    """The attempts on one server as part of one group. `saved` are failed ones that another server made good."""

    attempts: int = 0
    first: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    saved: int = 0


@dataclass(slots=True)
class Flow:
    """The requests of one group. Of `requests`, `masked` were saved by a retry.

    `lost` are those that failed at its last server and for the client: from a cache or an error page it may have had an
    answer all the same.
    """

    requests: int = 0
    lost: int = 0
    masked: int = 0
    no_live: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    servers: dict[str, Served] = field(default_factory=dict)
    shared: set[str] = field(default_factory=set)  # addresses whose attempts may belong to another group


def addresses_of(groups: Iterable[Group], resolved: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The names of the groups in which each address stands; names stand for what they are resolved to."""
    found: dict[str, list[str]] = {}
    for group in groups:
        for server in group.servers:
            for address in peers(server.address, resolved):
                names = found.setdefault(address, [])
                if group.name not in names:
                    names.append(group.name)
    return {address: tuple(names) for address, names in found.items()}


def peers(address: str, resolved: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The addresses that a `server` of the configuration stands for, as nginx logs them."""
    host, colon, port = address.rpartition(":")
    if not colon or address.startswith("unix:") or host not in resolved:
        return (address,)
    return tuple(f"[{one}]:{port}" if ":" in one else f"{one}:{port}" for one in resolved[host])


def shared_out(
    traces: Mapping[Trace, int], named: Mapping[str, tuple[str, ...]], groups: Iterable[str]
) -> dict[str, Flow]:
    """The flow of each group. An address that stands in several is counted in each that could have been tried."""
    known = set(groups)
    flows: dict[str, Flow] = {}
    for trace, count in traces.items():
        for visit in trace.visits:
            candidates = _candidates(visit, named, known)
            for name in candidates:
                flow = flows.setdefault(name, Flow())
                _add(flow, visit, count, trace.status, last=visit is trace.visits[-1])
                if len(candidates) > 1:
                    flow.shared.update(attempt.address for attempt in visit.attempts)
    return flows


def _candidates(visit: Visit, named: Mapping[str, tuple[str, ...]], groups: set[str]) -> tuple[str, ...]:
    """The groups that a visit can have been to: the name that nginx logged, or those with all of its addresses."""
    said = [attempt.address for attempt in visit.attempts if attempt.cause == NO_LIVE]
    if said:
        return (said[0],)
    sets = [set(named[attempt.address]) for attempt in visit.attempts if attempt.address in named]
    if not sets:
        return (UNLISTED,)
    common = set.intersection(*sets) & groups
    return tuple(sorted(common or sets[0]))


def _add(flow: Flow, visit: Visit, count: int, status: int | None, *, last: bool) -> None:
    tried = [attempt for attempt in visit.attempts if attempt.cause != NO_LIVE]
    end = visit.attempts[-1]
    fine = not end.cause and not end.given_up  # a client that left has seen no success
    flow.requests += count
    flow.no_live += count * (len(tried) < len(visit.attempts))
    flow.masked += count * (fine and len(visit.attempts) > 1)
    flow.lost += count * (end.cause != "" and last and (status is None or status >= 500 or status == _TOO_MANY))
    if status is not None:
        flow.statuses[str(status)] += count
    for position, attempt in enumerate(tried):
        served = flow.servers.setdefault(attempt.address, Served())
        served.attempts += count
        served.first += count * (position == 0)
        if attempt.cause:
            served.failures[attempt.cause] += count
            served.saved += count * fine
