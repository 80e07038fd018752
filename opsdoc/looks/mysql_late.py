"""How late a MySQL replica is: Seconds_Behind_Master where it may be believed, and what to believe where it may not.

It is 0 while the link is frozen and NULL while a thread stands. A 0 counts only where something came over the link, or
where the source itself has nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from opsdoc.looks.mysql_pairs import Link, above
from opsdoc.looks.mysql_signs import NO_WINDOW, Gap, Signs, gap, period_of, signs
from opsdoc.model import Unknown

Own = Mapping[tuple[str, str], float | Unknown]


def own(links: Sequence[Link]) -> Own:
    """How late each channel is behind what it follows, by the names of replica and channel, or why nobody knows."""
    return {(link.replica.name, link.channel.name): _own(link) for link in links}


def in_all(link: Link, links: Sequence[Link], each: Own) -> float | Unknown:
    """How late it is behind the first source of a chain; by itself it sees only the server above."""
    seconds = each[link.replica.name, link.channel.name]
    if isinstance(seconds, Unknown):
        return seconds
    for upper in above(link, links):
        theirs = each[upper.replica.name, upper.channel.name]
        if isinstance(theirs, Unknown):
            return Unknown(f"{upper.replica.name}, which it follows, is a replica itself: {theirs.reason}")
        seconds = max(seconds, theirs)
    return seconds


def _own(link: Link) -> float | Unknown:
    channel, missing, seen = link.channel, gap(link), signs(link)
    if missing.is_none:
        return 0.0
    delay = channel.delay or 0.0
    if channel.behind is None:
        least = _standing(link)
        return Unknown(_null(link)) if least is None else max(0.0, least - delay)
    late = max(0.0, max(channel.behind, _under_way(link)) - delay)
    if late or missing.has_all_come:
        return late
    if not seen.is_live:
        return Unknown(_blind(link, seen))
    if not delay and _was_missing(link):
        return Unknown(f"it has applied what came, and {_amount(missing)} have not come")
    return late


def _standing(link: Link) -> float | None:
    """Of one of which a thread stands: at least so late, by what MySQL 8 and MariaDB 11.6 and later tell besides."""
    times, channel = link.times, link.channel
    if times.came and times.applied is not None and times.came not in times.last_applied:
        return times.applied
    return channel.difference or None


def _under_way(link: Link) -> float:
    """The age of a transaction that was being applied at both looks; it counts from the commit at the origin."""
    before = link.times_before.applying
    return max((age for name, age in link.times.applying.items() if name in before), default=0.0)


def _was_missing(link: Link) -> bool:
    """Whether something that the source had at the beginning of the window is not applied at its end."""
    first = None if link.source is None else link.source.first
    return first is not None and bool(first.written_beyond(link.channel, link.channel.gtid_applied))


def _amount(missing: Gap) -> str:
    if missing.unreceived is not None:
        return f"{missing.unreceived:,} transactions"
    return "some transactions" if missing.receive is None else f"{missing.receive:,} bytes"


def _null(link: Link) -> str:
    if link.channel.link == "streaming":
        return "Seconds_Behind_Master is NULL, for its SQL thread stands"
    return "Seconds_Behind_Master is NULL, for it is not connected"


def _blind(link: Link, seen: Signs) -> str:
    """Why a 0 is worth nothing, and which window would tell."""
    if link.silent is not None:
        return f"{link.primary} does not answer: {link.silent}"
    if link.elapsed is None:
        return NO_WINDOW
    nothing = f"nothing came over its link in {link.elapsed:.1f} s"
    period = period_of(link)
    if seen.expected is None or period is None:
        none = "when heartbeats are due it does not tell" if period is None else "it is set to get no heartbeats"
        return f"{nothing}, and {none}"
    if link.elapsed > seen.expected:
        return nothing
    enough = seen.expected + 1
    return f"{nothing}, where a heartbeat is due only every {period:g} s; --window {enough:.0f}s would tell"
