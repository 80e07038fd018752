"""The watch over a RocketMQ cluster: what is asked at once, what while the window passes, and what at its end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from opsdoc.host import Host
from opsdoc.looks import rocketmq_broker, rocketmq_consumers, rocketmq_facts, rocketmq_offsets, rocketmq_retries
from opsdoc.looks.rocketmq_cluster import Broker, Cluster, is_own_group, is_own_topic, wall
from opsdoc.looks.rocketmq_consumers import Group, Running
from opsdoc.looks.rocketmq_facts import Facts, Range
from opsdoc.looks.rocketmq_offsets import Extra, First, Key, Place, Places, Sweep
from opsdoc.looks.rocketmq_retries import Letter, Waiting
from opsdoc.looks.rocketmq_rows import Picture
from opsdoc.model import Interrupted, ProbeError, TimedOut, Unknown, Unreachable, Unseen
from opsdoc.options import did_you_mean
from opsdoc.parsers import rocketmq_names as names
from opsdoc.signals.broker_health import BrokerHealth

MOST_MEMBERS = 1500  # requests for members of groups
MOST_RUNNING = 8  # groups whose clients are asked what they do, the deepest first
AT_ONCE = 8.0  # seconds for all that is asked besides offsets, where there is no window to do it in


class Wanted(NamedTuple):
    """What was asked for by name; empty is everything but what is RocketMQ's own."""

    groups: frozenset[str]
    topics: frozenset[str]
    peek: int = 0

    def has_group(self, group: str) -> bool:
        """Whether a group is to be looked at."""
        return group in self.groups if self.groups else not is_own_group(group)

    def has(self, key: Key, clusters: Collection[str]) -> bool:
        """Whether a group and a topic that it consumes are to be looked at."""
        if not self.has_group(key.group) or key.topic.startswith(names.DEAD_LETTER):
            return False
        if key.topic.startswith(names.RETRY):
            return True
        return key.topic in self.topics if self.topics else not is_own_topic(key.topic, clusters)


@dataclass
class Watch:
    """What has been seen so far."""

    cluster: Cluster
    first: First
    wanted: Wanted
    name_servers: str
    sweeps: list[Sweep] = field(default_factory=list)
    facts: Facts = Facts({}, {}, {}, {})
    groups: dict[str, Group] = field(default_factory=dict)
    lost_groups: dict[str, ProbeError] = field(default_factory=dict)
    running: dict[str, list[Running]] = field(default_factory=dict)
    waiting: Waiting | None = None
    orphans: dict[str, list[str]] = field(default_factory=dict)
    extras: list[Extra] = field(default_factory=list)
    dead: dict[tuple[str, str, int], Range] = field(default_factory=dict)
    dead_before: dict[tuple[str, str, int], Range] = field(default_factory=dict)
    dead_window: float | None = None
    recent: dict[str, int | Unknown] = field(default_factory=dict)
    letters: dict[str, list[Letter]] = field(default_factory=dict)
    health: list[BrokerHealth] = field(default_factory=list)
    unseen: list[Unseen] = field(default_factory=list)

    @property
    def picture(self) -> Picture:
        """What rows are made of."""
        return Picture(
            self.first,
            self.sweeps,
            self.facts,
            self.groups,
            self.lost_groups,
            self.running,
            self.waiting,
            self.orphans,
            self.name_servers,
        )

    @property
    def keys(self) -> list[Key]:
        """The groups and topics of the last look that are wanted."""
        clusters = self.cluster.clusters
        return [key for key in self.sweeps[-1].places if self.wanted.has(key, clusters)]

    @property
    def group_names(self) -> list[str]:
        """All groups that are wanted, with or without offsets."""
        found = self.first.groups | (self.sweeps[-1].groups() if self.sweeps else frozenset())
        listed = [group for group in sorted(found) if self.wanted.has_group(group)]
        if not self.wanted.topics or self.wanted.groups:
            return listed
        consumers = {key.group for key in self.keys if key.topic in self.wanted.topics}
        consumers |= {group for group, one in self.groups.items() if self.wanted.topics & set(one.subscriptions)}
        return [group for group in listed if group in consumers]


