"""What offsets alone do not tell of RocketMQ's backlogs: where queues begin, what was never committed, its age."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from opsdoc.clients.rocketmq import Call
from opsdoc.host import Answer, Host
from opsdoc.looks.rocketmq_cluster import Broker, ask_all, number, rows, table, wall
from opsdoc.looks.rocketmq_offsets import First, Key, Places, Sweep, queue_of
from opsdoc.model import ProbeError, Unknown, Unseen
from opsdoc.parsers import rocketmq_names as names
from opsdoc.signals.backlog_trend import Position

MOST_TOPICS = 512  # whose beginnings are asked for, the deepest first
MOST_AGES = 128  # groups with a topic whose oldest message is asked for, the deepest first
SLACK = 5.0  # seconds by which two clocks of one broker may differ


class Range(NamedTuple):
    """The first offset that a queue keeps, the one after the last, and when that was stored, in milliseconds."""

    low: int
    end: int
    last: int = 0


Ranges = Mapping[tuple[str, str, int], Range]  # by broker, topic and number of the queue


class Facts(NamedTuple):
    """What was found out besides: ranges of queues, commits by broker, and the oldest waiting message in seconds.

    `commits` holds, by broker, the numbers of the queues with a commit for each group and topic, or why none are known.
    """

    ranges: Ranges
    commits: Mapping[str, Mapping[Key, Mapping[int, int]] | ProbeError]
    ages: Mapping[Key, float | Unknown]
    unread: Mapping[str, Sequence[tuple[str, int, Range]]]


def ranges(
    host: Host, wanted: Iterable[tuple[Broker, str]], ends: float | None
) -> tuple[dict[Any, Range], list[Unseen]]:
    """The ranges of all queues of topics on brokers, one request each."""
    asked = list(dict.fromkeys(wanted))
    questions = [Call(broker.server, names.GET_TOPIC_STATS_INFO, (("topic", topic),)) for broker, topic in asked]
    found: dict[tuple[str, str, int], Range] = {}
    errors: dict[str, list[tuple[str, ProbeError]]] = {}
    for (broker, topic), (_, answer) in zip(asked, ask_all(host, questions, ends), strict=True):
        if isinstance(answer, ProbeError):
            errors.setdefault(broker.name, []).append((topic, answer))
        for text, row in table(answer, "offsetTable").items():
            queue = queue_of(text)
            if queue is not None and isinstance(row, dict):
                numbers = [number(row.get(name)) for name in ("minOffset", "maxOffset", "lastUpdateTimestamp")]
                found[broker.name, topic, queue.number] = Range(*numbers)
    return found, [_unseen_topics(name, failed) for name, failed in errors.items()]


def _unseen_topics(broker: str, failed: Sequence[tuple[str, ProbeError]]) -> Unseen:
    topic, error = failed[0]
    more = f" and {len(failed) - 1:,} more topics" if len(failed) > 1 else ""
    return error.unseen(f"the beginnings of {topic}{more} on {broker}")


# ── commits ──────────────────────────────────────────────────────────────────────────────────────


def commits(host: Host, brokers: Iterable[Broker]) -> dict[str, dict[Key, dict[int, int]] | ProbeError]:
    """All commits that brokers hold, each in one reply; there a queue without any is missing, elsewhere it is 0."""
    listed = list(brokers)
    questions = [Call(broker.server, names.GET_ALL_CONSUMER_OFFSET) for broker in listed]
    found: dict[str, dict[Key, dict[int, int]] | ProbeError] = {}
    for broker, (_, answer) in zip(listed, ask_all(host, questions), strict=True):
        if isinstance(answer, ProbeError):
            found[broker.name] = answer
            continue
        told: dict[Key, dict[int, int]] = {}
        for text, offsets in table(answer, "offsetTable").items():
            topic, at, group = text.partition("@")
            if at and isinstance(offsets, dict):
                told[Key(group, topic)] = {int(q): number(value) for q, value in offsets.items() if _is_queue(q)}
        found[broker.name] = told
    return found


def _is_queue(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10


# ── ages ─────────────────────────────────────────────────────────────────────────────────────────


def ages(
    host: Host, first: First, wanted: Sequence[tuple[Key, Places]], ends: float | None
) -> dict[Key, float | Unknown]:
    """The age of the oldest message that waits for each group and topic, in seconds, by the brokers' own clocks."""
    asked = [
        (key, broker, settings)
        for key, places in wanted[:MOST_AGES]
        for broker in dict.fromkeys(name for name, _ in places)
        if (settings := first.of(broker)) is not None
    ]
    questions = [
        Call(one.broker.server, names.QUERY_CONSUME_TIME_SPAN, (("topic", key.topic), ("group", key.group)))
        for key, _, one in asked
    ]
    places_of = dict(wanted)
    found: dict[Key, float | Unknown] = {}
    for (key, broker, settings), (_, answer) in zip(asked, ask_all(host, questions, ends), strict=True):
        if isinstance(answer, ProbeError):
            age: float | Unknown | None = Unknown(answer.detail)
        else:
            waiting = {queue for (name, queue), place in places_of[key].items() if name == broker and place.behind > 0}
            age = _oldest(answer, waiting, wall(host, answer.at) + settings.clock)
        if age is not None:
            found[key] = _older(found.get(key), age)
    for key, _ in wanted[MOST_AGES:]:
        found[key] = Unknown(f"asked for the deepest {MOST_AGES} only")
    return found


