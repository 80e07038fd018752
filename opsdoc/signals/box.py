"""Whether the machine is short of CPU at all, and who takes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unseen, known, measure
from opsdoc.signals import naming
from opsdoc.signals.processes import Process
from opsdoc.signals.quota import Quota


class Box(Observation):
    """The whole machine over the window. Shares are of all CPUs together; iowait is idle time."""

    kind: ClassVar[str] = "box"
    busy: float | Unknown = measure("busy", "ratio", "main")
    cpus: int = measure("CPUs", "count", "line")
    user: float | Unknown = measure("user", "ratio", "line")
    system: float | Unknown = measure("system", "ratio", "line")
    iowait: float | Unknown = measure("iowait", "ratio", "line")
    softirq: float | Unknown = measure("softirq", "ratio")
    steal: float | Unknown = measure("stolen", "ratio", "line")
    busiest_cpu: float | Unknown = measure("busiest CPU", "ratio")
    busiest_cpu_id: int | Unknown = measure("busiest CPU number", "id")
    busiest_softirq: float | Unknown = measure("softirq on one CPU", "ratio")
    busiest_softirq_id: int | Unknown = measure("softirq CPU number", "id")
    softirq_kind: str | Unknown | None = measure("softirq kind there")
    softirq_rate: float | Unknown | None = measure("softirqs of that kind", "per_second")
    runnable: int | Unknown = measure("runnable", "count", "line")
    blocked: int | Unknown = measure("blocked", "count")
    forks_per_second: float | Unknown = measure("forks", "per_second")
    unattributed: float | Unknown = measure("CPU of no live process", "cores")
    ended: int | None = measure("processes that ended", "count")
    pressure: float | Unknown | None = measure("CPU pressure, 10 s", "ratio")
    io_pressure: float | Unknown | None = measure("I/O pressure, 10 s", "ratio")
    memory_pressure: float | Unknown | None = measure("memory pressure, in the window", "ratio")
    swapped_in: float | Unknown | None = measure("pages swapped in", "per_second")
    swapped_out: float | Unknown | None = measure("pages swapped out", "per_second")
    reclaim_stalls: float | Unknown | None = measure("allocations that had to free memory", "per_second")
    scanned_direct: float | Unknown | None = measure("pages scanned by those", "per_second")
    scanned_kswapd: float | Unknown | None = measure("pages scanned in the background", "per_second")
    compaction_stalls: float | Unknown | None = measure("allocations that had to move memory", "per_second")
    refaults: float | Unknown | None = measure("pages thrown out and read again", "per_second")


class Limits(NamedTuple):
    """From which share on it matters."""

    busy: Limit = Limit(0.8, None, "ratio", "at 80 % busy a task waits as long as four run; a symptom, not a cause")
    one_cpu: Limit = Limit(0.95, None, "ratio", "one saturated CPU is a bottleneck that the average of all CPUs hides")
    steal: Limit = Limit(0.1, 0.3, "ratio", "above a tenth the hypervisor, not a local thread, decides the speed")
    softirq: Limit = Limit(0.3, 0.7, "ratio", "of one CPU: a network card with one queue saturates one CPU first")
    iowait: Limit = Limit(0.1, 0.5, "ratio", "idle CPUs with tasks that wait for a disk: work is held up elsewhere")
    system: Limit = Limit(0.3, 0.6, "ratio", "the kernel normally takes a fifth or less of what the programs take")
    unattributed: Limit = Limit(0.3, 1.0, "cores", "CPU that no live process accounts for belongs to short-lived ones")
    memory_pressure: Limit = Limit(
        0.1,
        0.6,
        "ratio",
        "the time in which tasks wait for memory; systemd-oomd ends processes at 0.6 by default",
    )
    reclaim_stalls: Limit = Limit(
        10.0,
        100.0,
        "per_second",
        "the kernel frees memory in the background; a task that has to do it itself is held up, often for 1 ms",
    )
    swapped_in: Limit = Limit(
        500.0,
        None,
        "per_second",
        "a task waits for each: 0.1 ms for a page from an SSD, 10 ms from a disk, but 0.01 ms from compressed memory",
    )
    kswapd_cpu: Limit = Limit(
        0.3, 0.9, "cores", "kswapd sleeps while enough memory is free, and one that never sleeps does not keep up"
    )


FILLS_A_CPU = 0.8  # cores of a process
PARENTAL = 0.1  # cores: a parent whose ended children used that much is named
AWAKE = 0.05  # cores: below it, a kernel thread merely does its duty
KTHREADD = 2  # the parent of all kernel threads
MANY_FORKS = 10.0  # per second: below it, short-lived processes cannot take a noticeable part of a CPU


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Is it CPU at all, and is it ours: stolen, interrupts, waiting for disks, the kernel, short-lived processes."""
    processes = [o for o in observations if isinstance(o, Process)]
    hot = any((known(process.cpu) or 0.0) >= FILLS_A_CPU for process in processes)
    for box in observations:
        if isinstance(box, Box):
            yield from _judge_box(box, limits, named=hot)
            yield _judge_unattributed(box, limits.unattributed, processes)
            yield from _judge_memory(box, limits, processes, [o for o in observations if isinstance(o, Quota)])