def watch(host: Host, cluster: Cluster, wanted: Wanted, window: float, name_servers: str) -> Watch:
    """Look at a cluster for a window. Raises a ProbeError where nothing can be seen of it, or of what was named."""
    first = rocketmq_offsets.look(host, cluster)
    seen = Watch(cluster, first, wanted, name_servers, unseen=[*cluster.unseen, *first.unseen])
    seen.unseen += [error.unseen(f"broker {broker.name}") for broker, error in first.lost]
    sweep, unseen = rocketmq_offsets.sweep(host, first, wanted.groups, again=False)
    seen.sweeps.append(sweep)
    seen.unseen += unseen
    _refuse_strangers(seen)
    begun = min(sweep.at.values(), default=host.now())
    ends = host.now() + AT_ONCE if window <= 0 else max(begun + window / 2, host.now() + window / 4)
    try:
        _look_into(host, seen, ends)
        if window > 0:
            _second_looks(host, seen, begun, window)
        else:
            _ask_clients(host, seen, None)
    except (Interrupted, TimedOut) as error:
        seen.unseen.append(error.unseen("the rest of the window"))
    return seen


def _refuse_strangers(seen: Watch) -> None:
    """What was named and is not there must not look as if nothing were wrong with it."""
    groups = seen.first.groups | seen.sweeps[0].groups()
    topics = seen.first.topics
    missing = [f"consumer group '{name}'{did_you_mean(name, groups)}" for name in sorted(seen.wanted.groups - groups)]
    missing += [f"topic '{name}'{did_you_mean(name, topics)}" for name in sorted(seen.wanted.topics - topics)]
    named = len(seen.wanted.groups) + len(seen.wanted.topics)
    where = "no broker that answered knows it"
    if missing and len(missing) == named and seen.first.groups:
        raise Unreachable(f"no {missing[0]}: {where}", "leave --group and --topic out to see all that there are")
    seen.unseen += [Unseen(subject, "gone", where) for subject in missing]


# ── while the window passes ──────────────────────────────────────────────────────────────────────


def _behind(places: Places) -> int:
    return sum(max(0, place.behind) for place in places.values())


def _look_into(host: Host, seen: Watch, ends: float) -> None:
    """Who is there, what offsets alone do not tell, what failed, and how the brokers are."""
    _ask_members(host, seen, ends)
    _add_extras(host, seen)
    seen.orphans = _orphans(seen)
    _find_facts(host, seen, ends)
    seen.health = list(rocketmq_broker.health(host, seen.first, ends))
    seen.waiting, unseen = rocketmq_retries.in_backoff(host, seen.first, ends)
    seen.unseen += unseen
    seen.recent = rocketmq_retries.recent(host, seen.first, seen.dead, ends)
    if seen.wanted.peek:
        topics = list({topic for _, topic, _ in seen.dead})
        seen.letters, unseen = rocketmq_retries.peek(host, seen.first, seen.dead, topics, seen.wanted.peek)
        seen.unseen += unseen


def _ask_members(host: Host, seen: Watch, ends: float) -> None:
    """First those who are behind, then those who have committed nothing, who may be stuck on their first message."""
    sweep = seen.sweeps[0]
    depth: dict[str, int] = {}
    at: dict[str, dict[str, Broker]] = {}
    for key in seen.keys:
        depth[key.group] = depth.get(key.group, 0) + sum(abs(place.behind) for place in sweep.places[key].values())
        for name, _ in sweep.places[key]:
            if (settings := seen.first.of(name)) is not None:
                at.setdefault(key.group, {})[name] = settings.broker
    everywhere = [one.broker for one in seen.first.settings]
    groups = list(seen.group_names)
    if seen.wanted.topics and not seen.wanted.groups:  # one that is stuck on its first message is told by nothing else
        groups += [group for group in seen.first.groups if group not in groups and group not in depth]
    groups.sort(key=lambda group: (-depth.get(group, 0), group in depth, group))
    wanted: dict[str, Sequence[Broker]] = {}
    left = MOST_MEMBERS
    for group in groups:
        brokers = list(at.get(group, {}).values()) or everywhere
        if depth.get(group) == 0:
            brokers = brokers[:1]
        if left < len(brokers):
            break
        left -= len(brokers)
        wanted[group] = brokers
    seen.groups, seen.lost_groups = rocketmq_consumers.members(host, wanted, ends)
    unasked = [group for group in groups if group not in wanted]
    if unasked:
        what = f"the members of {len(unasked):,} groups with nothing waiting were not asked for"
        seen.unseen.append(Unseen("members", "unsupported", what, "name the ones that matter with --group"))


