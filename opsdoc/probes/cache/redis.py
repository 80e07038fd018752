"""Redis, whatever it is: alone, replicated, watched by Sentinels or a Cluster; found out by asking it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

from opsdoc.clients.redis_target import Target
from opsdoc.host import Host
from opsdoc.looks import redis_report, redis_watch
from opsdoc.model import Observation, Total, Unseen, UsageError, Window
from opsdoc.options import Duration, Opt, PasswordEnv, PasswordFile, Rows, TlsCa, Url, WindowLength
from opsdoc.probes import probe
from opsdoc.signals import cache_cause, cache_health, hit_rate
from opsdoc.signals.cache_facts import BigKey, CacheCluster, CacheNode, KeySample, SentinelView
from opsdoc.signals.hit_rate_facts import HitRate

MOST_SAMPLED = 100_000  # keys of a node; the time for them is bounded, too

_TOUCHES = (
    (
        "each node: one connection that is closed at the end; asks INFO twice, its counters three times within the "
        "window and, once, for the slow log, the cluster or the Sentinels, and three PINGs: they change nothing and "
        "count as no hit or miss"
    ),
    "each master: the sizes of 30 keys (--sample), with SCAN and MEMORY USAGE, which do not count, for at most 0.25 s",
    "nodes that these tell of are asked, too, with the same user and password",
)


@probe(
    judges=(hit_rate, cache_health),
    observes=(HitRate, CacheNode, CacheCluster, SentinelView, BigKey, KeySample),
    precedence=cache_cause.PRECEDENCE,
    example="opsdoc cache redis --url redis://10.0.0.1:6379",
    touches=_TOUCHES,
)
def redis(
    host: Host,
    *,
    url: Annotated[list[Url], Opt("redis://HOST:PORT, rediss:// for TLS, or unix:///PATH", "URL")],
    sample: Annotated[int, Opt("look at the size of so many keys of each master (0 = none)", "N")] = 30,
    user: Annotated[str | None, Opt("the user of an ACL", "NAME", group="How to get in")] = None,
    password_env: PasswordEnv = None,
    password_file: PasswordFile = None,
    tls_ca: TlsCa = None,
    tls_cert: Annotated[Path | None, Opt("our certificate", "FILE", group="How to get in")] = None,
    tls_key: Annotated[Path | None, Opt("the key of our certificate", "FILE", group="How to get in")] = None,
    window: WindowLength = Duration(2),
    rows: Rows = 5,
) -> Iterator[Observation | Unseen | Total | Window]:
    """Tell the hit rate of Redis now, why it is so, and whether its nodes, cluster and Sentinels are well.

    One node is enough: replicas, masters, Sentinels and the nodes of a cluster are asked, too. All nodes are shown; -n
    is for the biggest keys. A window of 0 shows totals only, which say nothing of now.
    """
    if not url:
        raise UsageError("--url is empty: write redis://HOST:PORT")
    if sample > MOST_SAMPLED:
        raise UsageError(f"bad --sample '{sample}': at most {MOST_SAMPLED}")
    targets = [
        Target.of(
            one,
            user=user,
            password_env=password_env,
            password_file=password_file,
            ca=tls_ca,
            certificate=tls_cert,
            private_key=tls_key,
        )
        for one in url
    ]
    found = redis_watch.watch(host, targets, window, sample)
    yield from redis_report.items(found, window, rows)
