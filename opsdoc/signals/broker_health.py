"""Whether brokers themselves are well: disk, waiting sends, hidden messages, replicas, open transactions, election."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Literal, NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unseen, known, measure
from opsdoc.signals.alike import is_bad, summed_up
from opsdoc.signals.amounts import duration, listed, number, percent

MIB = 1 << 20


class BrokerHealth(Observation):
    """A broker as it tells of itself. `why` is why it does not answer, or is not there."""

    kind: ClassVar[str] = "broker"
    disk_used: float | Unknown | None = measure("of its disk used", "ratio", "main")
    role: str | None = measure("role", show="line")
    put_rate: float | Unknown | None = measure("in", "per_second", "line")
    get_rate: float | Unknown | None = measure("out", "per_second", "line")
    version: str | None = measure("version", show="line")
    name: str = measure("broker", default="")
    address: str = measure("address", default="")
    reachable: bool = measure("reachable", default=True)
    why: str | None = measure("because")
    disk_path: str | None = measure("on")
    disk_policy: str | None = measure("what it does as the disk fills up")
    dispatch_behind: int | Unknown | None = measure("stored and not visible yet", "bytes")
    send_queue: int | Unknown | None = measure("sends that wait", "count")
    send_wait: float | Unknown | None = measure("the first send waits for", "seconds")
    store_lock: float | Unknown | None = measure("the store is held by one write for", "seconds")
    flush: Literal["async", "sync"] | None = measure("written to disk")
    replication: Literal["async", "sync"] | None = measure("replication")
    slaves: int | Unknown | None = measure("slaves", "count")
    slaves_in_sync: int | Unknown | None = measure("slaves in sync", "count")
    slave_behind: int | Unknown | None = measure("slave behind", "bytes")
    half_messages: int | Unknown | None = measure("transactions not decided", "count")
    oldest_half: float | Unknown | None = measure("oldest of them", "seconds")
    controller: str | Unknown | None = measure("controller")
    controller_ok: bool | None = measure("controller elected")
    by_hand: tuple[str, ...] = measure("by hand", "command", default=())


class Limits(NamedTuple):
    """From which share, time or size on it matters."""

    disk_used: Limit = Limit(
        0.75,
        0.85,
        "ratio",
        "RocketMQ deletes expired files at any hour from 75 % on (diskMaxUsedSpaceRatio), from 85 % on files that are "
        "not expired (diskSpaceCleanForciblyRatio), and takes no more messages from 90 % (diskSpaceWarningLevelRatio)",
    )
    send_wait: Limit = Limit(
        0.1, 0.2, "seconds", "RocketMQ refuses what has waited 0.2 s (waitTimeMillsInSendQueue): half of it is left"
    )
    store_lock: Limit = Limit(
        0.5, 1.0, "seconds", "after 1 s RocketMQ calls its page cache busy (osPageCacheBusyTimeOutMills) and refuses"
    )
    dispatch_behind: Limit = Limit(
        16 * MIB, 256 * MIB, "bytes", "normally 0: it is work of less than a second for a disk, then of many"
    )
    slave_behind: Limit = Limit(
        64 * MIB, 256 * MIB, "bytes", "beyond 256 MiB RocketMQ no longer counts a slave as in sync (haMaxGapNotInSync)"
    )
    oldest_half: Limit = Limit(
        180.0,
        900.0,
        "seconds",
        "RocketMQ asks the producer after 6 s and then every 30 or 60 s, 15 times, and then drops the message",
    )


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Each broker, worst first; then one finding for those that are well, and one for what is unknown of them."""
    brokers = [o for o in observations if isinstance(o, BrokerHealth)]
    judged = [(broker, list(_judge_broker(broker, limits))) for broker in brokers]
    found = [finding for _, findings in judged for finding in findings]
    yield from summed_up(sorted(found, key=lambda finding: -finding.severity))
    fine = [broker for broker, findings in judged if not any(map(is_bad, findings))]
    if fine:
        yield _fine(fine, "other " if len(fine) < len(brokers) else "")


def _judge_broker(broker: BrokerHealth, limits: Limits) -> Iterator[Finding]:
    if not broker.reachable:
        yield _unreachable(broker)
        return
    found = [
        _disk(broker, limits),
        _sends(broker, limits),
        _dispatch(broker, limits),
        _replicas(broker, limits),
        _halves(broker, limits),
        _controller(broker),
        _unknown(broker),
    ]
    yield from (finding for finding in found if finding is not None)


