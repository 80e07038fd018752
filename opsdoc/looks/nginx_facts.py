"""What a running nginx and its configuration make of the servers: workers, settings of each pass, limits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opsdoc.clients.nginx import Masters
from opsdoc.host import Host
from opsdoc.looks.nginx_logs import Period
from opsdoc.looks.nginx_site import Site, changed
from opsdoc.looks.upstreams import Known
from opsdoc.model import ProbeError, Unknown
from opsdoc.parsers.error_log import Seen
from opsdoc.parsers.nginx_nouns import Conf, Group, Pass
from opsdoc.parsers.nginx_words import seconds
from opsdoc.signals.keepalive import keepalive_of
from opsdoc.signals.nginx_workers import Nginx
from opsdoc.signals.peers import NO_LOG
from opsdoc.signals.proxying import ProxyPass

_BUSY = 1.0  # seconds of CPU: a worker that has used less, ever, keeps nobody waiting
_LOAD_WINDOW = 0.5  # seconds
_TIMEOUT = 60.0  # seconds: nginx's default for connecting, sending and reading


def version_of(text: str | None) -> tuple[int, ...] | None:
    """`1.22.1` (also within `nginx/1.22.1`) as numbers."""
    found = re.search(r"(\d{1,4})\.(\d{1,4})\.(\d{1,4})", text or "")
    return tuple(int(part) for part in found.groups()) if found else None


# ── nginx itself ─────────────────────────────────────────────────────────────────────────────────


def workers(site: Site) -> int | None:
    """How many workers serve, each with a state of its own: those that run, else what the configuration says."""
    if site.master is not None:
        return len(_serving(site.master))
    written = (site.conf or Conf()).worker_processes or ""
    return int(written) if written.isdecimal() else None


def _serving(master: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [worker for worker in master["workers"] if worker["role"] == "worker" and not worker["shutting_down"]]


def load(host: Host, site: Site) -> tuple[float, ...]:
    """The cores that each serving worker uses, over half a second; nothing where none has used a second of CPU yet."""
    before = {} if site.master is None else {worker["pid"]: worker["cpu"] for worker in _serving(site.master)}
    if site.master is None or max(before.values(), default=0.0) < _BUSY:
        return ()
    try:
        began = host.now()
        host.sleep(_LOAD_WINDOW)
        masters = host.ask(Masters()).value["masters"]
        passed = host.now() - began
    except ProbeError:
        return ()
    now = [worker for master in masters if master["pid"] == site.master["pid"] for worker in _serving(master)]
    return tuple(max(0.0, one["cpu"] - before[one["pid"]]) / passed for one in now if one["pid"] in before)


def running(site: Site, known: Known, cpu: tuple[float, ...] = ()) -> Nginx | None:
    """The nginx that runs: its busiest worker against its limits, and workers that a reload left."""
    master, errors, when, stub = site.master, known.errors, known.period, known.told.stub
    if master is None:
        return None
    conf = site.conf or Conf()
    current = _serving(master)
    leaving = [worker for worker in master["workers"] if worker["shutting_down"]]
    newer = changed(site)
    connections = _most(current, "connections")
    limit = conf.worker_connections if site.conf else Unknown("its configuration could not be read")
    busiest = max(current, key=lambda worker: worker["fds"] or 0, default={"fds": None, "fd_limit": None})
    refused = sum(seen.times for seen in errors.of("connections-out").values()) if errors else NO_LOG
    reused = sum(seen.times for seen in errors.of("connections-reused").values()) if errors else NO_LOG
    return Nginx(
        subject=f"{master['version'] or 'nginx'} pid {master['pid']}",
        used=connections / limit if isinstance(connections, int) and isinstance(limit, int) else connections,
        workers=len(current),
        shutting_down=len(leaving),
        connections=connections,
        worker_connections=limit,
        refused_connections=refused,
        reused_connections=reused,
        dropped=max(0, stub.accepts - stub.handled) if stub else None,
        active=stub.active if stub else None,
        waiting=stub.waiting if stub else None,
        handled_requests=stub.requests if stub else None,
        status_page=known.told.place,
        fds=_known(busiest["fds"], "not permitted to read its descriptors"),
        fd_limit=_known(busiest["fd_limit"], "not permitted to read its limits"),
        cpu=tuple(round(one, 2) for one in cpu),
        pid=master["pid"],
        version=_known(master["version"], master["unknown"].get("version", "it is not in its program")),
        started=when.told(master["started"]),
        oldest_shutdown=_shutting_down_for(current, leaving, when) if leaving else None,
        shutdown_timeout=conf.worker_shutdown_timeout,
        old_pids=tuple(worker["pid"] for worker in leaving),
        config=master["conf"] or "",
        config_read=site.conf is not None,
        config_changed=newer[0] if newer else None,
        changed_file=newer[1] if newer else None,
        error_log=known.error_log,
        container=master["container"],
    )


def _most(workers: Sequence[Mapping[str, Any]], name: str) -> int | Unknown:
    values = [worker[name] for worker in workers if worker[name] is not None]
    return max(values) if values else Unknown("not permitted to see the sockets of its workers")


def _known(value: Any, why: str) -> Any:
    return Unknown(why) if value is None else value


def _shutting_down_for(
    current: Sequence[Mapping[str, Any]], leaving: Sequence[Mapping[str, Any]], when: Period
) -> float | Unknown:
    """At least for so long: since the first of the workers that came after the oldest of them."""
    oldest = min(worker["started"] for worker in leaving)
    after = [worker["started"] for worker in [*current, *leaving] if worker["started"] > oldest]
    return max(0.0, when.until - min(after)) if after else Unknown("no worker has come after it")


# ── passes ───────────────────────────────────────────────────────────────────────────────────────


def passes(known: Known, version: tuple[int, ...] | None, waiting: Mapping[str, int] | None) -> Iterator[ProxyPass]:
    """Each pass to a group, with the settings in force; `waiting` are the connections in TIME_WAIT by address."""
    groups = {group.name: group for group in known.conf.groups}
    no_ports = known.errors.of("no-local-port") if known.errors else None
    for one in known.conf.passes:
        group = groups.get(one.group or "")
        if group is not None:
            yield _pass(one, group, known, version, waiting, no_ports)


def _pass(
    one: Pass,
    group: Group,
    known: Known,
    version: tuple[int, ...] | None,
    waiting: Mapping[str, int] | None,
    no_ports: Mapping[str, Seen] | None,
) -> ProxyPass:
    set_header = one.settings.get("set_header")
    dropped = "header Connection dropped" in one.settings and set_header is not None
    kept = keepalive_of(
        version,
        group.keepalive,
        not group.implicit,
        _first(one, "http_version"),
        _first(one, "header Connection"),
        str(set_header.place) if dropped and set_header else None,
        one.kind,
    )
    tries = _first(one, "next_upstream_tries")
    addresses = [server.address for server in group.servers]
    default = "1.1" if version is not None and version >= (1, 29, 7) else "1.0"
    http = _first(one, "http_version") or (default if version else Unknown("the version of nginx is not known"))
    return ProxyPass(
        subject=f"{_where(one)} → {group.name}",
        keepalive=kept.state,
        http_version=http if one.kind == "proxy" else None,
        group=group.name,
        target=one.target,
        location=one.location,
        module=one.kind,
        servers=sum(not server.backup and not server.down for server in group.servers),
        tls=one.tls,
        next_upstream=_args(one, "next_upstream") or ("error", "timeout"),
        next_upstream_place=_place(one, "next_upstream"),
        non_idempotent="non_idempotent" in _args(one, "next_upstream"),
        tries=int(tries) if tries and tries.isdecimal() else 0,
        tries_place=_place(one, "next_upstream_tries"),
        retry_timeout=_time(one, "next_upstream_timeout", 0.0) or None,
        connect_timeout=_time(one, "connect_timeout", _TIMEOUT),
        read_timeout=_time(one, "read_timeout", _TIMEOUT),
        keepalive_why=kept.why,
        keepalive_place=kept.place,
        keepalive_wanted=bool(group.keepalive),
        connect_zero_share=_zero_share(addresses, known),
        time_wait=sum(waiting.get(address, 0) for address in addresses) if waiting is not None else Unknown("not seen"),
        no_ports=sum(seen.times for who, seen in no_ports.items() if who in addresses)
        if no_ports is not None
        else NO_LOG,
        loopback=all(address.startswith(("127.", "[::1]", "localhost:", "unix:")) for address in addresses),
        place=str(one.place),
    )


def _where(one: Pass) -> str:
    name = one.server_names[0] if one.server_names else ""
    return " ".join(part for part in (name, one.location) if part) or str(one.place)


def _args(one: Pass, name: str) -> tuple[str, ...]:
    setting = one.settings.get(name)
    return setting.args if setting else ()


def _first(one: Pass, name: str) -> str | None:
    args = _args(one, name)
    return args[0] if args else None


def _place(one: Pass, name: str) -> str | None:
    setting = one.settings.get(name)
    return str(setting.place) if setting and setting.place else None


def _time(one: Pass, name: str, default: float) -> float:
    found = seconds(_first(one, name) or "")
    return default if found is None else found


def _zero_share(addresses: Sequence[str], known: Known) -> float | Unknown | None:
    """The share of attempts that took no time to connect."""
    if not known.access.tally.has("upstream_connect_time"):
        return Unknown("the log has no $upstream_connect_time")
    seen = [known.access.tally.connect(address) for address in addresses]
    total = sum(one.n for one in seen)
    return sum((one.zero or 0.0) * one.n for one in seen) / total if total else None
