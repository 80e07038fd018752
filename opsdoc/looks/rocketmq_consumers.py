"""Members of RocketMQ's consumer groups: who they are, and what a client tells of itself when a broker asks it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from opsdoc.clients.rocketmq import Call
from opsdoc.host import Answer, Host
from opsdoc.looks.rocketmq_cluster import Broker, ask_all, decimal, inner, listed, number, success
from opsdoc.looks.rocketmq_offsets import queue_of
from opsdoc.model import Frame, ProbeError, Share, Unknown, Unseen
from opsdoc.parsers import rocketmq_names as names
from opsdoc.parsers import rocketmq_stacks
from opsdoc.signals.consumer_facts import Consumer, state_of
from opsdoc.signals.origin import classify

ANSWERS_WITHIN = 3.0  # seconds: the broker waits for the client itself, and one that is dead never answers
IN_ALL = 4.0  # seconds for all of them, who are asked side by side
CLIENTS = 10  # of a group that are asked

OFFLINE = (names.reply_name(names.CONSUMER_NOT_ONLINE), names.reply_name(26))


class Client(NamedTuple):
    """A member of a group as a broker knows it; `connections` are its processes, or what looks like several."""

    name: str
    address: str
    language: str | None
    version: str | None
    connections: int
    broker: Broker


class Group(NamedTuple):
    """The members of a group, and how they consume. `subscriptions` are filters by topic, `*` for all."""

    clients: tuple[Client, ...] = ()
    mode: Literal["clustering", "broadcast"] | None = None
    consume_from: Literal["earliest", "latest"] | None = None
    subscriptions: Mapping[str, str] = {}


# ── who is there ─────────────────────────────────────────────────────────────────────────────────


def members(
    host: Host, wanted: Mapping[str, Sequence[Broker]], ends: float
) -> tuple[dict[str, Group], dict[str, ProbeError]]:
    """The members of each group, asked for at its brokers; and what went wrong where nobody could say."""
    asked = [(group, broker) for group, brokers in wanted.items() for broker in brokers]
    questions = [
        Call(broker.server, names.GET_CONSUMER_CONNECTION_LIST, (("consumerGroup", group),)) for group, broker in asked
    ]
    told: dict[str, list[tuple[Broker, Any]]] = {}
    failed: dict[str, ProbeError] = {}
    for (group, broker), (_, answer) in zip(asked, ask_all(host, questions, ends), strict=True):
        if isinstance(answer, Answer):
            told.setdefault(group, []).append((broker, answer.value["body"]))
        elif any(word in answer.detail for word in OFFLINE):
            told.setdefault(group, [])
        else:
            failed[group] = answer
    groups = {group: _group(bodies) for group, bodies in told.items()}
    return groups, {group: error for group, error in failed.items() if not groups.get(group, Group()).clients}


def _group(bodies: Sequence[tuple[Broker, Any]]) -> Group:
    clients: dict[str, Client] = {}
    group = Group()
    for broker, body in bodies:
        if not isinstance(body, dict):
            continue
        connections_told = listed(body, "connectionSet")
        count = Counter(str(one.get("clientId", "")) for one in connections_told)
        for one in connections_told:
            name = str(one.get("clientId", ""))
            address = str(one.get("clientAddr", ""))
            version = names.version_name(number(one.get("version")))
            known_one = clients.get(name)
            connections = max(count[name], known_one.connections if known_one else 1)
            clients[name] = Client(name, address, str(one.get("language") or "") or None, version, connections, broker)
        subscriptions = {topic: _filter(row) for topic, row in inner(body, "subscriptionTable").items()}
        group = Group(
            mode="broadcast" if body.get("messageModel") == "BROADCASTING" else "clustering",
            consume_from="earliest" if "FIRST" in str(body.get("consumeFromWhere")) else "latest",
            subscriptions={**group.subscriptions, **subscriptions},
        )
    return group._replace(clients=tuple(sorted(clients.values(), key=lambda client: client.name)))


def _filter(row: Any) -> str:
    """What of a topic is wanted: `*`, tags, or SQL."""
    text = row.get("subString") if isinstance(row, dict) else None
    return text if isinstance(text, str) and text else "*"


# ── what they do ─────────────────────────────────────────────────────────────────────────────────


class Running(NamedTuple):
    """What a client told: what is observed of it, which queues it has, and where it began in each of them."""

    observed: Consumer
    queues: frozenset[names.Queue]
    starts: Mapping[names.Queue, int]
    ordered: bool | None


def running(
    host: Host, groups: Mapping[str, Group], clocks: Mapping[str, float], wall_now: float, name_servers: str
) -> tuple[dict[str, list[Running]], list[Unseen]]:
    """What the members of groups do, with the stack of their consume threads; CLIENTS of each are asked, at once.

    `wall_now` is the time of day in seconds, `clocks` by how much the clocks of brokers are ahead of it; clients are
    taken to have the time of their broker.
    """
    asked = [(group, client) for group, found in groups.items() for client in found.clients[:CLIENTS]]
    questions = [_question(group, client) for group, client in asked]
    found: dict[str, list[Running]] = {}
    unseen: list[Unseen] = []
    for (group, client), question, answer in zip(asked, questions, host.gather(questions, IN_ALL), strict=True):
        reply = success(answer, question)
        now = wall_now + clocks.get(client.broker.name, 0.0)
        if isinstance(reply, ProbeError):
            unseen.append(reply.unseen(f"client {client.name} of {group}"))
            one = Running(_silent(group, client, reply), frozenset(), {}, None)
        else:
            one = _told(group, client, reply.value["body"], now)
        found.setdefault(group, []).append(one)
    for group, one_group in groups.items():
        if (left := len(one_group.clients) - CLIENTS) > 0:
            what = f"{left:,} of {len(one_group.clients):,} clients were not asked: opsdoc asks {CLIENTS} of a group"
            unseen.append(Unseen(f"clients of {group}", "unsupported", what, "mqadmin consumerStatus asks all of them"))
    told = {group: [_with_command(one, name_servers) for one in those] for group, those in found.items()}
    return {group: _with_mismatches(those) for group, those in told.items()}, unseen


def _with_command(one: Running, name_servers: str) -> Running:
    seen = one.observed
    command = f"mqadmin consumerStatus -n {name_servers} -g {seen.consumer} -i {seen.client} -s true"
    return one._replace(observed=seen.replaced(by_hand=(command,)))


def _question(group: str, client: Client) -> Call:
    fields = (("consumerGroup", group), ("clientId", client.name), ("jstackEnable", "true"))
    return Call(client.broker.server, names.GET_CONSUMER_RUNNING_INFO, fields, ANSWERS_WITHIN)


def _silent(group: str, client: Client, error: ProbeError) -> Consumer:
    nothing = Unknown(error.detail)
    return _consumer(group, client).replaced(cached=nothing, since=nothing, frames=nothing, last_pull=nothing)


def _consumer(group: str, client: Client) -> Consumer:
    return Consumer(
        subject=f"{group} client {client.name}",
        consumer=group,
        client=client.name,
        address=client.address,
        language=client.language,
        version=client.version,
        connections=client.connections,
    )


def _told(group: str, client: Client, body: Any, now: float) -> Running:
    rows = {queue: row for text, row in inner(body, "mqTable").items() if (queue := queue_of(text)) and _is_live(row)}
    own = {queue: row for queue, row in rows.items() if not queue.topic.startswith(names.RETRY)}
    properties = inner(body, "properties")
    ordered = _true(properties.get("PROP_CONSUMEORDERLY"))
    held = sum(_held(row) for row in rows.values())
    since = _since(rows.values(), now)
    last_pull = _ago([row.get("lastPullTimestamp") for row in (own or rows).values()], now)
    unlocked = sum(row.get("locked") is not True for row in own.values()) if ordered else None
    statuses = [row for row in inner(body, "statusTable").values() if isinstance(row, dict)]
    threads = [
        stack for stack in rocketmq_stacks.parse(_dump(body)) if stack.name.startswith(rocketmq_stacks.CONSUMING)
    ]
    frames, agreement = _common(threads)
    observed = _consumer(group, client).replaced(
        cached=held,
        state=state_of(
            cached=held,
            since=since,
            last_pull=last_pull,
            queues=len(rows),
            ordered=bool(ordered),
            unlocked=unlocked or 0,
        ),
        since=since,
        ok_rate=_added(statuses, "consumeOKTPS"),
        failed_rate=_added(statuses, "consumeFailedTPS"),
        consume_seconds=_mean_seconds(statuses),
        frames=frames,
        agreement=agreement,
        threads=number(properties.get("PROP_THREADPOOL_CORE_SIZE")) or len(threads) or None,
        queues=len(own),
        ordered=ordered,
        unlocked=unlocked,
        last_pull=last_pull,
        subscription=_subscription(body),
    )
    starts = {queue: start for queue, row in rows.items() if (start := _start(row)) is not None}
    return Running(observed, frozenset(rows), starts, ordered)


def _dump(body: Any) -> str:
    text = body.get("jstack") if isinstance(body, dict) else None
    return text if isinstance(text, str) else ""


def _is_live(row: Any) -> bool:
    """`droped` is how RocketMQ spells it: the queue went to another client."""
    return isinstance(row, dict) and row.get("droped") is not True


def _held(row: Mapping[str, Any]) -> int:
    """Messages in the client that are not consumed: those in its cache, and those that are being consumed in order."""
    return max(0, number(row.get("cachedMsgCount"))) + max(0, number(row.get("transactionMsgCount")))


def _start(row: Mapping[str, Any]) -> int | None:
    """The first offset that a client has of a queue."""
    starts = [
        number(row.get(f"{kind}MsgMinOffset"))
        for kind in ("cached", "transaction")
        if number(row.get(f"{kind}MsgCount")) > 0
    ]
    return min(starts, default=None)


def _ago(stamps: Iterable[Any], now: float) -> float | Unknown | None:
    """How long ago the latest of some times in milliseconds was, in seconds; None where there is none at all."""
    numbers = [number(stamp) for stamp in stamps]
    latest = max(numbers, default=0)
    if not numbers:
        return None
    return max(0.0, round(now - latest / 1000, 1)) if latest > 0 else Unknown("the client tells no time")


def _since(rows: Iterable[Mapping[str, Any]], now: float) -> float | Unknown | None:
    """How long ago it consumed from the queue with messages at hand that it left alone longest, else from any."""
    all_rows = list(rows)
    at_hand = [
        ago for row in all_rows if _held(row) and (ago := _ago([row.get("lastConsumeTimestamp")], now)) is not None
    ]
    told = [ago for ago in at_hand if isinstance(ago, float)]
    if at_hand:
        return max(told) if told else at_hand[0]
    return _ago([row.get("lastConsumeTimestamp") for row in all_rows], now)


def _true(value: Any) -> bool | None:
    return {"true": True, "false": False}.get(str(value).lower())


def _added(statuses: Sequence[Mapping[str, Any]], name: str) -> float | Unknown:
    rates = [rate for status in statuses if (rate := decimal(status.get(name))) is not None]
    return round(sum(rates), 3) if rates else Unknown("the client tells no rates")


def _mean_seconds(statuses: Sequence[Mapping[str, Any]]) -> float | None:
    """The mean time that a message took in the last minute, over all topics; None where none was consumed."""
    weighted = [
        (decimal(status.get("consumeRT")) or 0.0, decimal(status.get("consumeOKTPS")) or 0.0) for status in statuses
    ]
    total = sum(rate for _, rate in weighted)
    return round(sum(time * rate for time, rate in weighted) / total / 1000, 4) if total else None


def _common(threads: Sequence[rocketmq_stacks.Stack]) -> tuple[tuple[Frame, ...] | None, Share | None]:
    """The most common stack of the consume threads that are at work; of those that idle, where all do."""
    working = [stack for stack in threads if not _waits_for_work(stack)]
    counted = Counter(stack.frames for stack in working or threads)
    if not counted:
        return None, None
    frames, seen = counted.most_common(1)[0]
    return classify(frames, "java"), Share(seen, len(threads))


def _waits_for_work(stack: rocketmq_stacks.Stack) -> bool:
    return any(frame.function.endswith("ThreadPoolExecutor.getTask") for frame in stack.frames)


def _subscription(body: Any) -> str | None:
    """`order-topic *, stock-topic TagA || TagB`; the retries of the group, which it always has, are left out."""
    texts = [
        f"{one.get('topic')} {_filter(one)}"
        for one in listed(body, "subscriptionSet")
        if not str(one.get("topic")).startswith(names.RETRY)
    ]
    return ", ".join(sorted(texts)) or None


def _with_mismatches(found: Sequence[Running]) -> list[Running]:
    """The same, with what is different noted at each client that subscribes to something else than most do."""
    counted = Counter(one.observed.subscription for one in found if one.observed.subscription is not None)
    if len(counted) < 2:
        return list(found)
    usual = counted.most_common(1)[0][0]
    return [
        one._replace(observed=one.observed.replaced(mismatch=f"subscribes to {one.observed.subscription}"))
        if one.observed.subscription not in (None, usual)
        else one
        for one in found
    ]


def owners(found: Sequence[Running]) -> dict[names.Queue, str]:
    """Which client has which queue, of those that told."""
    return {queue: one.observed.client for one in found for queue in one.queues}
