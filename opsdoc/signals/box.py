"""Whether the machine is short of CPU at all, and who takes it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from opsdoc.model import Finding, Limit, Observation, Severity, Unknown, Unseen, known, measure
from opsdoc.signals import naming
from opsdoc.signals.processes import Process


@dataclass(frozen=True, slots=True, kw_only=True)
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
    runnable: int | Unknown = measure("runnable", "count", "line")
    blocked: int | Unknown = measure("blocked", "count")
    forks_per_second: float | Unknown = measure("forks", "per_second")
    unattributed: float | Unknown = measure("CPU of no live process", "cores")
    ended: int | None = measure("processes that ended", "count")
    pressure: float | Unknown | None = measure("CPU pressure, 10 s", "ratio")
    io_pressure: float | Unknown | None = measure("I/O pressure, 10 s", "ratio")


@dataclass(frozen=True, slots=True)
class Limits:
    """From which share on it matters."""

    busy: Limit = Limit(0.8, None, "ratio", "at 80 % busy a task waits as long as four run; a symptom, not a cause")
    one_cpu: Limit = Limit(0.95, None, "ratio", "one saturated CPU is a bottleneck that the average of all CPUs hides")
    steal: Limit = Limit(0.1, 0.3, "ratio", "above a tenth the hypervisor, not a local thread, decides the speed")
    softirq: Limit = Limit(0.3, 0.7, "ratio", "of one CPU: a network card with one queue saturates one CPU first")
    iowait: Limit = Limit(0.1, 0.5, "ratio", "idle CPUs with tasks that wait for a disk: work is held up elsewhere")
    system: Limit = Limit(0.3, 0.6, "ratio", "the kernel normally takes a fifth or less of what the programs take")
    unattributed: Limit = Limit(0.3, 1.0, "cores", "CPU that no live process accounts for belongs to short-lived ones")


FILLS_A_CPU = 0.8  # cores of a process
PARENTAL = 0.1  # cores: a parent whose ended children used that much is named
MANY_FORKS = 10.0  # per second: below it, short-lived processes cannot take a noticeable part of a CPU


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Is it CPU at all, and is it ours: stolen, interrupts, waiting for disks, the kernel, short-lived processes."""
    processes = [o for o in observations if isinstance(o, Process)]
    hot = any((known(process.cpu) or 0.0) >= FILLS_A_CPU for process in processes)
    for box in observations:
        if isinstance(box, Box):
            yield from _judge_box(box, limits, named=hot)
            yield _judge_unattributed(box, limits.unattributed, processes)


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
        bad=f"one CPU spends {_percent(box.busiest_softirq)} of its time in soft interrupts",
        fine=f"softirq {_percent(box.softirq)}",
        next_step="see which kind it is and spread the queues of the network card over more CPUs",
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


def _percent(share: float | Unknown) -> str:
    if isinstance(share, Unknown):
        return "unknown"
    return f"{share * 100:.0f} %" if share >= 0.1 or share == 0 else f"{share * 100:.1f} %"


def _count(value: int | Unknown) -> str:
    return "unknown" if isinstance(value, Unknown) else str(value)


def _cores(value: float | Unknown) -> str:
    return "unknown" if isinstance(value, Unknown) else f"{value:.2f} cores"


def _rate(value: float | Unknown) -> str:
    return "unknown" if isinstance(value, Unknown) else f"{value:.0f}"
