"""nginx's own processes: connections and descriptors against their limits, old workers, and what configuration runs."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unseen, known, measure
from opsdoc.signals.access_log import AccessLogRead
from opsdoc.signals.amounts import duration, number, percent
from opsdoc.signals.balance import medians_of_others
from opsdoc.signals.peers import UpstreamGroup, UpstreamServer
from opsdoc.signals.proxying import ProxyPass


class Nginx(Observation):
    """A running nginx: its master and the workers of the configuration in force."""

    kind: ClassVar[str] = "nginx"
    used: float | Unknown | None = measure("connections in use", "ratio", "main")
    workers: int = measure("workers", "count", "line", default=1)
    shutting_down: int = measure("shutting down", "count", "line", default=0)
    connections: int | Unknown | None = measure("connections of the busiest worker", "count")
    worker_connections: int | Unknown | None = measure("worker_connections", "count")
    refused_connections: int | Unknown | None = measure("connections refused for want of them", "count")
    reused_connections: int | Unknown | None = measure("times that idle connections were closed to make room", "count")
    dropped: int | None = measure("connections dropped since it started", "count")
    active: int | None = measure("connections from clients", "count")
    waiting: int | None = measure("of those kept open without a request", "count")
    handled_requests: int | None = measure("requests since it started", "count")
    status_page: str | None = measure("status page, configured at")
    fds: int | Unknown | None = measure("descriptors of the busiest worker", "count")
    fd_limit: int | Unknown | None = measure("descriptors it may have", "count")
    cpu: tuple[float, ...] = measure("CPU of each worker", "cores", default=())
    pid: int = measure("pid", "id", default=0)
    version: str | Unknown = measure("version", default=Unknown("its program could not be asked"))
    started: str | None = measure("started", "time")
    oldest_shutdown: float | Unknown | None = measure("the oldest shuts down for", "seconds")
    shutdown_timeout: float | None = measure("worker_shutdown_timeout", "seconds")
    old_pids: tuple[int, ...] = measure("pids of those", "id", default=())
    config: str = measure("configuration", default="")
    config_read: bool = measure("its configuration could be read", default=True)
    config_changed: float | None = measure("configuration newer than the workers by", "seconds")
    changed_file: str | None = measure("newest file")
    error_log: str | None = measure("error log")
    container: str | None = measure("container")


class Limits(NamedTuple):
    """From which share, time or load on it matters."""

    used: Limit = Limit(0.7, 0.9, "ratio", "a proxied request takes two connections; beyond the last one nginx refuses")
    refused: Limit = Limit(1, 1, "count", "each line 'worker_connections are not enough' is a client that was refused")
    descriptors: Limit = Limit(0.7, 0.9, "ratio", "each connection and each open file takes one; without one it fails")
    old: Limit = Limit(600.0, None, "seconds", "ten minutes after a reload only long connections are left")
    busy: Limit = Limit(0.9, None, "cores", "of one worker, while the others have less than a third: it is one thread")


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Each running nginx; that none runs is told where a configuration was looked at."""
    running = [o for o in observations if isinstance(o, Nginx)]
    for one in running:
        if not one.config_read:
            yield _unread(one, unseen)
            continue
        yield from _connections(one, limits)
        yield from _dropped(one)
        yield from _descriptors(one, limits.descriptors)
        yield from _old_workers(one, limits.old)
        yield from _configuration(one)
        yield from _uneven(one, limits.busy)
    if not running:
        yield from _none(observations)


def _unread(one: Nginx, unseen: Sequence[Unseen]) -> Finding:
    why = next((u for u in unseen if u.subject.startswith("configuration")), None)
    finding = _finding(
        one,
        "workers.no-config",
        Severity.UNKNOWN,
        f"which servers {one.subject} has is unknown: its configuration"
        + (f" could not be read: {why.detail}" if why else " could not be read"),
    )
    return finding._replace(next_step=why.hint if why else "", by_hand=("pgrep -a nginx",))


def _finding(one: Nginx, rule: str, severity: Severity, summary: str) -> Finding:
    return Finding(
        rule=rule,
        key=f"{rule}:{one.config or 'nginx'}",
        severity=severity,
        subject=one.subject,
        summary=summary,
        evidence=(one.id,),
    )