def _add_extras(host: Host, seen: Watch) -> None:
    """Topics that a group subscribes to, or that were named, and that it has committed nothing of on some broker."""
    sweep = seen.sweeps[0]
    subscribed = [
        Key(group, topic)
        for group, one in seen.groups.items()
        if one.mode != "broadcast" and one.clients
        for topic in one.subscriptions
        if not topic.startswith(names.RETRY)
    ]
    named = [Key(group, topic) for group in seen.wanted.groups & seen.first.groups for topic in seen.wanted.topics]
    for key in dict.fromkeys([*subscribed, *named]):
        if not seen.wanted.has(key, seen.cluster.clusters):
            continue
        told = {broker for broker, _ in sweep.places.get(key, {})}
        seen.extras += [
            Extra(one.broker.name, key)
            for one in seen.first.settings
            if one.broker.name not in told and key.topic in one.topics
        ]
    if seen.extras:
        more, unseen = rocketmq_offsets.sweep_extras(host, seen.first, seen.extras)
        seen.sweeps[0] = rocketmq_offsets.merged(sweep, more)
        seen.unseen += unseen


def _orphans(seen: Watch) -> dict[str, list[str]]:
    """Retry topics of which their group has committed nothing, by group; where two may own one, it is said."""
    groups, topics = seen.first.groups, seen.first.topics
    found: dict[str, list[str]] = {}
    for topic in sorted(topics):
        owners = names.owners(topic, groups, topics) if topic.startswith(names.RETRY) else ()
        if not owners or any(Key(owner.group, topic) in seen.sweeps[0].places for owner in owners):
            continue
        if not seen.wanted.has_group(owners[0].group):
            continue
        found.setdefault(owners[0].group, []).append(topic)
        if len(owners) > 1:
            others = " or ".join(f"'{owner.group}'" for owner in owners)
            what = f"by its name it may be that of group {others}; it is counted for the first"
            seen.unseen.append(Unseen(f"topic {topic}", "unsupported", what))
    return found


def _find_facts(host: Host, seen: Watch, ends: float) -> None:
    sweep, first = seen.sweeps[0], seen.first
    deep = sorted(seen.keys, key=lambda key: -_behind(sweep.places[key]))
    deep = [key for key in deep if any(place.behind for place in sweep.places[key].values())]
    uneven = {
        topic
        for one in first.settings
        for topic, config in one.topics.items()
        if isinstance(config, dict) and config.get("readQueueNums") != config.get("writeQueueNums")
    }
    dead = _dead_topics(seen)
    listed = [topic for topics in seen.orphans.values() for topic in topics]
    listed += dict.fromkeys(key.topic for key in [*deep, *(key for key in seen.keys if key.topic in uneven)])
    kept, left = listed[: rocketmq_facts.MOST_TOPICS], len(listed) - rocketmq_facts.MOST_TOPICS
    dead_ranges, unseen = rocketmq_facts.ranges(host, _on_brokers(first, dead), ends)
    seen.dead = dead_ranges
    ranges, more = rocketmq_facts.ranges(host, _on_brokers(first, kept), ends)
    seen.unseen += [*unseen, *more]
    if left > 0:
        what = f"{left:,} topics were not asked where they begin: opsdoc asks the deepest {rocketmq_facts.MOST_TOPICS}"
        seen.unseen.append(Unseen("what expired unread", "unsupported", what, "name the ones that matter with --topic"))
    unread = rocketmq_facts.unread_ranges(first, ranges)
    zeros = rocketmq_facts.needs_commits(sweep, seen.keys) | {
        broker for listed in unread.values() for broker, _, _ in listed
    }
    brokers = [one.broker for one in first.settings if one.broker.name in zeros]
    commits = rocketmq_facts.commits(host, brokers)
    seen.facts = Facts(ranges, commits, {}, unread)
    _find_ages(host, seen, ends)


def _find_ages(host: Host, seen: Watch, ends: float | None) -> None:
    """How old the oldest is that waits, as of the last look."""
    places = seen.sweeps[-1].places
    deep = sorted((key for key in seen.keys if _behind(places[key])), key=lambda key: -_behind(places[key]))
    ages = rocketmq_facts.ages(host, seen.first, [(key, places[key]) for key in deep], ends)
    seen.facts = seen.facts._replace(ages=ages)


