"""Two samples and the rates between them: of the machine, its processes and the threads of one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from typing import Any, NamedTuple

from opsdoc.clients import proc
from opsdoc.host import Host
from opsdoc.model import Interrupted, Malformed, TimedOut, Unknown, Unseen
from opsdoc.parsers.procfs import CLOCK_TICKS, Stat, System, parse_pressure, parse_scan, parse_system
from opsdoc.parsers.vmstat import VmStat, parse_softirqs, parse_stalled, parse_vmstat
from opsdoc.signals.box import Box

NOTICEABLE = 0.05  # cores


class Sample(NamedTuple):
    """The stat of every process, or of every thread of one, when it was read (seconds since the run began)."""

    at: float
    stats: Mapping[int, Stat]

    @property
    def observer(self) -> int:
        """Opsdoc itself: the first of a scan of processes."""
        return next(iter(self.stats))


class Usage(NamedTuple):
    """CPU used between two samples, in cores."""

    user: float
    system: float

    @property
    def cpu(self) -> float:
        return round(self.user + self.system, 4)


def processes(host: Host) -> Sample:
    """All processes now."""
    answer = host.ask(proc.Processes())
    return Sample(answer.at, parse_scan(answer.value))


def threads(host: Host, pid: int, tids: tuple[int, ...] = ()) -> Sample:
    """The threads of a process now: all, or those asked for."""
    answer = host.ask(proc.Threads(pid, tids))
    return Sample(answer.at, parse_scan(answer.value))


def let_pass(host: Host, window: float) -> Iterator[Unseen]:
    """Let the window pass; one that is cut short by an interrupt or the deadline is yielded as a blind spot."""
    try:
        host.sleep(window)
    except (Interrupted, TimedOut) as error:
        yield Unseen(subject="the rest of the window", reason=error.reason, detail="the window was cut short")


def usage(earlier: Sample, later: Sample) -> dict[int, Usage]:
    """CPU by id, hottest first.

    An id that came in between, or that was used again by another process, is charged with all it has used, which was
    all used in between.
    """
    rates = {identity: usage_of(identity, earlier, later) for identity in later.stats}
    return dict(sorted(rates.items(), key=lambda item: -item[1].user - item[1].system))


def usage_of(identity: int, earlier: Sample, later: Sample) -> Usage:
    """CPU of one id that the later sample has; see `usage`."""
    span = max(later.at - earlier.at, 1e-6) * CLOCK_TICKS
    now, then = later.stats[identity], earlier.stats.get(identity)
    if then is None or then.started != now.started:
        return Usage(now.user / span, now.system / span)
    return Usage(max(0, now.user - then.user) / span, max(0, now.system - then.system) / span)


def reaped(pid: int, earlier: Sample, later: Sample, known: Mapping[int, int] | None = None) -> float:
    """CPU of the children of a process that ended and were waited for in between, in cores of the window.

    The kernel adds all that a child used in its life when it ends; what those of the earlier sample had used until
    then, by parent, is left out: `known`, or asked of the samples.
    """
    span = max(later.at - earlier.at, 1e-6) * CLOCK_TICKS
    then, now = earlier.stats.get(pid), later.stats[pid]
    before = then.children if then is not None and then.started == now.started else 0
    old = (_used_by_the_gone(earlier, later) if known is None else known).get(pid, 0)
    return round(max(0, now.children - before - old) / span, 4)


def _used_by_the_gone(earlier: Sample, later: Sample) -> dict[int, int]:
    """What processes that are gone had used when they were seen last, in ticks by their parent."""
    used: dict[int, int] = {}
    for pid, stat in earlier.stats.items():
        if pid not in later.stats or later.stats[pid].started != stat.started:
            used[stat.ppid] = used.get(stat.ppid, 0) + stat.used + stat.children
    return used


def accounted(earlier: Sample, later: Sample) -> float:
    """CPU of all live processes, and of what opsdoc itself started (py-spy, perf) that has ended, in cores."""
    return sum(rate.cpu for rate in usage(earlier, later).values()) + reaped(later.observer, earlier, later)


def with_busy_parent(ranking: list[int], earlier: Sample, later: Sample) -> list[int]:
    """A ranking, and the process whose ended children used the most CPU if it is not in it: no ranking shows those."""
    pids = others(later, usage(earlier, later))
    known = _used_by_the_gone(earlier, later)
    parent = max(pids, key=lambda pid: reaped(pid, earlier, later, known), default=None)
    if parent is None or parent in ranking or reaped(parent, earlier, later, known) < NOTICEABLE:
        return ranking
    return [*ranking, parent]


def ended(earlier: Sample, later: Sample) -> int:
    """How many processes of a sample are gone in a later one."""
    return sum(
        pid not in later.stats or later.stats[pid].started != stat.started for pid, stat in earlier.stats.items()
    )


def others(sample: Sample, rates: Mapping[int, Usage]) -> dict[int, Usage]:
    """The rates of all processes but opsdoc and its children."""
    own = sample.observer
    return {pid: rate for pid, rate in rates.items() if pid != own and sample.stats[pid].ppid != own}


class BoxSample(NamedTuple):
    """The machine at a moment."""

    at: float
    system: System
    cpu_pressure: str | None
    io_pressure: str | None
    booted: int
    memory_pressure: str | None = None
    vmstat: str | None = None
    softirqs: str | None = None


def box_sample(host: Host) -> BoxSample:
    """The machine now."""
    answer = host.ask(proc.Box())
    files = answer.value
    stat = files["stat"] or ""
    booted = next((int(line.split()[1]) for line in stat.splitlines() if line.startswith("btime ")), 0)
    return BoxSample(
        answer.at,
        parse_system(stat),
        files["cpu_pressure"],
        files["io_pressure"],
        booted,
        *(files.get(name) for name in ("memory_pressure", "vmstat", "softirqs")),  # not in recordings of old
    )


def box(earlier: BoxSample, later: BoxSample, accounted: float, ended: int = 0) -> Box:
    """The machine between two moments; `accounted` is the CPU of all live processes in cores, `ended` how many did."""
    span = max(later.at - earlier.at, 1e-6)
    times = later.system.all.since(earlier.system.all)
    total = max(times.total, 1)
    cpus = max(1, len(later.system.each))
    each = {
        number: row.since(earlier.system.each[number])
        for number, row in later.system.each.items()
        if number in earlier.system.each
    }
    busy_by_cpu = {n: 1 - (row.idle + row.iowait) / row.total for n, row in each.items() if row.total}
    busiest = max(busy_by_cpu, key=lambda n: busy_by_cpu[n], default=None)
    softirq_by_cpu = {n: round(row.softirq / row.total, 4) for n, row in each.items() if row.total}
    interrupted = max(softirq_by_cpu, key=lambda n: softirq_by_cpu[n], default=None)
    idle = (times.idle + times.iowait) / total
    working = (1 - idle - times.steal / total) * cpus
    nothing_passed = Unknown("the CPU counters did not move")

    def share(ticks: int) -> float | Unknown:
        return round(ticks / total, 4) if times.total else nothing_passed

    return Box(
        subject="this machine",
        busy=round(1 - idle, 4) if times.total else nothing_passed,
        cpus=cpus,
        user=share(times.user + times.nice),
        system=share(times.system + times.irq),
        iowait=share(times.iowait),
        softirq=share(times.softirq),
        steal=share(times.steal),
        busiest_cpu=nothing_passed if busiest is None else round(busy_by_cpu[busiest], 4),
        busiest_cpu_id=nothing_passed if busiest is None else busiest,
        busiest_softirq=nothing_passed if interrupted is None else softirq_by_cpu[interrupted],
        busiest_softirq_id=nothing_passed if interrupted is None else interrupted,
        **_softirq_kind(earlier, later, interrupted, span),
        runnable=later.system.runnable,
        blocked=later.system.blocked,
        forks_per_second=round(max(0, later.system.forks - earlier.system.forks) / span, 2),
        unattributed=round(max(0.0, working - accounted), 3) if times.total else nothing_passed,
        ended=ended,
        pressure=_pressure(later.cpu_pressure),
        io_pressure=_pressure(later.io_pressure),
        **_memory(earlier, later, span),
    )


# Raised by every tick of the clock on every CPU, whatever happens: the most frequent, and hardly ever the reason.
_CLOCKWORK = frozenset({"TIMER", "SCHED", "HRTIMER", "RCU"})
_FEW = 50.0  # per second: fewer soft interrupts of a kind fill no noticeable part of a CPU


def _softirq_kind(earlier: BoxSample, later: BoxSample, cpu: int | None, span: float) -> dict[str, Any]:
    """The kind of soft interrupt that ran most often on a CPU, and how often; the clock's own only if no other did."""
    try:
        then, now = parse_softirqs(earlier.softirqs or ""), parse_softirqs(later.softirqs or "")
    except Malformed as error:
        unknown = Unknown(error.detail if later.softirqs else "this kernel does not count soft interrupts by kind")
        return {"softirq_kind": unknown, "softirq_rate": unknown}
    before = then.get(cpu or 0, {})
    rates = {k: max(0, count - before.get(k, count)) / span for k, count in now.get(cpu or 0, {}).items()}
    told = {kind: rate for kind, rate in rates.items() if kind not in _CLOCKWORK and rate >= _FEW} or rates
    kind = max(told, key=lambda kind: told[kind], default=None)
    if kind is None or not told[kind]:
        return {"softirq_kind": None, "softirq_rate": None}
    return {"softirq_kind": kind, "softirq_rate": round(told[kind], 1)}


