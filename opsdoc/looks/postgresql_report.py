"""All that was seen of PostgreSQL servers, in the order in which it is told, and what they are asked for it."""

from __future__ import annotations

from collections.abc import Iterator

from opsdoc.host import Host
from opsdoc.looks import postgresql_contention as contention
from opsdoc.looks import postgresql_lag as lag
from opsdoc.looks.postgresql_disk import free
from opsdoc.looks.postgresql_watch import Seen
from opsdoc.model import Observation, Total, Unseen, Window

# Positions first, so that those of two servers are of the same moment.
FIRST = (*lag.FIRST, *contention.FIRST)
LAST = (*lag.LAST, *contention.LAST)


def items(
    host: Host, seen: Seen, rows: int, writer: str | None = None
) -> Iterator[Observation | Unseen | Total | Window]:
    """Replicas and slots, then servers and what holds them; one that was named twice once, as it was named first.

    What is judged is never cut; `rows` is for hot statements. `writer` is the address of the server that is meant to
    take writes.
    """
    by_name = lag.different(seen.watched)
    watched = list(dict.fromkeys(by_name.values()))
    writer = by_name[writer].name if writer in by_name else writer
    ends = [one.told[-1].at - one.told[0].at for one in watched if len(one.told) > 1]
    if ends:
        yield Window(round(max(ends), 3))
    yield from lag.items(watched, free(host, watched))
    yield from contention.items(watched, rows, writer)
    if seen.cut_short is not None:
        yield seen.cut_short.unseen("the end of the window")
