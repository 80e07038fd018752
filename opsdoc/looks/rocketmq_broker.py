"""RocketMQ's brokers themselves: disk, dispatch, sends that wait, replicas, and transactions that are not decided."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from opsdoc.clients.rocketmq import Call
from opsdoc.host import Host
from opsdoc.looks.rocketmq_cluster import Broker, ask_all, decimal, number, table, wall
from opsdoc.looks.rocketmq_messages import index, messages
from opsdoc.looks.rocketmq_offsets import First, Settings
from opsdoc.model import ProbeError, Unknown
from opsdoc.parsers import rocketmq_names as names
from opsdoc.signals.broker_health import BrokerHealth

HALF, DECIDED = "RMQ_SYS_TRANS_HALF_TOPIC", "RMQ_SYS_TRANS_OP_HALF_TOPIC"
CHECKER = "CID_RMQ_SYS_TRANS"  # the group of the broker's own that decides what transactions become
MOST_HALVES = 128  # of transactions that are read, to see which are decided and how old the first is
ROUND = 180.0  # seconds: the checker goes through them every 60 s (4.x) or 30 s (5.x)

_NOT_TOLD = Unknown("the broker does not tell it")
_DISK = "commitLogDiskRatio"


def health(host: Host, first: First, ends: float) -> Iterator[BrokerHealth]:
    """Each broker by its own account; those that did not answer, too."""
    slaves = _slaves(host, first, ends)
    for settings in first.settings:
        yield _healthy(host, settings, slaves.get(settings.broker.name, ()), ends)
        for address, told in slaves.get(settings.broker.name, ()):
            if isinstance(told, ProbeError):
                slave = settings.broker._replace(
                    server=settings.broker.server._replace(address=address), is_master=False
                )
                yield _unreachable(slave, told)
    for broker, error in first.lost:
        yield _unreachable(broker, error)


def _unreachable(broker: Broker, error: ProbeError) -> BrokerHealth:
    nothing = Unknown(error.detail)
    return BrokerHealth(
        subject=broker.subject,
        disk_used=nothing,
        role="master" if broker.is_master else "slave",
        name=broker.name,
        address=broker.server.address,
        reachable=False,
        why=error.detail,
    )


def _healthy(
    host: Host, settings: Settings, slaves: Sequence[tuple[str, Mapping[str, Any] | ProbeError]], ends: float
) -> BrokerHealth:
    broker, runtime, config = settings.broker, settings.runtime, settings.config
    used, path = _disk(runtime)
    role = str(config.get("brokerRole", ""))
    halves = _halves(host, settings, ends)
    answered = [told for _, told in slaves if not isinstance(told, ProbeError)]
    return BrokerHealth(
        subject=broker.subject,
        disk_used=used,
        role="master" if broker.is_master else "slave",
        put_rate=_rate(runtime, "putTps"),
        get_rate=_rate(runtime, "getTransferedTps", "getTransferredTps"),
        version=str(runtime.get("brokerVersionDesc", "")).removeprefix("V").replace("_", ".") or None,
        name=broker.name,
        address=broker.server.address,
        disk_path=path,
        dispatch_behind=_whole(runtime, "dispatchBehindBytes"),
        send_queue=_whole(runtime, "sendThreadPoolQueueSize"),
        send_wait=_milliseconds(runtime, "sendThreadPoolQueueHeadWaitTimeMills"),
        store_lock=_milliseconds(runtime, "pageCacheLockTimeMills"),
        flush=_sync(config.get("flushDiskType")),
        replication=None if not role or role == "SLAVE" else "sync" if role == "SYNC_MASTER" else "async",
        slaves=len(slaves) if broker.is_master else None,
        slaves_in_sync=len(answered) if broker.is_master and slaves else None,
        slave_behind=_behind(runtime, answered) if broker.is_master and slaves else None,
        half_messages=halves.number,
        oldest_half=halves.oldest,
        by_hand=(f"mqadmin brokerStatus -b {broker.server.address}",),
    )


def _sync(value: Any) -> Any:
    return {"SYNC_FLUSH": "sync", "ASYNC_FLUSH": "async"}.get(str(value))


def _disk(runtime: Mapping[str, Any]) -> tuple[float | Unknown, str | None]:
    """The fullest disk of the commit log, and where it is; -1 is what a broker says that cannot see it."""
    found = [
        (ratio, name.removeprefix(_DISK).lstrip("_") or None)
        for name, value in runtime.items()
        if name.startswith(_DISK) and (ratio := decimal(value)) is not None and ratio <= 1
    ]
    if not found:
        return _NOT_TOLD, None
    return max(found, key=lambda one: (one[0], one[1] is not None))


def _rate(runtime: Mapping[str, Any], *keys: str) -> float | Unknown:
    """The first of three rates, which is that of the last ten seconds."""
    for key in keys:
        if (rate := decimal(runtime.get(key))) is not None:
            return round(rate, 3)
    return _NOT_TOLD


def _whole(runtime: Mapping[str, Any], key: str) -> int | Unknown:
    value = decimal(runtime.get(key))
    return _NOT_TOLD if value is None else int(value)


def _milliseconds(runtime: Mapping[str, Any], key: str) -> float | Unknown:
    value = decimal(runtime.get(key))
    return _NOT_TOLD if value is None else value / 1000


# ── slaves ───────────────────────────────────────────────────────────────────────────────────────


def _slaves(host: Host, first: First, ends: float) -> dict[str, list[tuple[str, Mapping[str, Any] | ProbeError]]]:
    """What the slaves of each broker tell of themselves."""
    asked = [(one.broker, address) for one in first.settings if one.broker.is_master for address in one.broker.slaves]
    questions = [
        Call(broker.server._replace(address=address), names.GET_BROKER_RUNTIME_INFO) for broker, address in asked
    ]
    found: dict[str, list[tuple[str, Mapping[str, Any] | ProbeError]]] = {}
    for (broker, address), (_, answer) in zip(asked, ask_all(host, questions, ends), strict=True):
        told = answer if isinstance(answer, ProbeError) else table(answer, "table")
        found.setdefault(broker.name, []).append((address, told))
    return found


def _behind(runtime: Mapping[str, Any], slaves: Sequence[Mapping[str, Any]]) -> int | Unknown:
    """How many bytes the slave that is furthest behind has not got. It was asked after its master, so it is no less."""
    end = decimal(runtime.get("commitLogMaxOffset"))
    ends = [decimal(told.get("commitLogMaxOffset")) for told in slaves]
    known_ends = [value for value in ends if value is not None]
    if end is None or not known_ends:
        return Unknown("no slave tells how far it is")
    return max(0, int(end - min(known_ends)))


# ── transactions ─────────────────────────────────────────────────────────────────────────────────


class Halves(NamedTuple):
    """Messages of transactions that are neither committed nor rolled back, and the age of the oldest in seconds."""

    number: int | Unknown | None
    oldest: float | Unknown | None


def _halves(host: Host, settings: Settings, ends: float) -> Halves:
    """What the checker has not yet passed, without those whose decision stands in the topic of decisions.

    A decision is a message whose body names the offsets decided: one in 4.x, several in 5.x. Where too much is under
    way to read all of it, the first are looked at: one that is older than a round of the checker was passed by it
    undecided. Are they all young, there is nothing to tell, and both are None.
    """
    if not settings.broker.is_master:
        return Halves(None, None)
    if host.now() >= ends:
        late = Unknown("no time was left in the window to ask")
        return Halves(late, late)
    try:
        low, end = _pending(host, settings.broker, HALF)
        if low >= end:
            return Halves(0, None)
        decided = _decided(host, settings.broker)
        read = _read(host, settings.broker, HALF, low, min(end - low, MOST_HALVES))
    except ProbeError as error:
        return Halves(Unknown(error.detail), Unknown(error.detail))
    now = wall(host, host.now()) + settings.clock
    # It is stored anew each time that it is checked, so that only its birth tells its age.
    ages = [now - number(one.get("born_at")) / 1000 for one in read if number(one.get("queue_offset")) not in decided]
    if decided is _MANY or end - low > MOST_HALVES:
        ages = [age for age in ages if age > ROUND]
        return Halves(len(ages) or None, round(max(ages), 1) if ages else None)
    return Halves(len(ages), max(0.0, round(max(ages), 1)) if ages else None)


_MANY: frozenset[int] = frozenset({-1})


def _pending(host: Host, broker: Broker, topic: str) -> tuple[int, int]:
    """From where to where the checker has to go in the one queue of a topic, which 4.9 has no settings of."""
    place = (("topic", topic), ("queueId", "0"))
    checked = (*place, ("consumerGroup", CHECKER), ("setZeroIfNotFound", "false"))
    questions = [
        Call(broker.server, names.QUERY_CONSUMER_OFFSET, checked),
        Call(broker.server, names.GET_MIN_OFFSET, place),
        Call(broker.server, names.GET_MAX_OFFSET, place),
    ]
    offsets = []
    for _, answer in ask_all(host, questions):
        if not isinstance(answer, ProbeError):
            offsets.append(number(answer.value["fields"].get("offset")))
        elif names.reply_name(names.QUERY_NOT_FOUND) in answer.detail:  # it never had anything to check
            offsets.append(0)
        else:
            raise answer
    committed, low, end = offsets
    return max(committed, low), end


def _decided(host: Host, broker: Broker) -> frozenset[int]:
    """The offsets whose decision the checker has not seen; _MANY where there are too many to read."""
    low, end = _pending(host, broker, DECIDED)
    if end - low > MOST_HALVES:
        return _MANY
    found: set[int] = set()
    for message in _read(host, broker, DECIDED, low, end - low):
        body = message.get("body")
        if body is None or len(body) >= 200:  # only the beginning of a body is told
            return _MANY
        found.update(int(word) for word in re.findall(r"\d{1,19}", body, re.ASCII))
    return frozenset(found)


def _read(host: Host, broker: Broker, topic: str, start: int, count: int) -> list[dict[str, Any]]:
    return messages(host, broker, topic, index(host, broker, topic, 0, start, count)[1]) if count > 0 else []