def _connections(one: Nginx, limits: Limits) -> Iterator[Finding]:
    refused, used = known(one.refused_connections), known(one.used)
    rule = "workers.connections"
    if refused is None and used is None:
        reasons = [value.reason for value in (one.used, one.refused_connections) if isinstance(value, Unknown)]
        if reasons:
            yield _finding(one, rule, Severity.UNKNOWN, f"connections of {one.subject} are unknown: {reasons[0]}")
        return
    by_use, by_refusal = limits.used.grade(used or 0.0), limits.refused.grade(refused or 0)
    reused = known(one.reused_connections) or 0
    severity = max(by_use, by_refusal, Severity.WARNING if reused else Severity.OK)
    of = f" of {known(one.worker_connections):,} worker_connections" if known(one.worker_connections) else ""
    open_now = known(one.connections)
    busiest = f"{open_now:,}{of}" if open_now is not None else f"{percent(used or 0.0)} of its worker_connections"
    if severity is Severity.OK:
        said = f"busiest worker has {busiest}" if used is not None else "no connection was refused by a worker"
        yield _finding(one, rule, severity, said)
        return
    said = f"the busiest worker of {one.subject} has {busiest}" if used is not None else ""
    lines = f"{number(refused or 0, 'connection')} refused: worker_connections are not enough" if refused else ""
    room = f"{number(reused, 'time')} idle connections closed to make room" if reused and not refused else ""
    by_refused = by_refusal is severity
    yield _finding(one, rule, severity, "; ".join(filter(None, [lines, room, said])))._replace(
        threshold=limits.refused.crossed("nginx_workers.refused", refused or 0)
        if by_refused
        else limits.used.crossed("nginx_workers.used", used or 0.0),
        next_step="raise worker_connections (and worker_rlimit_nofile to twice as much), after a look at what holds "
        "them: slow servers, long polls, keepalive_timeout; a proxied request takes two",
        by_hand=("ss -s", *_grep(one, "worker_connections are not enough")),
    )


def _grep(one: Nginx, text: str) -> tuple[str, ...]:
    if not one.error_log or not one.error_log.startswith("/"):
        return ()
    return (f"tail -n 10000 {shlex.quote(one.error_log)} | grep -cF {shlex.quote(text)}",)


def _dropped(one: Nginx) -> Iterator[Finding]:
    """By stub_status, since the start; without the error log nobody knows whether some of them are new."""
    refused = known(one.refused_connections)
    if not one.dropped or refused:  # then the finding about those says it
        return
    fresh = refused is None
    since = f" ({one.started})" if one.started else ""
    in_window = "whether in this time is not known" if fresh else "none in this time"
    yield _finding(
        one,
        "workers.dropped",
        Severity.WARNING if fresh else Severity.OK,
        f"{number(one.dropped, 'connection')} dropped since {one.subject} started{since}: accepts less handled of its "
        f"status page; {in_window}",
    )._replace(
        confidence="its status page",
        next_step="worker_connections or descriptors were not enough: look for it in the error log, and raise them",
        by_hand=_grep(one, "worker_connections are not enough"),
    )


def _descriptors(one: Nginx, limit: Limit) -> Iterator[Finding]:
    fds, most = known(one.fds), known(one.fd_limit)
    if fds is None or not most:
        return
    severity = limit.grade(fds / most)
    said = f"{fds:,} of {most:,} descriptors"
    said = f"at most {said} in a worker" if severity is Severity.OK else f"busiest worker of {one.subject} has {said}"
    finding = _finding(one, "workers.descriptors", severity, said)
    if severity is not Severity.OK:
        finding = finding._replace(
            threshold=limit.crossed("nginx_workers.descriptors", fds / most),
            next_step="raise worker_rlimit_nofile, and LimitNOFILE of the unit where it is lower",
            by_hand=(f"grep files /proc/$(pgrep -P {one.pid} -o)/limits", "ss -s", *_grep(one, "Too many open files")),
        )
    yield finding