def _unreachable(broker: BrokerHealth) -> Finding:
    """A slave that is gone takes nothing with it but the safety."""
    slave = broker.role == "slave"
    lost = (
        "its master has one copy less"
        if slave
        else "its queues take no messages, and what waits in them is consumed late or from a slave"
    )
    return _finding(
        "broker.unreachable",
        broker,
        Severity.WARNING if slave else Severity.CRITICAL,
        f"{broker.subject} does not answer{f' ({broker.why})' if broker.why else ''}: {lost}",
        "see whether its process lives and its port is open from here; nothing else is known of it",
    )


def _disk(broker: BrokerHealth, limits: Limits) -> Finding | None:
    used = known(broker.disk_used)
    if used is None or limits.disk_used.grade(used) is Severity.OK:
        return None
    where = f" ({broker.disk_path})" if broker.disk_path else ""
    return _graded(
        "broker.disk",
        broker,
        limits.disk_used,
        "disk_used",
        used,
        f"the disk of {broker.subject}{where} is {percent(used)} full: "
        f"{broker.disk_policy or 'when it is full, no message is taken'}",
        "make room or keep messages for less long; see which topic grows, and who does not consume it",
    )


def _sends(broker: BrokerHealth, limits: Limits) -> Finding | None:
    """What producers wait for: the first in the queue, or the write that holds the store; the worse of the two."""
    measured = {"send_wait": known(broker.send_wait), "store_lock": known(broker.store_lock)}
    graded = [
        (limit.grade(value), name, limit, value)
        for name, value in measured.items()
        if value is not None and (limit := getattr(limits, name)) and limit.grade(value) is not Severity.OK
    ]
    if not graded:
        return None
    _, name, limit, value = max(graded, key=lambda one: one[0])
    queued = known(broker.send_queue)
    what = (
        f"sends to {broker.subject} wait {duration(value)}" + (f", {queued:,} of them" if queued else "")
        if name == "send_wait"
        else f"one write holds the store of {broker.subject} for {duration(value)}"
    )
    return _graded(
        "broker.send-wait",
        broker,
        limit,
        name,
        value,
        f"{what}: producers are slowed down, and refused when it becomes more",
        "see whether its disk is slow or busy, whether it waits for a slave, and whether its JVM pauses",
    )


def _dispatch(broker: BrokerHealth, limits: Limits) -> Finding | None:
    behind = known(broker.dispatch_behind)
    if behind is None or limits.dispatch_behind.grade(behind) is Severity.OK:
        return None
    return _graded(
        "broker.dispatch-behind",
        broker,
        limits.dispatch_behind,
        "dispatch_behind",
        behind,
        f"{broker.subject} has stored {_size(behind)} that no consumer can see yet: the queues do not follow its log, "
        "so each backlog is larger than it looks",
        "see whether its disk is slow or busy",
    )


def _replicas(broker: BrokerHealth, limits: Limits) -> Finding | None:
    """Whether a copy is in sync; where sends wait for one, none in sync means that they fail."""
    slaves, in_sync, behind = known(broker.slaves), known(broker.slaves_in_sync), known(broker.slave_behind)
    if slaves and in_sync == 0:
        waits = broker.replication == "sync"
        return _finding(
            "broker.slave-behind",
            broker,
            Severity.CRITICAL if waits else Severity.WARNING,
            f"none of {number(slaves, 'slave')} of {broker.subject} is in sync: "
            + ("sends wait for one and fail" if waits else "what it loses now is lost"),
            "see whether the slave lives, and the network between the two",
        )
    if behind is None or limits.slave_behind.grade(behind) is Severity.OK:
        return None
    return _graded(
        "broker.slave-behind",
        broker,
        limits.slave_behind,
        "slave_behind",
        behind,
        f"a slave of {broker.subject} is {_size(behind)} behind: what it lacks is lost if the master is",
        "see whether the slave's disk or the network between the two is slow",
    )