def _older(one: float | Unknown | None, two: float | Unknown) -> float | Unknown:
    """The greater age; what is unknown on one broker may be the greater one, but what is known is old in any case."""
    if isinstance(one, float) and isinstance(two, float):
        return max(one, two)
    return one if isinstance(one, float) else two


def _oldest(answer: Answer[Any], waiting: set[int], now: float) -> float | Unknown | None:
    """The greatest age of the queues in which something waits.

    `delayTime` is the age of the next message to be consumed. Where none was committed, or where that message has
    expired, it is 56 years: then the first message that is kept is the oldest.
    """
    found: list[float] = []
    unreadable = False
    for row in rows(answer, "consumeTimeSpanSet"):
        queue = row.get("messageQueue")
        if not isinstance(queue, dict) or number(queue.get("queueId")) not in waiting:
            continue
        first = number(row.get("minTimeStamp")) / 1000
        delay = number(row.get("delayTime")) / 1000
        kept = now - first if first > 0 else None
        if kept is not None and (delay <= 0 or delay > kept + SLACK):
            found.append(max(0.0, round(kept, 3)))
        elif kept is not None or 0 < delay < now / 2:
            found.append(round(delay, 3))
        else:
            unreadable = True
    if found:
        return max(found)
    return Unknown("the oldest message cannot be read any more") if unreadable else None


# ── together ─────────────────────────────────────────────────────────────────────────────────────


def positions(
    key: Key, places: Places, facts: Facts, starts: Mapping[names.Queue, int], owned: Mapping[names.Queue, str]
) -> list[Position]:
    """The queues of a group and topic, with where each begins and whether anything was ever committed.

    `starts` is where clients began in queues of which they have committed nothing, `owned` who has them.
    """
    found = []
    for (broker, number_of), place in sorted(places.items()):
        queue = names.Queue(broker, key.topic, number_of)
        kept = facts.ranges.get((broker, key.topic, number_of))
        low = place.low if place.low is not None else kept.low if kept is not None else 0
        committed = place.committed
        if committed == 0 and not place.exact and not has_commit(key, broker, number_of, facts):
            committed = None
            low = max(low, starts.get(queue, low))
        found.append(Position(f"{broker} q{number_of}", low, place.end, committed, owned.get(queue)))
    return found


def has_commit(key: Key, broker: str, queue: int, facts: Facts) -> bool:
    """Whether a queue said to be at 0 was committed there; where the broker does not tell, it counts as committed."""
    told = facts.commits.get(broker)
    if told is None or isinstance(told, ProbeError):
        return True
    return queue in told.get(key, {})


def unread_ranges(first: First, ranges: Ranges) -> dict[str, list[tuple[str, int, Range]]]:
    """By topic, the queues that are written and not read, and hold something."""
    found: dict[str, list[tuple[str, int, Range]]] = {}
    read = {
        (one.broker.name, topic): number(config.get("readQueueNums"))
        for one in first.settings
        for topic, config in one.topics.items()
        if isinstance(config, dict) and "readQueueNums" in config
    }
    for (broker, topic, queue), kept in ranges.items():
        if kept.end > kept.low and queue >= read.get((broker, topic), queue + 1):
            found.setdefault(topic, []).append((broker, queue, kept))
    return found


def unread(key: Key, queues: Iterable[tuple[str, int, Range]], facts: Facts) -> int:
    """Messages in queues of a topic that nobody reads, beyond what the group consumed of them before."""
    waiting = 0
    for broker, queue, kept in queues:
        told = facts.commits.get(broker)
        before = {} if told is None or isinstance(told, ProbeError) else told.get(key, {})
        waiting += max(0, kept.end - max(kept.low, before.get(queue, 0)))
    return waiting


def needs_commits(sweep: Sweep, keys: Iterable[Key]) -> set[str]:
    """The brokers whose zeros are to be told apart: committed there, or never."""
    return {
        broker
        for key in keys
        for (broker, _), place in sweep.places.get(key, {}).items()
        if place.committed == 0 and place.end > 0 and not place.exact
    }
