"""Messages of RocketMQ that failed: those that wait for their next delivery, and the dead letters, peeked by offset."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from opsdoc.clients.rocketmq import Call
from opsdoc.host import Host
from opsdoc.looks.rocketmq_cluster import Broker, ask_all, number, wall
from opsdoc.looks.rocketmq_facts import Range, Ranges, ranges
from opsdoc.looks.rocketmq_messages import index, messages
from opsdoc.looks.rocketmq_offsets import First, Settings
from opsdoc.model import Malformed, ProbeError, Unknown, Unseen
from opsdoc.parsers import rocketmq_names as names

PAGE = 64  # entries of a queue's index in one reply, and messages that are read of what waits at one level
PAGES = 8  # spread over what waits, where it is more than that
RECENT = 600.0  # seconds: dead letters of the last ten minutes are new


class Waiting(NamedTuple):
    """What waits for its next delivery, by the retry topic it goes to; and why some of it could not be seen."""

    counts: Mapping[str, int]
    lost: tuple[ProbeError, ...] = ()

    def of(self, topic: str) -> int | Unknown:
        """How many messages wait to come back to a retry topic."""
        if self.lost and not self.counts.get(topic):
            return Unknown(self.lost[0].detail)
        return self.counts.get(topic, 0)


# ── in backoff ───────────────────────────────────────────────────────────────────────────────────


def in_backoff(host: Host, first: First, ends: float) -> tuple[Waiting, list[Unseen]]:
    """What waits at the levels of delay of all brokers, by the topics that it goes to.

    RocketMQ keeps it in a topic of its own, where a queue is a level of delay and the entries of its index are in the
    order in which they are due; whose a message is stands in the message.
    """
    counts: dict[str, int] = {}
    unseen: list[Unseen] = []
    lost: list[ProbeError] = []
    asked = [(one.broker, names.SCHEDULE_TOPIC) for one in first.settings if names.SCHEDULE_TOPIC in one.topics]
    levels, unread = ranges(host, asked, ends)
    for settings in first.settings:
        for level, start, end in _levels(settings, levels):
            subject = f"what waits at level {level} of {settings.broker.name}"
            if host.now() >= ends:
                unseen.append(Unseen(subject, "timeout", "no time was left in the window to ask", "a longer --window"))
                continue
            try:
                begin = _first_waiting(host, settings, level, start, end)
                total, read, found = _owners(host, settings.broker, level, begin, end)
            except ProbeError as error:
                lost.append(error)
                unseen.append(error.unseen(subject))
                continue
            for topic, count in found.items():
                counts[topic] = counts.get(topic, 0) + (count if read >= total else round(count * total / read))
            if read < total:
                what = f"{read:,} of {total:,} messages were read to see whose they are: counts are estimates"
                unseen.append(Unseen(subject, "unsupported", what))
    return Waiting(counts, lost=tuple(lost)), [*unread, *unseen]


def _levels(settings: Settings, levels: Ranges) -> Iterator[tuple[int, int, int]]:
    """The levels at which something may wait: from which index on, and where the queue ends.

    What a broker says was delivered is behind the truth, and of a level that nothing was delivered of it says nothing.
    """
    for (broker, _, queue), kept in sorted(levels.items()):
        if broker == settings.broker.name:
            delivered, comma, _ = str(settings.runtime.get(f"scheduleMessageOffset_{queue + 1}", "")).partition(",")
            start = max(kept.low, number(delivered) if comma else 0)
            if kept.end > start:
                yield queue + 1, start, kept.end


def _first_waiting(host: Host, settings: Settings, level: int, start: int, end: int) -> int:
    """The index of the first message that is not yet due; the end where there is none."""
    answer, last = index(host, settings.broker, names.SCHEDULE_TOPIC, level - 1, end - 1, 1)
    if last and last[0].due <= (wall(host, answer.at) + settings.clock) * 1000:
        return end
    low, high = start, end
    for _ in range(64):
        if low >= high:
            break
        middle = low if low == start else (low + high) // 2
        answer, entries = index(host, settings.broker, names.SCHEDULE_TOPIC, level - 1, middle, PAGE)
        if not entries:
            high = middle
            continue
        now = (wall(host, answer.at) + settings.clock) * 1000
        waiting = [entry.number for entry in entries if entry.due > now]
        if not waiting:
            low = entries[-1].number + 1
        elif waiting[0] > entries[0].number or middle == low:
            return waiting[0]
        else:
            high = middle
    return high


def _owners(host: Host, broker: Broker, level: int, begin: int, end: int) -> tuple[int, int, dict[str, int]]:
    """How many messages wait at a level, how many of them were read, and to which topics those go."""
    total = max(0, end - begin)
    if total <= PAGE:
        starts, count = ([begin] if total else []), total
    else:
        starts, count = [begin + total * page // PAGES for page in range(PAGES)], PAGE // PAGES
    entries = [
        entry for start in starts for entry in index(host, broker, names.SCHEDULE_TOPIC, level - 1, start, count)[1]
    ]
    found: dict[str, int] = {}
    read = 0
    for message in messages(host, broker, names.SCHEDULE_TOPIC, entries):
        read += 1
        topic = message["properties"].get("REAL_TOPIC", "")
        found[topic] = found.get(topic, 0) + 1
    if total and not read:
        raise Malformed(f"none of the {total:,} messages at level {level} of {broker.name} can be read")
    return total, read, found


# ── dead letters ─────────────────────────────────────────────────────────────────────────────────


def recent(
    host: Host, first: First, dead: Mapping[tuple[str, str, int], Range], ends: float
) -> dict[str, int | Unknown]:
    """How many messages came in the last ten minutes, by topic: a broker finds the first by its time."""
    found: dict[str, int | Unknown] = {}
    asked = []
    for (broker, topic, queue), kept in dead.items():
        settings = first.of(broker)
        if settings is None or kept.end <= kept.low:
            continue
        since = int((wall(host, host.now()) + settings.clock - RECENT) * 1000)
        if kept.last < since:
            found.setdefault(topic, 0)
        else:
            fields = (("topic", topic), ("queueId", str(queue)), ("timestamp", str(since)))
            asked.append((topic, kept, Call(settings.broker.server, names.SEARCH_OFFSET_BY_TIMESTAMP, fields)))
    answers = ask_all(host, [question for _, _, question in asked], ends)
    for (topic, kept, _), (_, answer) in zip(asked, answers, strict=True):
        before = found.get(topic, 0)
        if isinstance(answer, ProbeError):
            found[topic] = Unknown(answer.detail)
        elif isinstance(before, int):
            begin = max(kept.low, number(answer.value["fields"].get("offset")))
            found[topic] = before + max(0, kept.end - begin)
    return found


class Letter(NamedTuple):
    """A dead letter: where it came from and how it fared. Times are in seconds since 1970."""

    group: str
    origin: str
    retried: int
    born: float
    stored: float
    key: str
    body: str | None
    unique: str


def peek(
    host: Host, first: First, dead: Mapping[tuple[str, str, int], Range], topics: Sequence[str], most: int
) -> tuple[dict[str, list[Letter]], list[Unseen]]:
    """The last `most` messages of each dead-letter topic, read by their offsets: no group learns of it."""
    found: dict[str, list[Letter]] = {}
    unseen: list[Unseen] = []
    for (broker, topic, queue), kept in sorted(dead.items()):
        settings = first.of(broker)
        if topic not in topics or settings is None or kept.end <= kept.low:
            continue
        begin = max(kept.low, kept.end - most)
        try:
            entries = index(host, settings.broker, topic, queue, begin, most)[1]
            found_there = messages(host, settings.broker, topic, entries)
        except ProbeError as error:
            unseen.append(error.unseen(f"dead letters of {topic.removeprefix(names.DEAD_LETTER)} on {broker}"))
            continue
        found.setdefault(topic, []).extend(_letter(topic, message) for message in found_there)
    for topic, letters in found.items():
        letters.sort(key=lambda letter: -letter.stored)
        del letters[most:]
        if not letters:
            what = "its index points at messages that are gone"
            unseen.append(Unseen(f"dead letters of {topic.removeprefix(names.DEAD_LETTER)}", "gone", what))
    return {topic: letters for topic, letters in found.items() if letters}, unseen


def _letter(topic: str, message: Mapping[str, Any]) -> Letter:
    properties = message["properties"]
    return Letter(
        group=topic.removeprefix(names.DEAD_LETTER),
        origin=properties.get("RETRY_TOPIC") or properties.get("DLQ_ORIGIN_TOPIC") or "",
        retried=number(message.get("reconsumed")),
        born=number(message.get("born_at")) / 1000,
        stored=number(message.get("stored_at")) / 1000,
        key=properties.get("KEYS", ""),
        body=message.get("body"),
        unique=properties.get("UNIQ_KEY", ""),
    )