def _old_workers(one: Nginx, limit: Limit) -> Iterator[Finding]:
    since = known(one.oldest_shutdown)
    if not one.shutting_down:
        return
    many = number(one.shutting_down, "worker")
    age = f" for {duration(since)}" if since is not None else ""
    severity = Severity.OK if since is None else limit.grade(since)
    bound = (
        "no worker_shutdown_timeout"
        if one.shutdown_timeout is None
        else f"worker_shutdown_timeout {duration(one.shutdown_timeout)}"
    )
    finding = _finding(
        one,
        "workers.shutting-down",
        severity,
        f"{many} of {one.subject} shut down{age} after a reload: long connections keep the old configuration ({bound})",
    )
    if severity is not Severity.OK and since is not None:
        finding = finding._replace(
            threshold=limit.crossed("nginx_workers.old", since),
            next_step="see whose connections they are (WebSocket, downloads, long polls); they use the old "
            "configuration and its servers; worker_shutdown_timeout bounds it from the next reload on",
            by_hand=tuple(f"ss -tnp | grep -F pid={pid}," for pid in one.old_pids[:3])
            or ("ps -C nginx -o pid,etime,args",),
        )
    yield finding


def _configuration(one: Nginx) -> Iterator[Finding]:
    """Whether what is on disk is what runs; everything that is said of the configuration rests on that."""
    newer = one.config_changed
    if newer is None:
        return
    file = one.changed_file or one.config
    yield _finding(
        one,
        "workers.config-newer",
        Severity.WARNING,
        f"{file} was changed {duration(newer)} after the workers of {one.subject} started: what runs is not what is "
        "written, and what is said here of the configuration is of the file",
    )._replace(
        confidence="times of the files and of the processes",
        next_step="see what was changed and whether a reload was forgotten or failed (the error log says so)",
        by_hand=(
            f"ls -l --time-style=full-iso {shlex.quote(file)}",
            "ps -C nginx -o pid,lstart,args",
            *_grep(one, "[emerg]"),
        ),
    )


def _uneven(one: Nginx, limit: Limit) -> Iterator[Finding]:
    """One worker that works for all; a worker is one thread, and cannot use more than a core."""
    if len(one.cpu) < 2:
        return
    place = max(range(len(one.cpu)), key=one.cpu.__getitem__)
    most, usual = one.cpu[place], medians_of_others(one.cpu)[place]
    uneven = most >= 3 * usual and limit.grade(most) is not Severity.OK
    if not uneven:
        yield _finding(one, "workers.uneven", Severity.OK, f"busiest worker uses {most:.2f} cores")
        return
    yield _finding(
        one,
        "workers.uneven",
        limit.grade(most),
        f"one of {number(len(one.cpu), 'worker')} of {one.subject} uses {most:.2f} cores, the others {usual:.2f}",
    )._replace(
        threshold=limit.crossed("nginx_workers.busy", most),
        next_step="few long connections (HTTP/2, a load balancer in front) stay with the worker that accepted them: "
        "listen ... reuseport spreads new ones; see what it does with opsdoc cpu",
        by_hand=(f"top -b -n 1 -p $(pgrep -P {one.pid} -d,)",),
    )


def _none(observations: Sequence[Observation]) -> Iterator[Finding]:
    """No nginx was seen: a log with lines proves that one runs somewhere, a configuration alone does not."""
    groups = [o for o in observations if isinstance(o, UpstreamGroup)]
    if not groups and not any(isinstance(o, ProxyPass) for o in observations):
        return
    served = any(known(group.requests) for group in groups)
    served = served or any(isinstance(o, AccessLogRead) and known(o.rows) for o in observations)
    served = served or any(isinstance(o, UpstreamServer) and known(o.error_log) for o in observations)
    finding = Finding(
        rule="workers.none",
        key="workers.none:nginx",
        severity=Severity.OK if served else Severity.UNKNOWN,
        subject="nginx",
        summary="no nginx was looked at: judged by configuration and logs alone",
    )
    if not served:
        finding = finding._replace(
            summary="no nginx was seen running, and no log has a request: whether it serves is unknown",
            next_step="run it on the machine of nginx, or give it that machine's logs",
            by_hand=("pgrep -a nginx", "systemctl status nginx"),
        )
    yield finding
