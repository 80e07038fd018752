"""Upstream health on stock nginx: its configuration, the logs of the last minutes, and a connection to each server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from opsdoc.clients.nginx import Connections
from opsdoc.host import Host
from opsdoc.looks import nginx_facts, nginx_limits, nginx_logs, nginx_now, nginx_site, nginx_status, upstreams
from opsdoc.looks.nginx_options import (
    MOST_LINES,
    AccessLogs,
    ConfFile,
    FormatText,
    MasterPid,
    MostLines,
    Since,
    Version,
)
from opsdoc.model import Observation, ProbeError, Total, Unreachable, Unseen
from opsdoc.options import Duration, Opt, Rows
from opsdoc.parsers.nginx_nouns import Conf
from opsdoc.probes import probe
from opsdoc.signals import access_log, nginx_workers, proxying, rate_limit, untried, upstream, upstream_cause
from opsdoc.signals.access_log import AccessLogRead
from opsdoc.signals.nginx_workers import Nginx
from opsdoc.signals.peers import UpstreamGroup, UpstreamServer
from opsdoc.signals.proxying import ProxyPass
from opsdoc.signals.rate_limit import RateLimit
from opsdoc.signals.untried import Untried

_PASSES = 100  # that are listed: a site may have thousands


@probe(
    judges=(upstream, untried, proxying, rate_limit, nginx_workers, access_log),
    observes=(Nginx, AccessLogRead, UpstreamGroup, UpstreamServer, Untried, ProxyPass, RateLimit),
    precedence=upstream_cause.PRECEDENCE,
    example="opsdoc nginx --since 10m",
    touches=(
        "each server of a group: one TCP connection (TLS where nginx uses it), closed at once, at most 64",
        "with --http-path: one GET of that path to each of them",
        "nginx's own status pages, where it has any: one GET to one page of each kind",
    ),
)
def nginx(
    host: Host,
    *,
    conf: ConfFile = None,
    pid: MasterPid = None,
    log: AccessLogs = [],  # noqa: B006 - options are read, never changed
    error_log: Annotated[Path | None, Opt("error log to read with it", metavar="FILE")] = None,
    log_format: FormatText = None,
    nginx_version: Version = None,
    since: Since = Duration(600),
    lines: MostLines = MOST_LINES,
    dial: Annotated[bool, Opt("connect to no server")] = True,
    http_path: Annotated[str | None, Opt("ask each server for this path, too", metavar="PATH")] = None,
    rows: Rows = 5,
) -> Iterator[Observation | Unseen | Total]:
    """Tell which upstream servers of nginx fail, why, and whether nginx takes them out by itself."""
    site = nginx_site.find(host, conf, pid, [*log, *filter(None, [error_log])])
    logs = nginx_logs.sources(host, site, log, error_log, log_format)
    yield from (*site.unseen, *logs.unseen)
    if site.conf is None and site.master is None and not logs.access and not logs.errors:
        raise Unreachable("no nginx runs here", "opsdoc nginx --conf FILE --log FILE")
    when = nginx_logs.period(host, logs, since)
    errors, blind = nginx_logs.errors(host, logs, when, lines)
    yield from blind
    failing = tuple(errors.failures()) if errors else ()
    dialling = nginx_now.start(host, site, failing, http_path, wanted=dial)
    asking = nginx_status.start(host, site, wanted=dial)
    version = nginx_facts.version_of(nginx_version or (site.master or {}).get("core"))
    access = nginx_logs.access(host, logs, when, lines, version)
    yield from access.unseen
    now = dialling()
    told = asking()
    yield from (*now.unseen, *told.unseen)
    known = upstreams.Known(
        site.conf or Conf(), access, errors, now, when,
        workers=nginx_facts.workers(site),
        error_log=logs.errors[0].path if logs.errors else None,
        told=told,
    )  # fmt: skip
    yield from _told(host, site, known, version, rows)


def _told(
    host: Host, site: nginx_site.Site, known: upstreams.Known, version: tuple[int, ...] | None, rows: int
) -> Iterator[Observation | Unseen | Total]:
    """The observations, those with trouble first."""
    running = nginx_facts.running(site, known, nginx_facts.load(host, site))
    if running is not None:
        yield running
    yield from known.access.logs
    groups = upstreams.joined(known)
    for one in upstreams.shown(groups, rows):
        yield one.group
        yield from one.servers
    failed = nginx_limits.untried(known)
    if failed is not None:
        yield failed
    yield Total(kind="upstream_group", number=len(groups))
    yield Total(kind="upstream_server", number=sum(len(one.servers) for one in groups))
    waiting = None
    if site.master is not None:
        try:
            waiting = host.ask(Connections(site.master["pid"])).value["time_wait"]
        except ProbeError as error:
            yield error.unseen("connections in TIME_WAIT")
    passes = list(nginx_facts.passes(known, version, waiting))
    yield from passes[: _PASSES if rows else None]
    yield Total(kind="proxy_pass", number=len(passes))
    yield from nginx_limits.limits(known)