def _judge_box(box: Box, limits: Limits, *, named: bool) -> Iterator[Finding]:
    """`named` says that a process is known which fills a CPU: then a saturated CPU is no news."""
    yield _graded(
        box, "busy", limits.busy, box.busy,
        bad=(
            f"the CPUs are {_percent(box.busy)} busy, {_count(box.runnable)} tasks want one of {box.cpus}"
            f"{_waited(box)}"
        ),
        fine=f"CPUs {_percent(box.busy)} busy",
        next_step="see which process takes them: opsdoc top",
        by_hand=("vmstat 1 5", "top -c"),
    )  # fmt: skip
    if not named and not isinstance(box.busy, Unknown) and limits.busy.grade(box.busy) is Severity.OK:
        yield _graded(
            box, "one_cpu", limits.one_cpu, box.busiest_cpu,
            bad=(
                f"CPU {_count(box.busiest_cpu_id)} is {_percent(box.busiest_cpu)} busy while all {box.cpus} together "
                f"are {_percent(box.busy)}: something runs in a single thread"
            ),
            fine=f"busiest CPU {_percent(box.busiest_cpu)}",
            next_step="see which thread it is: opsdoc cpu",
            by_hand=("mpstat -P ALL 1 3",),
        )  # fmt: skip
    yield _graded(
        box, "steal", limits.steal, box.steal,
        bad=f"the hypervisor gives {_percent(box.steal)} of the CPU time to others: no local thread is to blame",
        fine=f"stolen {_percent(box.steal)}",
        next_step="ask the provider about CPU credits or a noisy neighbour, or move the machine",
        by_hand=("vmstat 1 5",),
    )  # fmt: skip
    yield _graded(
        box, "softirq", limits.softirq, box.busiest_softirq,
        bad=(
            f"CPU {_count(box.busiest_softirq_id)} spends {_percent(box.busiest_softirq)} of its time in soft "
            f"interrupts{_mostly(box)}"
        ),
        fine=f"softirq {_percent(box.softirq)}",
        next_step=_SOFTIRQS.get(str(box.softirq_kind), "see which kind it is, and which device or timer raises it"),
        by_hand=("mpstat -P ALL 1 3", "watch -d cat /proc/softirqs"),
    )  # fmt: skip
    yield _graded(
        box, "iowait", limits.iowait, box.iowait,
        bad=(
            f"not a CPU problem: the CPUs are {_percent(box.busy)} busy and idle {_percent(box.iowait)} of the time "
            f"while {_count(box.blocked)} tasks wait for a disk"
        ),
        fine=f"iowait {_percent(box.iowait)}",
        next_step="see which disk is slow and who writes to it",
        by_hand=("iostat -x 1 3", "vmstat 1 5"),
    )  # fmt: skip
    yield _graded(
        box, "system", limits.system, box.system,
        bad=f"the kernel takes {_percent(box.system)} of the CPU time: system calls, locks or memory reclaim",
        fine=f"kernel {_percent(box.system)}",
        next_step="see which system calls the hottest process makes",
        by_hand=("pidstat -u 1 3", "perf top -g"),
    )  # fmt: skip