def _dead_topics(seen: Watch) -> list[str]:
    groups = set(seen.group_names)
    return [
        topic
        for topic in sorted(seen.first.topics)
        if topic.startswith(names.DEAD_LETTER)
        and (not (seen.wanted.groups or seen.wanted.topics) or topic.removeprefix(names.DEAD_LETTER) in groups)
    ]


def _on_brokers(first: First, topics: Collection[str]) -> list[tuple[Broker, str]]:
    return [(one.broker, topic) for topic in topics for one in first.settings if topic in one.topics]


# ── at the end of the window ─────────────────────────────────────────────────────────────────────


def _second_looks(host: Host, seen: Watch, begun: float, window: float) -> None:
    """In the middle, to see whose clients to ask; and at the end."""
    host.tell(_so_far(seen, window))
    host.sleep(max(0.0, begun + window / 2 - host.now()))
    if any(_behind(seen.sweeps[0].places[key]) for key in seen.keys):
        _look_again(host, seen)
        _ask_clients(host, seen, seen.sweeps[0])
    host.sleep(max(0.0, begun + window - host.now()))
    _look_again(host, seen)
    _find_ages(host, seen, None)
    if seen.dead:
        dead = _on_brokers(seen.first, sorted({topic for _, topic, _ in seen.dead}))
        before = host.now()
        again, unseen = rocketmq_facts.ranges(host, dead, None)
        seen.unseen += unseen
        if again:
            seen.dead_before, seen.dead = seen.dead, {**seen.dead, **again}
            seen.dead_window = round(before - begun, 3)


def _so_far(seen: Watch, window: float) -> str:
    """The depths, of which the trends are not known yet."""
    depths = {key: behind for key in seen.keys if (behind := _behind(seen.sweeps[0].places[key])) > 0}
    if not depths:
        return f"nothing waits; whether that stays so is known in {window:g} s"
    deepest = max(depths, key=lambda key: depths[key])
    whose = f"{depths[deepest]:,} of them for {deepest.group} in {deepest.topic}"
    return f"{sum(depths.values()):,} messages wait, {whose}; how that changes is known in {window:g} s"


def _look_again(host: Host, seen: Watch) -> None:
    sweep, unseen = rocketmq_offsets.sweep(host, seen.first, seen.wanted.groups, seen.extras)
    seen.unseen += [one for one in unseen if one not in seen.unseen]
    if sweep.places:
        seen.sweeps.append(sweep)


def _ask_clients(host: Host, seen: Watch, before: Sweep | None) -> None:
    """The clients of the deepest groups, but of those whose queues all go on and drain."""
    now = seen.sweeps[-1]
    depths: dict[str, int] = {}
    for key in seen.keys:
        behind = _behind(now.places[key])
        if not behind or (before is not None and not _may_stand(before.places.get(key, {}), now.places[key])):
            continue
        depths[key.group] = depths.get(key.group, 0) + behind
    online = {group: one for group, one in seen.groups.items() if one.clients and one.mode != "broadcast"}
    asked = [group for group in seen.wanted.groups if group in online]
    deepest = sorted((group for group in depths if group in online), key=lambda group: -depths[group])
    chosen = list(dict.fromkeys([*deepest, *asked]))[:MOST_RUNNING]
    if len(deepest) > MOST_RUNNING:
        what = f"the clients of {len(deepest) - MOST_RUNNING:,} more groups that are behind were not asked what they do"
        seen.unseen.append(Unseen("clients", "unsupported", what, "name the ones that matter with --group"))
    clocks = {one.broker.name: one.clock for one in seen.first.settings}
    seen.running, unseen = rocketmq_consumers.running(
        host, {group: online[group] for group in chosen}, clocks, wall(host, host.now()), seen.name_servers
    )
    seen.unseen += unseen


def _may_stand(before: Places, now: Places) -> bool:
    """Whether a queue did not move though something waited in it, or more came than was consumed."""
    both = [(before[queue], place) for queue, place in now.items() if queue in before]
    if any(one.behind > 0 and two.behind > 0 and one.committed == two.committed for one, two in both):
        return True
    return sum(_moved(one, two) for one, two in both) < sum(two.end - one.end for one, two in both)


def _moved(one: Place, two: Place) -> int:
    return (two.committed or 0) - (one.committed or 0)


def clients(running: Mapping[str, Sequence[Running]]) -> list[Running]:
    """All clients that were asked."""
    return [one for listed in running.values() for one in listed]
