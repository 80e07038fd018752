"""memcached: one server or several that share the keys, by their own counters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from opsdoc.clients.memcached import Server
from opsdoc.host import Host
from opsdoc.looks import memcached as looks
from opsdoc.looks.memcached_watch import watch
from opsdoc.model import Observation, Total, Unseen, UsageError, Window
from opsdoc.options import Duration, Opt, Rows, TlsCa, WindowLength
from opsdoc.probes import probe
from opsdoc.signals import cache_cause, cache_health, hit_rate
from opsdoc.signals.cache_facts import CacheNode, Slab
from opsdoc.signals.hit_rate_facts import HitRate

_TOUCHES = (
    (
        "each server: one connection that is closed at the end; asks for `stats` at both ends of the window and three "
        "times within it, which change nothing"
    ),
)


@probe(
    judges=(hit_rate, cache_health),
    observes=(HitRate, CacheNode, Slab),
    precedence=cache_cause.PRECEDENCE,
    example="opsdoc cache memcached --server 10.0.0.1:11211 --server 10.0.0.2:11211",
    touches=_TOUCHES,
)
def memcached(
    host: Host,
    *,
    server: Annotated[list[str], Opt("HOST:PORT or /PATH of a unix socket", "HOST:PORT")],
    tls: Annotated[bool, Opt("speak TLS", group="How to get in")] = False,
    tls_ca: TlsCa = None,
    window: WindowLength = Duration(2),
    rows: Rows = 5,
) -> Iterator[Observation | Unseen | Total | Window]:
    """Tell the hit rate of memcached now, why it is so, and whether the load is spread over its servers.

    All servers are shown, and all slab classes that evict; -n is for those that do not. A window of 0 shows totals
    only, which say nothing of now.
    """
    if not server:
        raise UsageError("--server is empty: write HOST:PORT")
    servers = [Server.of(one, tls=tls or tls_ca is not None, ca=tls_ca) for one in server]
    yield from looks.items(watch(host, servers, window), window, rows)
