"""Whether a backlog grows, drains or stands still, from looks at its queues, and how sure that is.

Offsets are committed in steps: a client that commits every c seconds is at each look up to c seconds further than what
it has committed. So `d` messages committed between two looks `w` seconds apart were consumed at a rate between
d / (w + c) and d / (w - c). What is not clear within these bounds is not said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from opsdoc.model import Unknown
from opsdoc.signals.backlog_facts import STALLED, DrainTime, Part, Trend

MOST_PARTS = 64  # queues that are listed
COMMITS = 2  # that a window must have room for, before it tells a rate
CLEARLY = 0.05  # of the input: in and out that differ by less are the same
AT_LEAST = 1.0  # messages per second: as above, where there is little input


class Position(NamedTuple):
    """One queue at one look: the first offset kept, the one after the last, and the next one to be consumed.

    `committed` is None where nothing was ever committed: then nobody knows where a consumer would begin.
    """

    name: str
    low: int
    end: int
    committed: int | None
    owner: str | None = None

    @property
    def depth(self) -> int:
        """Messages kept and not consumed; all that are kept, where nothing was ever committed."""
        return max(0, self.end - max(self.low, self.low if self.committed is None else self.committed))

    @property
    def lost(self) -> int:
        """Messages that expired before they were consumed."""
        return 0 if self.committed is None else max(0, self.low - self.committed)

    @property
    def ahead(self) -> int:
        """How far the committed offset is beyond the end: so many new messages will be skipped."""
        return 0 if self.committed is None else max(0, self.committed - self.end)


class Look(NamedTuple):
    """The queues of a consumer and topic at one time, in seconds."""

    at: float
    queues: Sequence[Position]


class Rate(NamedTuple):
    """Messages per second as measured, and the bounds within which it really is."""

    value: float
    low: float
    high: float


class Flow(NamedTuple):
    """What two or more looks tell: the trend, both rates, and the time to drain where it drains."""

    trend: Trend
    in_rate: float | Unknown
    out_rate: float | Unknown
    drain: DrainTime | Unknown | None
    rewound: int = 0


def rate(count: float, seconds: float, commit_interval: float = 0.0, clients: int = 1) -> Rate:
    """The rate of a count that is told in steps; the steps of several clients even out (c / √n). `seconds` > c."""
    step = min(commit_interval / math.sqrt(max(1, clients)), seconds / 2)
    return Rate(count / seconds, count / (seconds + step), count / (seconds - step))


def trend(depth: int, depth_before: int, incoming: Rate, outgoing: Rate) -> Trend:
    """What a backlog does. It stalls only if something waited at the first look already."""
    if depth == 0:
        return "drained"
    if outgoing.value == 0 and depth_before > 0:
        return "stalled"
    clearly = max(AT_LEAST, CLEARLY * incoming.value)
    if incoming.low - outgoing.high > clearly:
        return "growing"
    return "draining" if outgoing.low - incoming.high > clearly else "steady"


def drain(depth: int, flows: Sequence[tuple[Rate, Rate]]) -> DrainTime | Unknown:
    """How long until nothing waits, by the fastest and the slowest of the flows (in, out); Unknown if any may not."""
    slowest = min(outgoing.low - incoming.high for incoming, outgoing in flows)
    fastest = max(outgoing.high - incoming.low for incoming, outgoing in flows)
    if slowest <= 0:
        return Unknown("the parts of the window disagree on whether it drains")
    return DrainTime(depth / fastest, depth / slowest)


def flow(looks: Sequence[Look], *, commit_interval: float = 0.0, clients: int = 1) -> Flow:
    """The flow from the first look to the last; with a look between them, the range of the forecast has both halves.

    Only queues that every look has are counted, so that a broker that answered once makes no flow of its own.
    """
    depth = sum(queue.depth for queue in looks[-1].queues) if looks else 0
    reason = _no_rates(looks, commit_interval)
    if reason:
        return _unmeasured(depth, reason)
    counted = [(_moved(one, two), two.at - one.at) for one, two in _spans(looks, commit_interval)]
    moved = counted[0][0]
    if moved.rewound or moved.shrunk:
        what = f"offsets were set back by {moved.rewound:,}" if moved.rewound else "the end of a queue went back"
        return _unmeasured(depth, f"{what} in the window")._replace(rewound=moved.rewound)
    flows = [
        (rate(max(0, part.entered), length), rate(max(0, part.left), length, commit_interval, clients))
        for part, length in counted
    ]
    incoming, outgoing = flows[0]
    found = trend(depth, sum(queue.depth for queue in looks[0].queues), incoming, outgoing)
    return Flow(found, incoming.value, outgoing.value, drain(depth, flows) if found == "draining" else None)


def parts(looks: Sequence[Look], *, commit_interval: float = 0.0) -> tuple[tuple[Part, ...], int | None]:
    """The queues, deepest first and those that did not move noted, and how many did not; None where that is unknown."""
    if not looks:
        return (), None
    told = not _no_rates(looks, commit_interval)
    before = {queue.name: queue for queue in looks[0].queues} if told else {}
    listed = [_part(queue, before.get(queue.name)) for queue in looks[-1].queues]
    listed.sort(key=lambda part: (-(part.depth or 0), part.note != STALLED, part.name))
    return tuple(listed[:MOST_PARTS]), sum(part.note == STALLED for part in listed) if told else None


def never_consumed(look: Look) -> int:
    """What waits in queues without any commit."""
    return sum(queue.depth for queue in look.queues if queue.committed is None)


# ── between two looks ────────────────────────────────────────────────────────────────────────────


class _Moved(NamedTuple):
    """What entered and left between two looks, how far committed offsets went back, and whether an end did."""

    entered: int
    left: int
    rewound: int
    shrunk: bool


def _no_rates(looks: Sequence[Look], commit_interval: float) -> str:
    """Why these looks tell no rate, or nothing."""
    seconds = looks[-1].at - looks[0].at if len(looks) > 1 else 0.0
    if seconds <= 0:
        return "it was looked at once"
    if seconds < COMMITS * commit_interval:
        return f"the window of {seconds:.0f} s has no room for {COMMITS} commits, one every {commit_interval:.0f} s"
    return "" if _pairs(looks[0], looks[-1]) else "no queue had a commit that could be followed"


def _unmeasured(depth: int, reason: str) -> Flow:
    return Flow("unknown" if depth else "drained", Unknown(reason), Unknown(reason), None)


def _spans(looks: Sequence[Look], commit_interval: float) -> list[tuple[Look, Look]]:
    """The whole window, and its halves where each has room for the commits."""
    first, last = looks[0], looks[-1]
    middle = min(looks[1:-1], key=lambda look: abs(look.at - (first.at + last.at) / 2), default=None)
    if middle is None or min(middle.at - first.at, last.at - middle.at) < max(COMMITS * commit_interval, 0.5):
        return [(first, last)]
    return [(first, last), (first, middle), (middle, last)]


def _moved(one: Look, two: Look) -> _Moved:
    """Queue by queue. What expired has not left: only commits tell of consuming."""
    pairs = _pairs(one, two)
    left = [(later.committed or 0) - (earlier.committed or 0) for earlier, later in pairs]
    return _Moved(
        sum(max(0, later.end - earlier.end) for earlier, later in pairs),
        sum(max(0, count) for count in left),
        -sum(min(0, count) for count in left),
        any(later.end < earlier.end for earlier, later in pairs),
    )


def _pairs(one: Look, two: Look) -> list[tuple[Position, Position]]:
    """The queues of both looks; without those first committed between them, for none knows where that began."""
    before = {queue.name: queue for queue in one.queues}
    found = [(before[queue.name], queue) for queue in two.queues if queue.name in before]
    return [(earlier, later) for earlier, later in found if (earlier.committed is None) == (later.committed is None)]


def _part(queue: Position, before: Position | None) -> Part:
    still = before is not None and before.depth > 0 and queue.depth > 0 and queue.committed == before.committed
    note = STALLED if still else "never committed" if queue.committed is None else ""
    return Part(queue.name, queue.depth, queue.owner, note)