def _judge_unattributed(box: Box, limit: Limit, processes: Sequence[Process]) -> Finding:
    """CPU of no live process: of those that ended, where any did or many are started, else of some that are hidden."""
    forks = box.forks_per_second
    ended = bool(box.ended) or (not isinstance(forks, Unknown) and forks >= MANY_FORKS)
    finding = _graded(
        box, "unattributed", limit, box.unattributed,
        bad=(
            f"{_cores(box.unattributed)} were used by no process that lived through the window, "
            f"at {_rate(forks)} forks/s: by short-lived ones, or by one that has just ended"
        ),
        fine=f"{_rate(forks)} forks/s",
        next_step="find the parent that keeps starting them",
        by_hand=("vmstat -f; sleep 1; vmstat -f", "perf trace -e sched:sched_process_exec -a -- sleep 1"),
    )  # fmt: skip
    if finding.threshold is None:  # fine, or unknown
        return finding
    parent = max(processes, key=lambda process: known(process.children_cpu) or 0.0, default=None)
    if parent is not None and (children := known(parent.children_cpu) or 0.0) >= PARENTAL:
        return finding._replace(
            subject=naming.who(parent, parent.pid),
            summary=(
                f"{naming.who(parent, parent.pid)} keeps starting processes: its children that ended used "
                f"{_cores(children)}, at {_rate(forks)} forks/s"
            ),
            evidence=(*finding.evidence, parent.id),
            next_step="see what it starts, and why so often",
            by_hand=(f"pgrep -lP {parent.pid}", "perf trace -e sched:sched_process_exec -a -- sleep 1"),
        )
    if ended:
        return finding
    return finding._replace(
        rule="box.hidden",
        key="box.hidden:box",
        severity=Severity.UNKNOWN,
        summary=f"{_cores(box.unattributed)} were used by processes that cannot be seen from here",
        next_step="look from the machine itself, as root: another pid namespace or hidepid may hide them",
        by_hand=("findmnt -o OPTIONS /proc", "readlink /proc/1/ns/pid /proc/self/ns/pid"),
    )


def _judge_memory(box: Box, limits: Limits, processes: Sequence[Process], quotas: Sequence[Quota]) -> Iterator[Finding]:
    """Whether tasks are held up by the search for memory: of the machine, or of a cgroup that is at its own limit.

    The kernel counts stalls and scans only where the machine itself runs out (mm/vmscan.c), pressure everywhere.
    """
    kswapd = [
        p for p in processes if p.ppid == KTHREADD and p.name.startswith("kswapd") and (known(p.cpu) or 0.0) >= AWAKE
    ]
    busiest = max(kswapd, key=lambda process: known(process.cpu) or 0.0, default=None)
    values = {
        "memory_pressure": (limits.memory_pressure, known(box.memory_pressure)),
        "reclaim_stalls": (limits.reclaim_stalls, known(box.reclaim_stalls)),
        "swapped_in": (limits.swapped_in, known(box.swapped_in)),
        "kswapd_cpu": (limits.kswapd_cpu, None if busiest is None else known(busiest.cpu)),
    }
    graded = [(limit.grade(value), name, limit, value) for name, (limit, value) in values.items() if value is not None]
    if not graded:  # a kernel without these counters: what they would tell shows as kernel time too
        return
    severity, name, limit, value = max(graded, key=lambda one: one[0])
    if severity is Severity.OK:
        yield _finding(box, "box.reclaim", severity, f"waits for memory {_percent(box.memory_pressure)}")
        return
    full = [quota for quota in quotas if quota.short_of_memory]
    by_others = (box.scanned_kswapd,) if not full else ()  # in the background it works now and then, whoever waits
    counts = (box.reclaim_stalls, box.scanned_direct, *by_others)
    own = busiest is not None or any((known(count) or 0.0) > 0 for count in counts)
    whose = (
        "this machine is short of memory"
        if own
        else f"{full[0].subject if full else 'a cgroup'} is at its memory limit"
    )
    shares = _memory_shares(box, busiest)
    yield _finding(box, "box.reclaim", severity, f"{whose}: {', '.join(shares)}")._replace(
        evidence=(box.id, *([busiest.id] if busiest else []), *(quota.id for quota in full)),
        threshold=limit.crossed(f"box.{name}", value),
        next_step=(
            "see who holds the memory and whether it grows; give it less to do, or the machine more memory"
            if own
            else "see what fills it: a heap, or files that are read again and again; or raise its memory limit"
        ),
        by_hand=("vmstat 1 5", "cat /proc/pressure/memory", "ps aux --sort=-rss | head" if own else "systemd-cgtop -m"),
    )


