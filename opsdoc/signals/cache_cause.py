"""Which finding about a cache is the headline when several hold: the one table of precedence."""

from __future__ import annotations

# Of two findings of equal severity the one higher up explains the other, so it comes first.
PRECEDENCE: tuple[str, ...] = (
    "cache.loading",  # it refuses everything, whatever else is true
    "cache.node-dead",  # its keys are gone, and everything that counts them
    "cache.cluster-failed",  # what that leads to
    "cache.cluster-slots",
    "cache.sentinel-disagrees",  # clients read and write in two places
    "cache.rejected",  # clients do not even come in: no counter sees their reads
    "cache.read-only",  # fills fail, so that nothing is filled
    "cache.oom",  # as above
    "cache.memory",  # and next
    "cache.disk",
    "cache.eviction",  # causes of misses, the most certain first
    "cache.expiry-wave",
    "cache.penetration",
    "cache.expired",
    "cache.bypass",
    "cache.pattern-shift",
    "cache.low",  # no cause is known
    "cache.hot-key",  # the rate is fine, and the cache is slow
    "cache.slow",
    "cache.busy",
    "cache.latency",
    "cache.clients",
    "cache.cold",  # it passes
    "cache.checks",  # it is meant to be
    "cache.replica-link",
    "cache.failover",
    "cache.sentinel-quorum",
    "cache.no-replica",
    "cache.views-differ",
    "cache.replica-lag",
    "cache.system-memory",
    "cache.persistence",
    "cache.no-manager",  # it explains the next
    "cache.over-size",
    "cache.slab",
    "cache.evicted-unread",
    "cache.uneven",
    "cache.big-key",
    "cache.fragmentation",
    "cache.blocked",
    "cache.is-replica",  # another node was meant: that is why so little is read here
    "cache.not-judgeable",
    "cache.unknown",
    # What is only ever in order
    "cache.fine",
    "cache.healthy",
    "cache.cluster-fine",
    "cache.sentinel-fine",
)
