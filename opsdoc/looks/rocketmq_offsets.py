"""Offsets of all consumer groups of a RocketMQ cluster at one time: one request per broker, or what replaces it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from opsdoc.clients.rocketmq import Call
from opsdoc.host import Answer, Host
from opsdoc.looks.rocketmq_cluster import (
    Broker,
    Cluster,
    Proxy,
    ask_all,
    clock_difference,
    listed,
    number,
    rows,
    table,
    wall,
)
from opsdoc.model import Malformed, ProbeError, TimedOut, Unreachable, Unseen
from opsdoc.parsers import rocketmq_names as names

MOST_QUEUES = 1024  # that are asked one by one, where nothing tells of all at once
READ = 4  # the bit of a permission

_SETTINGS = (
    names.GET_ALL_SUBSCRIPTIONGROUP_CONFIG,
    names.GET_ALL_TOPIC_CONFIG,
    names.GET_BROKER_RUNTIME_INFO,
    names.GET_BROKER_CONFIG,
)


class Key(NamedTuple):
    """A consumer group and a topic that it consumes."""

    group: str
    topic: str


class Place(NamedTuple):
    """A queue as a broker tells of it. `committed` 0 may mean that nothing was committed, unless it is `exact`."""

    end: int
    committed: int | None
    low: int | None = None
    exact: bool = False

    @property
    def behind(self) -> int:
        """How far the committed offset is from the end, either way."""
        return self.end - (self.committed or 0)


Places = Mapping[tuple[str, int], Place]  # by broker and number of the queue


class Sweep(NamedTuple):
    """The offsets of all groups at one time, and when each broker was asked for them."""

    at: Mapping[str, float]
    places: Mapping[Key, Places]

    def groups(self) -> frozenset[str]:
        """The groups that have committed anything anywhere."""
        return frozenset(key.group for key in self.places)

    def retries(self) -> dict[str, list[str]]:
        """The retry topics of each group, as it has committed something of them."""
        found: dict[str, list[str]] = {}
        for group, topic in sorted(self.places):
            if topic.startswith(names.RETRY):
                found.setdefault(group, []).append(topic)
        return found


class Settings(NamedTuple):
    """What one broker is set to and how it is doing: groups, topics, runtime and configuration, empty where not told.

    `clock` is by how many seconds its clock is ahead of ours.
    """

    broker: Broker
    groups: Mapping[str, Any]
    topics: Mapping[str, Any]
    runtime: Mapping[str, Any]
    config: Mapping[str, Any]
    clock: float
    stats: Answer[Any] | ProbeError  # the first answer about all groups


class First(NamedTuple):
    """The first look: the brokers that answered, those that did not with the reason, and what was not told."""

    settings: tuple[Settings, ...]
    lost: tuple[tuple[Broker, ProbeError], ...]
    unseen: tuple[Unseen, ...]

    @property
    def groups(self) -> frozenset[str]:
        """All groups that any broker is set up for."""
        return frozenset(group for one in self.settings for group in one.groups)

    @property
    def topics(self) -> frozenset[str]:
        """All topics that any broker is set up for."""
        return frozenset(topic for one in self.settings for topic in one.topics)

    def of(self, broker: str) -> Settings | None:
        """The settings of the broker of that name."""
        return next((one for one in self.settings if one.broker.name == broker), None)


def look(host: Host, cluster: Cluster) -> First:
    """Ask every broker for all that it tells at once. Raises the error where no broker answers anything."""
    codes = (*_SETTINGS, names.GET_BROKER_CONSUME_STATS)
    questions = [_call(broker, code) for broker in cluster.brokers for code in codes]
    answers = dict(ask_all(host, questions))
    settings, lost, unseen = [], [], []
    for broker in cluster.brokers:
        told = {code: answers[_call(broker, code)] for code in codes}
        errors = [answer for answer in told.values() if isinstance(answer, ProbeError)]
        if len(errors) == len(told):
            lost.append((broker, errors[0]))
            continue
        runtime = told[names.GET_BROKER_RUNTIME_INFO]
        table_of_runtime = table(runtime, "table")
        now = wall(host, host.now() if isinstance(runtime, ProbeError) else runtime.at + runtime.took)
        config = told[names.GET_BROKER_CONFIG]
        settings.append(
            Settings(
                broker,
                table(told[names.GET_ALL_SUBSCRIPTIONGROUP_CONFIG], "subscriptionGroupTable"),
                table(told[names.GET_ALL_TOPIC_CONFIG], "topicConfigTable"),
                table_of_runtime,
                config.value["body"] or {} if isinstance(config, Answer) else {},
                clock_difference(table_of_runtime, now),
                told[names.GET_BROKER_CONSUME_STATS],
            )
        )
        unseen += [
            error.unseen(f"{_WHAT[code]} of {broker.name}")
            for code, error in told.items()
            if isinstance(error, ProbeError) and code in _WHAT
        ]
    if not settings:
        raise lost[0][1]
    return First(tuple(settings), tuple(lost), tuple(unseen))


_WHAT = {
    names.GET_ALL_SUBSCRIPTIONGROUP_CONFIG: "the consumer groups",
    names.GET_ALL_TOPIC_CONFIG: "the topics",
    names.GET_BROKER_RUNTIME_INFO: "the state",
    names.GET_BROKER_CONFIG: "the configuration",
}


def _call(broker: Broker, code: int, *fields: tuple[str, str]) -> Call:
    if code == names.GET_BROKER_CONSUME_STATS:
        fields = (("isOrder", "false"),)
    return Call(broker.server, code, fields)


# ── sweeps ───────────────────────────────────────────────────────────────────────────────────────


class Extra(NamedTuple):
    """A topic that a group consumes and has committed nothing of, which no broker tells without being asked for it."""

    broker: str
    key: Key


def sweep(
    host: Host, first: First, asked: Collection[str] = (), extras: Iterable[Extra] = (), *, again: bool = True
) -> tuple[Sweep, list[Unseen]]:
    """The offsets of all groups now; or, unless `again`, those of the first look.

    Where a broker does not tell of all groups at once it is asked for each (`asked`: no others). `extras` are asked for
    besides.
    """
    told = {one.broker.name: one.stats for one in first.settings}
    whole = [one for one in first.settings if not isinstance(one.stats, ProbeError)]
    if again:
        questions = [_call(one.broker, names.GET_BROKER_CONSUME_STATS) for one in whole]
        answers = [answer for _, answer in ask_all(host, questions)]
        told |= dict(zip((one.broker.name for one in whole), answers, strict=True))
    at: dict[str, float] = {}
    places: dict[Key, dict[tuple[str, int], Place]] = {}
    unseen: list[Unseen] = []
    wanted = list(extras)
    for one in first.settings:
        answer = told[one.broker.name]
        if not isinstance(answer, ProbeError):
            at[one.broker.name] = answer.at
            _add_all(places, answer.value["body"])
        elif one in whole or isinstance(answer, TimedOut | Unreachable):
            unseen.append(answer.unseen(f"offsets of {one.broker.name}"))
        else:
            groups = [group for group in (one.groups or asked) if not asked or group in asked]
            wanted += [Extra(one.broker.name, Key(group, "")) for group in groups]
    others, lost = sweep_extras(host, first, wanted)
    return merged(Sweep(at, places), others), unseen + lost


def sweep_extras(host: Host, first: First, extras: Sequence[Extra]) -> tuple[Sweep, list[Unseen]]:
    """The offsets of single groups, or of single topics of them, on single brokers."""
    by_name = {one.broker.name: one.broker for one in first.settings}
    questions = [_stats_call(by_name[extra.broker], extra.key) for extra in extras]
    at: dict[str, float] = {}
    places: dict[Key, dict[tuple[str, int], Place]] = {}
    refused: dict[str, ProbeError] = {}
    for extra, (_, answer) in zip(extras, ask_all(host, questions), strict=True):
        if isinstance(answer, ProbeError):
            refused.setdefault(extra.broker, answer)
        else:
            at.setdefault(extra.broker, answer.at)
            _add(places, extra.key.group, table(answer, "offsetTable"))
    return Sweep(at, places), [error.unseen(f"some offsets of {name}") for name, error in refused.items()]


def merged(one: Sweep, two: Sweep) -> Sweep:
    """Both together; what both have is that of the first."""
    places = dict(two.places)
    for key, found in one.places.items():
        places[key] = {**places.get(key, {}), **found}
    return Sweep({**two.at, **one.at}, places)


def _stats_call(broker: Broker, key: Key) -> Call:
    fields = (("consumerGroup", key.group), *((("topic", key.topic),) if key.topic else ()))
    return Call(broker.server, names.GET_CONSUME_STATS, fields)


def _add_all(places: dict[Key, dict[tuple[str, int], Place]], body: Any) -> None:
    """The body of the reply that tells of all groups: a list of objects with one group each, with a list of topics."""
    for entry in listed(body, "consumeStatsList"):
        for group, stats in entry.items():
            for one in stats if isinstance(stats, list) else ():
                _add(places, group, one.get("offsetTable") if isinstance(one, dict) else None)


def _add(places: dict[Key, dict[tuple[str, int], Place]], group: str, told: Any) -> None:
    for text, row in told.items() if isinstance(told, dict) else ():
        queue = queue_of(text)
        if queue is None or not isinstance(row, dict):
            continue
        place = Place(number(row.get("brokerOffset")), number(row.get("consumerOffset")))
        places.setdefault(Key(group, queue.topic), {}).setdefault((queue.broker, queue.number), place)


@lru_cache(maxsize=1 << 16)
def queue_of(key: str) -> names.Queue | None:
    """The queue that a key of a reply stands for; None where it stands for none. Keys come back in every sweep."""
    try:
        return names.queue(key)
    except Malformed:
        return None


# ── through a proxy ──────────────────────────────────────────────────────────────────────────────


def sweep_proxy(host: Host, proxy: Proxy, topics: Mapping[str, Sequence[str]]) -> tuple[Sweep, list[Unseen]]:
    """The offsets of groups, each with its topics, queue by queue: a proxy tells of nothing else."""
    wanted = sorted({topic for those in topics.values() for topic in those})
    routes = [Call(proxy.server, names.GET_ROUTEINFO_BY_TOPIC, (("topic", topic),)) for topic in wanted]
    queues: dict[str, list[tuple[str, int]]] = {}
    unseen: list[Unseen] = []
    for topic, (_, answer) in zip(wanted, ask_all(host, routes), strict=True):
        queues[topic] = list(_routed(answer))
        if isinstance(answer, ProbeError):
            unseen.append(answer.unseen(f"topic {topic}"))
    places: dict[Key, dict[tuple[str, int], Place]] = {}
    asked = [
        (Key(group, topic), place) for group, those in topics.items() for topic in those for place in queues[topic]
    ]
    questions = [question for key, place in asked[:MOST_QUEUES] for question in _offsets(proxy, key, *place)]
    at = host.now()
    answers = [_offset(answer) for _, answer in ask_all(host, questions)]
    for position, (key, place) in enumerate(asked[:MOST_QUEUES]):
        committed, end, low = answers[3 * position : 3 * position + 3]
        if isinstance(end, int) and not isinstance(committed, ProbeError):
            low = low if isinstance(low, int) else None
            places.setdefault(key, {})[place] = Place(end, committed, low, exact=True)
            continue
        error = next(value for value in (end, committed) if isinstance(value, ProbeError))
        unseen.append(error.unseen(f"{key.group} · {key.topic} on {place[0]} q{place[1]}"))
    if len(asked) > MOST_QUEUES:
        left = f"{len(asked) - MOST_QUEUES:,} queues were not asked: a proxy tells of one at a time"
        unseen.append(Unseen("queues", "unsupported", left, "ask a name server, or name a --group and a --topic"))
    return Sweep({broker: at for _, (broker, _) in asked}, places), unseen


def _routed(answer: Answer[Any] | ProbeError) -> Iterator[tuple[str, int]]:
    for data in rows(answer, "queueDatas"):
        if isinstance(data.get("brokerName"), str):
            for at in range(min(number(data.get("readQueueNums")), MOST_QUEUES)):
                yield data["brokerName"], at


def _offsets(proxy: Proxy, key: Key, broker: str, queue: int) -> tuple[Call, Call, Call]:
    """The questions for the committed offset, the end and the beginning of a queue; a proxy wants the broker's name."""
    place = (("bname", broker), ("queueId", str(queue)), ("topic", key.topic))
    committed = (*place, ("consumerGroup", key.group), ("setZeroIfNotFound", "false"))
    return (
        Call(proxy.server, names.QUERY_CONSUMER_OFFSET, committed),
        Call(proxy.server, names.GET_MAX_OFFSET, place),
        Call(proxy.server, names.GET_MIN_OFFSET, place),
    )


def _offset(answer: Answer[Any] | ProbeError) -> int | ProbeError | None:
    """An offset; None is that of nothing committed."""
    if isinstance(answer, ProbeError):
        return None if names.reply_name(names.QUERY_NOT_FOUND) in answer.detail else answer
    return number(answer.value["fields"].get("offset"))