def _memory_shares(box: Box, busiest: Process | None) -> Iterator[str]:
    if pressure := known(box.memory_pressure):
        yield f"tasks wait for memory {_percent(pressure)} of the time"
    if stalls := known(box.reclaim_stalls):
        yield f"{_rate(stalls)} allocations/s have to free some first"
    if swapped := known(box.swapped_in):
        yield f"{_rate(swapped)} pages/s are swapped in"
    if refaults := known(box.refaults):
        yield f"{_rate(refaults)} pages/s were thrown out and are needed again"
    if busiest is not None:
        yield f"{busiest.name} burns {_cores(busiest.cpu)}"


_SOFTIRQS = {
    "NET_RX": "spread the queues of the network card over more CPUs (ethtool -l, rps_cpus), or see who sends so much",
    "NET_TX": "spread the queues of the network card over more CPUs (ethtool -l, xps_cpus)",
    "BLOCK": "see which disk completes so many requests: iostat -x 1 3; and spread its interrupts",
    "TASKLET": "see which driver schedules it: perf top -g",
    "TIMER": "see who sets so many timers: perf top -g",
    "HRTIMER": "see who sets so many timers: perf top -g",
}

_RULES = {
    "busy": "box.busy",
    "one_cpu": "box.one-cpu",
    "steal": "box.steal",
    "softirq": "box.softirq",
    "iowait": "box.not-cpu",
    "system": "box.kernel",
    "unattributed": "box.short-lived",
}


def _graded(
    box: Box,
    field: str,
    limit: Limit,
    value: float | Unknown,
    *,
    bad: str,
    fine: str,
    next_step: str,
    by_hand: tuple[str, ...],
) -> Finding:
    """The finding for one share of the box: bad, fine, or unknown."""
    rule = _RULES[field]
    if isinstance(value, Unknown):
        return _finding(box, rule, Severity.UNKNOWN, f"{field} of this machine is unknown: {value.reason}")
    severity = limit.grade(value)
    if severity is Severity.OK:
        return _finding(box, rule, severity, fine)
    return _finding(box, rule, severity, bad)._replace(
        threshold=limit.crossed(f"box.{field}", value),
        next_step=next_step,
        by_hand=by_hand,
    )


def _finding(box: Box, rule: str, severity: Severity, summary: str) -> Finding:
    return Finding(
        rule=rule, key=f"{rule}:box", severity=severity, subject=box.subject, summary=summary, evidence=(box.id,)
    )


def _waited(box: Box) -> str:
    if not isinstance(box.pressure, float) or box.pressure < 0.01:
        return ""
    return f"; tasks had to wait for one {_percent(box.pressure)} of the last 10 s"


def _mostly(box: Box) -> str:
    if not isinstance(box.softirq_kind, str):
        return ""
    return f", most often {box.softirq_kind} ({_rate(known(box.softirq_rate) or 0.0)}/s)"


def _percent(share: float | Unknown | None) -> str:
    if share is None or isinstance(share, Unknown):
        return "unknown"
    return f"{share * 100:.0f} %" if share >= 0.1 or share == 0 else f"{share * 100:.1f} %"


def _count(value: int | Unknown) -> str:
    return "unknown" if isinstance(value, Unknown) else str(value)


def _cores(value: float | Unknown) -> str:
    return "unknown" if isinstance(value, Unknown) else f"{value:.2f} cores"


def _rate(value: float | Unknown) -> str:
    return "unknown" if isinstance(value, Unknown) else f"{value:.0f}"