def _memory(earlier: BoxSample, later: BoxSample, span: float) -> dict[str, Any]:
    """How much memory was fetched back and freed in between: shares and rates, null where the kernel does not count."""
    try:
        waited = parse_stalled(later.memory_pressure or "") - parse_stalled(earlier.memory_pressure or "")
        pressure: float | Unknown = round(min(1.0, max(0, waited) / 1e6 / span), 4)
    except Malformed as error:
        pressure = Unknown(error.detail) if later.memory_pressure else _NO_PRESSURE
    try:
        if later.vmstat is None or earlier.vmstat is None:
            raise Malformed("there is no /proc/vmstat")
        counted = {
            name: None if now is None or then is None else round(max(0, now - then) / span, 1)
            for name, then, now in zip(
                VmStat._fields, parse_vmstat(earlier.vmstat), parse_vmstat(later.vmstat), strict=True
            )
        }
    except Malformed as error:
        return {"memory_pressure": pressure, **dict.fromkeys(VmStat._fields, Unknown(error.detail))}
    return {"memory_pressure": pressure, **counted}


def started_at(stat: Stat, booted: int) -> str:
    """When a process started, in RFC 3339, UTC."""
    moment = datetime.fromtimestamp(booted + stat.started / CLOCK_TICKS, timezone.utc)
    return moment.isoformat(timespec="seconds")


_NO_PRESSURE = Unknown("this kernel keeps no pressure information (/proc/pressure)")


def _pressure(text: str | None) -> float | Unknown | None:
    if text is None:
        return _NO_PRESSURE
    try:
        return parse_pressure(text)
    except Malformed as error:
        return Unknown(error.detail)
