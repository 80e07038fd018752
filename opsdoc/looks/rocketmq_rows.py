"""RocketMQ's backlogs as they are reported: made of the looks at offsets and of all that was found out besides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from opsdoc.looks.rocketmq_cluster import number
from opsdoc.looks.rocketmq_consumers import Group, Running, owners
from opsdoc.looks.rocketmq_facts import Facts, Range, positions, unread
from opsdoc.looks.rocketmq_offsets import READ, First, Key, Sweep
from opsdoc.looks.rocketmq_retries import Waiting
from opsdoc.model import ProbeError, Unknown, known
from opsdoc.parsers import rocketmq_names as names
from opsdoc.signals import backlog_trend
from opsdoc.signals.backlog_facts import Backlog
from opsdoc.signals.backlog_trend import Flow, Look, Position

COMMITTED_EVERY = 5.0  # seconds: persistConsumerOffsetInterval of the clients
COPIED_EVERY = {"4": 10.0, "5": 60.0}  # seconds: how often a slave asks its master for offsets, by version
_TRENDS = ("stalled", "growing", "unknown", "steady", "draining", "drained")


class Picture(NamedTuple):
    """All that was seen of a cluster: the looks in their order, and what belongs to them."""

    first: First
    sweeps: Sequence[Sweep]
    facts: Facts
    groups: Mapping[str, Group]
    lost_groups: Mapping[str, ProbeError]
    running: Mapping[str, Sequence[Running]]
    waiting: Waiting | None
    orphans: Mapping[str, Sequence[str]]  # retry topics by group, of which nothing was ever committed
    name_servers: str

    @property
    def last(self) -> Sweep:
        """The offsets as they were at last."""
        return self.sweeps[-1]


# ── main ─────────────────────────────────────────────────────────────────────────────────────────


def main(key: Key, picture: Picture) -> Backlog:
    """What a group has not consumed of a topic."""
    looks = _looks([key], picture)
    return _backlog(key.group, key.topic, looks, picture, [key]).replaced(
        subject=f"{key.group} · {key.topic}",
        topic=key.topic,
        unread_queues=unread(key, picture.facts.unread.get(key.topic, ()), picture.facts),
        filter=_filter(key, picture),
        idle_members=_idle_members(key, picture),
        **_disabled(key, picture),
    )


def retry(group: str, topics: Sequence[str], picture: Picture) -> Backlog | None:
    """What of a group failed and came back, or will, by its retry topics; None where it has none."""
    keys = [Key(group, topic) for topic in topics]
    orphans = [topic for topic in picture.orphans.get(group, ()) if topic not in topics]  # it may have committed since
    if not keys and not orphans:
        return None
    looks = _looks(keys, picture)
    if orphans:
        never = [position for topic in orphans for position in _orphaned(topic, picture.facts.ranges)]
        looks = [look._replace(queues=(*look.queues, *never)) for look in looks]
    own = names.retry_topic(group)
    waiting = picture.waiting
    return _backlog(group, own, looks, picture, keys).replaced(
        subject=f"{group} retry",
        part="retry",
        topic=own if own in topics or not topics else topics[0],
        in_backoff=Unknown("what waits was not asked for") if waiting is None else waiting.of(own),
    )


def _orphaned(topic: str, ranges: Mapping[tuple[str, str, int], Range]) -> Iterator[Position]:
    for (broker, name, queue), kept in ranges.items():
        if name == topic:
            yield Position(f"{broker} q{queue} {topic}", kept.low, kept.end, None)


def nothing(group: str, picture: Picture) -> Backlog:
    """A group that exists and has committed nothing anywhere."""
    return Backlog(
        subject=group,
        depth=0,
        trend="drained",
        members=_members(group, picture),
        broker="rocketmq",
        consumer=group,
        queue_count=0,
        mode=picture.groups.get(group, Group()).mode,
        by_hand=_by_hand(group, picture),
    )


def _backlog(group: str, topic: str, looks: Sequence[Look], picture: Picture, keys: Sequence[Key]) -> Backlog:
    members = picture.groups.get(group, Group())
    now, then = looks[-1], looks[0]
    flow = backlog_trend.flow(looks, commit_interval=COMMITTED_EVERY, clients=max(1, len(members.clients)))
    source_age = _source_age(keys, picture)
    if source_age is not None:
        told = Unknown("read from a slave, whose offsets are copies")
        flow = Flow("unknown" if flow.trend != "drained" else "drained", told, told, None)
    parts, stalled = backlog_trend.parts(looks, commit_interval=COMMITTED_EVERY)
    depth = sum(queue.depth for queue in now.queues)
    is_broadcast = members.mode == "broadcast"
    seen_twice = len(looks) > 1
    return Backlog(
        subject=f"{group} · {topic}",
        depth=Unknown("its consumers keep their offsets themselves (broadcast)") if is_broadcast else depth,
        trend="unknown" if is_broadcast else flow.trend,
        in_rate=flow.in_rate,
        out_rate=Unknown("broadcast") if is_broadcast else flow.out_rate,
        oldest_age=_age(keys, depth, picture.facts) if not is_broadcast else None,
        drain_seconds=None if is_broadcast else flow.drain,
        members=_members(group, picture),
        broker="rocketmq",
        consumer=group,
        parts=parts,
        queue_count=len(now.queues),
        stalled_parts=None if source_age is not None or is_broadcast else stalled,
        lost=_lost(now, keys, picture),
        ahead=sum(queue.ahead for queue in now.queues),
        never_consumed=_never(now, keys, picture),
        rewound=flow.rewound,
        mode=members.mode,
        ordered=_ordered(group, picture),
        consume_from=members.consume_from,
        retention=_retention(picture.first),
        source_age=source_age,
        depth_before=sum(queue.depth for queue in then.queues) if seen_twice else None,
        window=round(now.at - then.at, 3) if seen_twice else None,
        commit_interval=COMMITTED_EVERY,
        by_hand=_by_hand(group, picture),
    )


def _looks(keys: Sequence[Key], picture: Picture) -> list[Look]:
    """The looks at the queues of some topics of a group; one that saw none of them is no look."""
    found = []
    running = [one for key in keys[:1] for one in picture.running.get(key.group, ())]
    owned = owners(running)
    starts = {queue: start for one in running for queue, start in one.starts.items()}
    for sweep in picture.sweeps:
        brokers = {broker for key in keys for broker, _ in sweep.places.get(key, {})}
        ats = [sweep.at[broker] for broker in brokers if broker in sweep.at]
        queues = [
            position if len(keys) == 1 else position._replace(name=f"{position.name} {key.topic}")
            for key in keys
            for position in positions(key, sweep.places.get(key, {}), picture.facts, starts, owned)
        ]
        if queues and ats:
            found.append(Look(sum(ats) / len(ats), queues))
    return found or [Look(max(picture.last.at.values(), default=0.0), ())]


# ── its fields ───────────────────────────────────────────────────────────────────────────────────


def _age(keys: Sequence[Key], depth: int, facts: Facts) -> float | Unknown | None:
    """How old the oldest is; None where nothing waits."""
    if not depth:
        return None
    ages = [facts.ages[key] for key in keys if key in facts.ages]
    told = [age for age in ages if isinstance(age, float)]
    if told:
        return max(told)
    return ages[0] if ages else Unknown("the age of the oldest message was not asked for")


def _lost(now: Look, keys: Sequence[Key], picture: Picture) -> int | Unknown:
    """What expired unread; unknown where something waits and nobody knows where the queue begins."""
    for key in keys:
        for (broker, queue), place in picture.last.places.get(key, {}).items():
            is_known = place.low is not None or (broker, key.topic, queue) in picture.facts.ranges
            if place.behind > 0 and not is_known:
                return Unknown("where the queues begin was not told")
    return sum(queue.lost for queue in now.queues)


def _never(now: Look, keys: Sequence[Key], picture: Picture) -> int | Unknown:
    """What waits where nothing was committed; unknown where a broker does not tell zeros apart."""
    for key in keys:
        for (broker, _), place in picture.last.places.get(key, {}).items():
            told = picture.facts.commits.get(broker)
            if (
                place.committed == 0
                and place.end
                and not place.exact
                and (told is None or isinstance(told, ProbeError))
            ):
                return Unknown(
                    "the broker does not tell zeros from queues without a commit" if told is None else told.detail
                )
    return backlog_trend.never_consumed(now)


def _members(group: str, picture: Picture) -> int | Unknown:
    if group in picture.groups:
        return len(picture.groups[group].clients)
    error = picture.lost_groups.get(group)
    return Unknown("not asked, as there are many groups and nothing of it waits" if error is None else error.detail)


def _filter(key: Key, picture: Picture) -> str | None:
    wanted = picture.groups.get(key.group, Group()).subscriptions.get(key.topic, "*")
    return None if wanted == "*" else wanted


def _ordered(group: str, picture: Picture) -> bool | None:
    told = [one.ordered for one in picture.running.get(group, ()) if one.ordered is not None]
    if told:
        return any(told)
    settings = [one.groups[group] for one in picture.first.settings if isinstance(one.groups.get(group), dict)]
    return True if any(one.get("consumeMessageOrderly") is True for one in settings) else None


def _idle_members(key: Key, picture: Picture) -> int | None:
    """Members that get no queue of the topic, since there are fewer queues than members."""
    group = picture.groups.get(key.group)
    if group is None or group.mode != "clustering":
        return None
    queues = sum(_config(one.topics, key.topic, "readQueueNums") or 0 for one in picture.first.settings)
    return max(0, len(group.clients) - queues) if queues else None


def _disabled(key: Key, picture: Picture) -> dict[str, Any]:
    """Whether something forbids to consume, and what."""
    for one in picture.first.settings:
        if not any(broker == one.broker.name for broker, _ in picture.last.places.get(key, {})):
            continue
        group = one.groups.get(key.group)
        if isinstance(group, dict) and group.get("consumeEnable") is False:
            return {"enabled": False, "disabled_by": f"consumeEnable=false of the group on {one.broker.name}"}
        permission = _config(one.topics, key.topic, "perm")
        if permission is not None and not permission & READ:
            return {
                "enabled": False,
                "disabled_by": f"the topic may not be read on {one.broker.name} (perm={permission})",
            }
        whole = one.config.get("brokerPermission")
        if whole is not None and not number(whole) & READ:
            return {"enabled": False, "disabled_by": f"{one.broker.name} may not be read (brokerPermission={whole})"}
    return {"enabled": True, "disabled_by": None}


def _config(topics: Mapping[str, Any], topic: str, name: str) -> int | None:
    config = topics.get(topic)
    value = config.get(name) if isinstance(config, dict) else None
    return value if type(value) is int else None


def _source_age(keys: Iterable[Key], picture: Picture) -> float | None:
    """How old offsets may be where they are read from a slave; None where all are from masters."""
    brokers = {broker for key in keys for broker, _ in picture.last.places.get(key, {})}
    ages = [
        COPIED_EVERY.get(str(one.runtime.get("brokerVersionDesc", ""))[1:2], 60.0)
        for one in picture.first.settings
        if one.broker.name in brokers and not one.broker.is_master
    ]
    return max(ages, default=None)


def _retention(first: First) -> float | None:
    hours = [number(one.config.get("fileReservedTime")) for one in first.settings]
    kept = [hour * 3600.0 for hour in hours if hour > 0]
    return min(kept, default=None)


def _by_hand(group: str, picture: Picture) -> tuple[str, ...]:
    return (f"mqadmin consumerProgress -n {picture.name_servers} -g {group}",)


# ── dead letters ─────────────────────────────────────────────────────────────────────────────────


def dead(
    topic: str,
    ranges: Mapping[tuple[str, str, int], Range],
    before: Mapping[tuple[str, str, int], Range],
    window: float | None,
    recent: int | Unknown | None,
) -> Backlog:
    """The dead letters of a group: how many are kept, and how many came between the looks."""
    group = topic.removeprefix(names.DEAD_LETTER)
    kept = {place: found for place, found in ranges.items() if place[1] == topic}
    depth = sum(max(0, found.end - found.low) for found in kept.values())
    came = sum(max(0, found.end - before[place].end) for place, found in kept.items() if place in before)
    rate = Unknown("it was looked at once") if not window else round(came / window, 4)
    parts, _ = backlog_trend.parts(
        [Look(0.0, [Position(f"{broker} q{queue}", f.low, f.end, f.low) for (broker, _, queue), f in kept.items()])]
    )
    return Backlog(
        subject=f"{group} dead letters",
        depth=depth,
        trend="drained" if not depth else "unknown" if not window else "growing" if came else "steady",
        in_rate=rate,
        out_rate=None,
        members=None,
        part="dead-letter",
        broker="rocketmq",
        consumer=group,
        topic=topic,
        parts=parts,
        queue_count=len(kept),
        recent=recent,
        window=window,
        depth_before=depth - came if window else None,
    )


# ── in order ─────────────────────────────────────────────────────────────────────────────────────


def is_troubled(backlog: Backlog) -> bool:
    """Whether a person may want to know of it though there are many."""
    depth = known(backlog.depth)
    return (
        depth is None
        or depth > 0
        or bool(known(backlog.in_backoff))
        or bool(known(backlog.lost))
        or backlog.ahead > 0
        or backlog.unread_queues > 0
        or backlog.rewound > 0
        or not backlog.enabled
    )


def worst_first(backlogs: Iterable[Backlog]) -> list[Backlog]:
    """What stands still before what grows before what drains; then by age, then by count."""

    def rank(one: Backlog) -> tuple[bool, int, float, int, bool, str]:
        age, depth = known(one.oldest_age) or 0.0, known(one.depth) or 0
        return not is_troubled(one), _TRENDS.index(one.trend), -age, -depth, one.part != "main", one.subject

    return sorted(backlogs, key=rank)