def _halves(broker: BrokerHealth, limits: Limits) -> Finding | None:
    number_of, age = known(broker.half_messages), known(broker.oldest_half)
    if not number_of or age is None or limits.oldest_half.grade(age) is Severity.OK:
        return None
    return _graded(
        "broker.half-messages",
        broker,
        limits.oldest_half,
        "oldest_half",
        age,
        f"{number(number_of, 'transaction')} on {broker.subject} {'is' if number_of == 1 else 'are'} not decided, the "
        f"oldest for {duration(age)}: no consumer sees these messages, and they are dropped in the end",
        "see whether the producers live and answer when they are asked how their transactions ended",
    )


def _controller(broker: BrokerHealth) -> Finding | None:
    if broker.controller_ok is not False:
        return None
    return _finding(
        "broker.controller",
        broker,
        Severity.WARNING,
        f"no controller is elected for {broker.subject}: if its master fails, nobody makes a slave the master",
        "see whether more than half of the controllers live and reach each other",
    )


_TITLES: Mapping[str, str] = {
    "disk_used": "disk use",
    "send_wait": "wait of sends",
    "dispatch_behind": "messages not visible yet",
    "slave_behind": "replication",
    "half_messages": "open transactions",
    "oldest_half": "age of open transactions",
    "controller": "controller",
}


def _unknown(broker: BrokerHealth) -> Finding | None:
    """What it was asked and did not tell."""
    unknown = {name: value for name in _TITLES if isinstance(value := getattr(broker, name), Unknown)}
    if not unknown:
        return None
    reasons = listed(list(dict.fromkeys(value.reason for value in unknown.values())), 2)
    return _finding(
        "broker.unknown",
        broker,
        Severity.UNKNOWN,
        f"{listed([_TITLES[name] for name in unknown], 4)} of {broker.subject} unknown: {reasons}",
        "see why it does not tell; until then it is not known to be well",
    )


def _fine(brokers: Sequence[BrokerHealth], other: str) -> Finding:
    disks = [used for broker in brokers if (used := known(broker.disk_used)) is not None]
    rates = [rate for broker in brokers if (rate := known(broker.put_rate)) is not None]
    told = [f"disk {percent(max(disks))} full" + (" at most" if len(disks) > 1 else "")] if disks else []
    told += [f"{sum(rates):,.0f} messages/s come in"] if rates else []
    said = f"{number(len(brokers), f'{other}broker')} {'is' if len(brokers) == 1 else 'are'} well"
    return Finding(
        rule="broker.fine",
        key="broker.fine:all",
        severity=Severity.OK,
        subject=listed([broker.subject for broker in brokers]),
        summary=": ".join(filter(None, (said, ", ".join(told)))),
        evidence=tuple(broker.id for broker in brokers[:5] if broker.id),
    )


# ── findings ─────────────────────────────────────────────────────────────────────────────────────


def _graded(
    rule: str, broker: BrokerHealth, limit: Limit, name: str, value: float, summary: str, next_step: str
) -> Finding:
    found = _finding(rule, broker, limit.grade(value), summary, next_step)
    return found._replace(threshold=limit.crossed(f"broker_health.{name}", value))


def _finding(rule: str, broker: BrokerHealth, severity: Severity, summary: str, next_step: str) -> Finding:
    told = "told by the broker itself" if broker.reachable else "one attempt"
    return Finding(
        rule=rule,
        key=f"{rule}:{broker.name or broker.subject}" + (f"/{broker.role}" if broker.role == "slave" else ""),
        severity=severity,
        subject=broker.subject,
        summary=summary,
        evidence=(broker.id,) if broker.id else (),
        confidence=told,
        next_step=next_step,
        by_hand=broker.by_hand or _BY_HAND.get(rule, ()),
    )


# On the broker's machine, where its probe knows no better.
_BY_HAND: Mapping[str, tuple[str, ...]] = {
    "broker.disk": ("df -h", "du -xsh *"),
    "broker.send-wait": ("iostat -x 1 3", "vmstat 1 5"),
    "broker.dispatch-behind": ("iostat -x 1 3",),
    "broker.slave-behind": ("ss -tni", "iostat -x 1 3"),
}


def _size(octets: int) -> str:
    return f"{octets / MIB:,.0f} MiB" if octets < 10 * 1024 * MIB else f"{octets / 1024 / MIB:,.0f} GiB"
