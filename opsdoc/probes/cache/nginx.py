"""nginx's own cache of answers (proxy_cache and its kin): what each zone hits, by the access log, and its folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from opsdoc.host import Host
from opsdoc.looks import nginx_cache, nginx_cache_folder, nginx_facts, nginx_logs, nginx_site
from opsdoc.looks.nginx_options import (
    AccessLogs,
    ConfFile,
    FormatText,
    MasterPid,
    MostLines,
    Since,
    Version,
)
from opsdoc.model import Observation, Total, Unseen, Window
from opsdoc.options import Duration, Opt, Rows
from opsdoc.probes import probe
from opsdoc.signals import cache_cause, cache_health, hit_rate
from opsdoc.signals.cache_facts import CacheNode
from opsdoc.signals.hit_rate_facts import HitRate


@probe(
    judges=(hit_rate, cache_health),
    observes=(HitRate, CacheNode),
    precedence=cache_cause.PRECEDENCE,
    example="opsdoc cache nginx --since 10m",
    touches=("the folder of each cache: the sizes of its files, at most 200,000 and for 1.5 s; none is opened",),
)
def nginx(
    host: Host,
    *,
    conf: ConfFile = None,
    pid: MasterPid = None,
    log: AccessLogs = [],  # noqa: B006 - options are read, never changed
    log_format: FormatText = None,
    nginx_version: Version = None,
    since: Since = Duration(300),
    lines: MostLines = 1_000_000,
    folders: Annotated[bool, Opt("look into no folder of a cache")] = True,
    rows: Rows = 5,
) -> Iterator[Observation | Unseen | Total | Window]:
    """Tell the hit rate of nginx's cache of answers, by zone and by URL, and why it is so.

    It is counted from $upstream_cache_status in the access log. What the upstream had to answer in full (MISS, EXPIRED,
    BYPASS) is a miss; what came from the cache (HIT, STALE, UPDATING, REVALIDATED) is a hit.
    """
    site = nginx_site.find(host, conf, pid, log)
    logs = nginx_logs.sources(host, site, log, None, log_format)
    if not logs.access and (error := nginx_cache.nothing_to_look_at(site)) is not None:
        raise error
    yield from map(nginx_cache.here, (*site.unseen, *logs.unseen))
    if not log and (error := nginx_cache.none_configured(site)) is not None:
        raise error
    when = nginx_logs.period(host, logs, since)
    version = nginx_facts.version_of(nginx_version or (site.master or {}).get("core"))
    seen = nginx_cache.requests(host, site.conf, logs, when, lines, version)
    held = nginx_cache_folder.folders(host, site, when) if folders else {}
    yield from nginx_cache.items(host, site, seen, held, when, rows)
