"""Which finding about nginx is the headline when several hold: the one table of precedence."""

from __future__ import annotations

# Of two findings of equal severity the one higher up explains the other, so it comes first.
PRECEDENCE: tuple[str, ...] = (
    "workers.connections",  # nginx itself refuses: whatever the servers do
    "workers.descriptors",
    "proxying.ports",  # nor can it open connections to them
    "upstream.stale-name",  # what is down is not there any more
    "untried.resolver",  # no server was even tried
    "upstream.all-down",
    "upstream.single",
    "upstream.down",
    "upstream.flapping",
    "upstream.errors",
    "upstream.timeouts",
    "upstream.failing",
    "limit.rejected",  # no server's fault, and looks like one
    "upstream.lost",  # a symptom that no server explains
    "untried.unexplained",
    "upstream.slow",
    "limit.delayed",
    "upstream.backup",
    "upstream.masked",
    "upstream.recovered",
    "upstream.unbalanced",
    "log.other-format",  # what follows was judged without it
    "workers.no-config",
    "upstream.unknown",
    "workers.none",
    "workers.dropped",
    "workers.config-newer",
    "workers.uneven",
    "workers.shutting-down",
    "log.none",
    "log.no-upstream",
    "log.unread",
    "proxying.keepalive",
    "proxying.retries-unbounded",
    "proxying.non-idempotent",
    # What is only ever in order, or advice
    "proxying.old-http",
    "proxying.single",
    "limit.dry-run",
    "log.capped",
    "upstream.fine",
    "upstream.none",
    "limit.quiet",
    "log.read",
)
