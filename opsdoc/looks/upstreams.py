"""Groups and their servers: what the configuration names, joined with the logs of the window and a connection now."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice, pairwise
from types import MappingProxyType
from typing import Any, NamedTuple

from opsdoc.clients.addresses import name_of
from opsdoc.looks.failures import finer, is_counted, passed_on
from opsdoc.looks.flows import UNLISTED, Flow, Served, addresses_of, peers, shared_out
from opsdoc.looks.nginx_logs import Access, Period
from opsdoc.looks.nginx_now import Now
from opsdoc.looks.nginx_status import Told
from opsdoc.model import Unknown
from opsdoc.parsers.access_log import SLOT
from opsdoc.parsers.error_log import ErrorTally, Seen
from opsdoc.parsers.nginx_nouns import Conf, Group, Pass, Server
from opsdoc.signals.peers import NO_LOG, ServerPart, UpstreamGroup, UpstreamServer, state_of

_PARTS = 64  # servers of a group that are in its picture
_NO_SERVERS = Unknown("the access log does not say which server was tried")
_NOT_DIALLED = "it was not dialled"
_OF_A_REQUEST = ("hash", "ip_hash", "sticky", "lua")  # methods that do not share by weight


class Known(NamedTuple):
    """All that is known of the servers, from everywhere."""

    conf: Conf
    access: Access
    errors: ErrorTally | None
    now: Now
    period: Period
    workers: int | None
    error_log: str | None = None
    told: Told = Told()
    no_live: Mapping[str, Seen] = MappingProxyType({})  # by group, of the error log

    @property
    def untold(self) -> Unknown:
        """Why it is not known what became of the attempts."""
        return _NO_SERVERS if self.access.logs else NO_LOG


class Joined(NamedTuple):
    """One group with its servers."""

    group: UpstreamGroup
    servers: tuple[UpstreamServer, ...]

    @property
    def troubled(self) -> bool:
        """Whether anything of it is not as it should be."""
        return bool(self.group.no_live) or any(one.state in ("failing", "down", "flapping") for one in self.servers)


def joined(known: Known) -> list[Joined]:
    """Every group that anything passes to, in the order of the configuration; then what only the log knows."""
    by_group: dict[str | None, list[Pass]] = {}
    for one in known.conf.passes:
        by_group.setdefault(one.group, []).append(one)
    groups = [group for group in known.conf.groups if _is_used(group, by_group)]
    resolved = _with_those_in_use(groups, known)
    named = addresses_of(groups, resolved)
    flows = shared_out(known.access.tally.traces, named, [group.name for group in groups])
    errors = known.errors.failures() if known.errors else {}
    known = known._replace(no_live=known.errors.of("no-live") if known.errors else {})
    found = [
        _group(group, flows.pop(group.name, None), named, resolved, errors, known, by_group.get(group.name, ()))
        for group in groups
    ]
    by_error = {address: lines for address, lines in errors.items() if address and address not in named}
    if by_error and _may_be_any(known.conf):
        flow = flows.setdefault(UNLISTED, Flow())
        for address in islice(by_error, _PARTS):
            flow.servers.setdefault(address, Served())
    return [*found, *(_unlisted(name, flow, errors, known) for name, flow in flows.items())]


def _may_be_any(conf: Conf) -> bool:
    """Whether requests may go to servers that it does not name: there is none, or only a request tells the address."""
    return not conf.groups or any(one.group is None for one in conf.passes)


def _is_used(group: Group, by_group: Mapping[str | None, Sequence[Pass]]) -> bool:
    """Where a target depends on the request, it may be any group. Groups of `stream` are all in use."""
    return group.protocol == "stream" or None in by_group or group.name in by_group


def _with_those_in_use(groups: Sequence[Group], known: Known) -> dict[str, Sequence[str]]:
    """What names stand for, with the addresses that the log has beside: nginx asked for them when it started.

    An address that nothing names belongs to the one name with its port, if there is just one.
    """
    now = {name: list(found) for name, found in known.now.resolved.items()}
    by_port: dict[str, set[str]] = {}
    for group in groups:
        for server in group.servers:
            if name := name_of(server.address):
                by_port.setdefault(server.address.rpartition(":")[2], set()).add(name)
    stated = addresses_of(groups, now)
    for address in known.access.tally.servers:
        host, _, port = address.rpartition(":")
        if address not in stated and len(by_port.get(port, ())) == 1:
            (name,) = by_port[port]
            now.setdefault(name, []).append(host.strip("[]"))
    return {name: tuple(found) for name, found in now.items()}


# ── one group ────────────────────────────────────────────────────────────────────────────────────


def _group(
    group: Group,
    flow: Flow | None,
    named: Mapping[str, Sequence[str]],
    resolved: Mapping[str, Sequence[str]],
    errors: Mapping[str, Mapping[str, Any]],
    known: Known,
    passes: Sequence[Pass] = (),
) -> Joined:
    tells = known.access.tells and group.protocol == "http"
    flow = flow or Flow()
    rows = [(server, address) for server in group.servers for address in peers(server.address, resolved)]
    primaries = [(server, address) for server, address in rows if not server.backup and not server.down]
    first = sum(flow.servers[address].first for _, address in primaries if address in flow.servers)
    weights = sum(server.weight for server, _ in primaries)
    servers = tuple(
        _server(
            group, server, address, flow.servers.get(address, Served()), known, passes,
            lines=errors.get(address, {}),
            first=first,
            weights=weights,
            tells=tells,
            others=tuple(name for name in named.get(address, ()) if name != group.name and address in flow.shared),
        )
        for server, address in rows
    )  # fmt: skip
    return Joined(_observed_group(group, flow, servers, known, tells=tells), servers)


def _observed_group(
    group: Group, flow: Flow, servers: Sequence[UpstreamServer], known: Known, *, tells: bool
) -> UpstreamGroup:
    logged = known.no_live.get(group.name)
    no_live = max(flow.no_live, logged.times if logged else 0)
    retry = known.access.tally.retry_seconds
    backups = sum(one.attempts for one in servers if one.backup and isinstance(one.attempts, int))
    log = known.access.logs[0] if known.access.logs else None
    return UpstreamGroup(
        subject=group.name,
        error_share=_share(flow.lost, flow.requests) if tells else known.untold,
        requests=flow.requests if tells else known.untold,
        no_live=no_live if tells or known.errors else known.untold,
        masked=flow.masked if tells else known.untold,
        retry_seconds=retry.p50 if tells and flow.masked and retry.n else None,
        lost=flow.lost if tells else known.untold,
        masked_share=_share(flow.masked, flow.requests) if tells else known.untold,
        backup_attempts=backups if tells else known.untold,
        server_count=len(group.servers),
        primaries=sum(not server.backup and not server.down for server in group.servers),
        usable=sum(one.state not in ("down", "off") for one in servers),
        method=group.method,
        key=_key(group.method),
        zone=group.zone,
        implicit=group.implicit,
        workers=known.workers,
        statuses=dict(flow.statuses),
        servers=tuple(map(_part, servers[:_PARTS])),
        access_log=log.subject if log else None,
        error_log=known.error_log,
        place=str(group.place) if group.place.file else None,
    )


def _part(one: UpstreamServer) -> ServerPart:
    """What the picture of a group shows of a server."""
    failed = NO_LOG if isinstance(one.failures, Unknown) else sum(one.failures.values())
    return ServerPart(
        one.server, one.attempts, failed, one.share, one.expected_share, one.p50, one.p95, one.state, one.probed
    )


def _key(method: str) -> str | None:
    words = method.split()
    return words[1] if words[:1] == ["hash"] and len(words) > 1 else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


# ── one server ───────────────────────────────────────────────────────────────────────────────────


def _server(
    group: Group,
    server: Server,
    address: str,
    served: Served,
    known: Known,
    passes: Sequence[Pass],
    *,
    lines: Mapping[str, Any],
    first: int,
    weights: int,
    tells: bool,
    others: tuple[str, ...],
) -> UpstreamServer:
    said = known.now.said.get(address) or known.now.said.get(server.address)
    peers_of = known.told.peers
    peer = peers_of.get((group.name, address)) or peers_of.get((group.name, server.address))
    written = {cause: seen.times for cause, seen in lines.items()}
    failures = finer(served.failures, written)
    failures |= passed_on(served.attempts - sum(failures.values()), written, failures)
    by_weight = not group.method.startswith(_OF_A_REQUEST) and not server.backup and not server.down
    name = name_of(server.address)
    current = tuple(known.now.resolved.get(name, ())) if name else ()
    host = address.rpartition(":")[0].strip("[]")
    stale = (host,) if current and host not in current else ()
    seen = UpstreamServer(
        subject=f"{group.name} {address}" if group.name != address else address,
        group=group.name,
        server=address,
        failure_share=(_share(sum(failures.values()), served.attempts)) if tells else known.untold,
        state="off" if server.down or (peer and peer.state == "down") else "unknown",
        attempts=served.attempts if tells else known.untold,
        share=_share(served.first, first) if tells and not server.backup else known.untold if not tells else None,
        expected_share=_share(server.weight, weights) if by_weight else None,
        probed=str(said["result"])
        if said and said["result"] != "skipped"
        else Unknown(_why_not(server, said, known.now)),
        said=peer.state if peer else None,
        said_requests=peer.requests if peer else None,
        said_failures=(peer.statuses.get("5xx") if peer.fails is None else peer.fails) if peer else None,
        probe_seconds=said["seconds"] if said else None,
        failures=failures if tells else known.untold,
        error_log=written if known.errors else NO_LOG,
        masked_retries=served.saved if tells else known.untold,
        counted=is_counted(failures, served.failures, passes),
        first_attempts=served.first if tells else known.untold,
        backup=server.backup,
        weight=server.weight,
        max_fails=server.max_fails,
        fail_timeout=server.fail_timeout,
        addresses=current,
        stale=stale,
        shared_with=others,
        place=str(server.place) if server.place.file else None,
        **(_timed(address, known) if tells else {}),
    )
    return seen.replaced(state=state_of(seen))


def _why_not(server: Server, said: Mapping[str, Any] | None, now: Now) -> str:
    if said:
        return str(said["detail"] or _NOT_DIALLED)
    return "the configuration has it down" if server.down else now.skipped or _NOT_DIALLED


def _timed(address: str, known: Known) -> dict[str, Any]:
    """How long it took, and when it failed: seconds before the end of the log."""
    tally = known.access.tally
    times, connect, header = tally.times(address), tally.connect(address), tally.header(address)
    series = tally.series(address)
    end = tally.last or known.period.until
    failed = [start + SLOT for start, _, bad in series if bad]
    fine = [start + SLOT for start, good, _ in series if good]
    has = tally.has
    return {
        "p50": (times.p50 if times.n else None) if has("upstream_response_time") else _lacks("upstream_response_time"),
        "p95": (times.p95 if times.n else None) if has("upstream_response_time") else _lacks("upstream_response_time"),
        "connect_p50": (connect.p50 if connect.n else None) if has("upstream_connect_time") else None,
        "header_p95": (header.p95 if header.n else None) if has("upstream_header_time") else None,
        "transitions": _changes(series),
        "last_failure": max(0.0, end - max(failed)) if failed else None,
        "last_success": max(0.0, end - max(fine)) if fine else None,
        "window": max(0.0, end - max(known.period.since, tally.first or 0.0)) if tally.first else None,
    }


def _lacks(variable: str) -> Unknown:
    return Unknown(f"the log has no ${variable}")


def _changes(series: Iterable[tuple[float, int, int]]) -> int:
    """How often it changed between mostly failing and mostly fine."""
    states = [bad > good for _, good, bad in series]
    return sum(one != other for one, other in pairwise(states))


# ── servers that no configuration names ──────────────────────────────────────────────────────────


def _unlisted(name: str, flow: Flow, errors: Mapping[str, Mapping[str, Any]], known: Known) -> Joined:
    """The servers of the logs alone, as one group: which belong together is written in the configuration only.

    Where nginx had none left to try, the log has the name of the group.
    """
    group = Group(name, tuple(Server(address) for address in sorted(flow.servers)), "unknown")
    named = dict.fromkeys(flow.servers, (name,))
    made = _group(group, flow, named, {}, errors, known._replace(conf=Conf()))
    servers = tuple(server.replaced(expected_share=None, place=None) for server in made.servers)
    return Joined(made.group.replaced(place=None, servers=tuple(map(_part, servers[:_PARTS]))), servers)


def shown(groups: Sequence[Joined], rows: int) -> Iterator[Joined]:
    """The groups to list: all with trouble, then the busiest others up to `rows` (0: all)."""
    ranked = sorted(
        groups, key=lambda one: (not one.troubled, -(one.group.requests if isinstance(one.group.requests, int) else 0))
    )
    for place, one in enumerate(ranked):
        if one.troubled or not rows or place < rows:
            yield one
