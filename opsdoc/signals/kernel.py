"""CPU that processes use inside the kernel, and the system calls that it goes to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar, NamedTuple

from opsdoc.model import Finding, Limit, Observation, Severity, Share, Unknown, Unseen, known, measure
from opsdoc.signals import naming
from opsdoc.signals.processes import Process

NAMED = 3  # system calls that a finding names


class Syscall(Observation):
    """A system call (or `page fault`, `interrupt`) that threads were in, and its part of their CPU."""

    kind: ClassVar[str] = "syscall"
    cpu: float | Unknown = measure("CPU", "cores", "main")
    pid: int = measure("pid", "id")
    tid: int | None = measure("thread id", "id")
    name: str = measure("system call")
    agreement: Share = measure("seen in it in", "", "line")


class Limits(NamedTuple):
    """From which CPU on it matters, in cores of a process that spends most of it in the kernel."""

    kernel_cpu: Limit = Limit(0.5, 0.9, "cores", "as for a thread: half a core, and nearly a whole one")


class Called(NamedTuple):
    """One system call of a process, all its threads together."""

    name: str
    cpu: float
    share: Share
    ids: tuple[str, ...]


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Name the system calls of each process that burns its CPU in the kernel rather than in its own code."""
    processes = [one for one in observations if isinstance(one, Process) and one.runtime != "kernel"]
    calls = [one for one in observations if isinstance(one, Syscall)]
    if not processes:
        return
    hot = [one for one in processes if mostly_in_kernel(one) and _cpu(one, limits) is not Severity.OK]
    for process in hot:
        yield _finding(process, called([call for call in calls if call.pid == process.pid]), limits)
    most = max((known(process.cpu_system) or 0.0 for process in processes), default=0.0)
    if not hot and any(known(process.cpu_system) is not None for process in processes):
        yield Finding(
            rule="cpu.kernel-time",
            key="cpu.kernel-time:box",
            severity=Severity.OK,
            subject="this machine",
            summary=f"kernel time of one process at most {naming.cores(most)}",
        )


def mostly_in_kernel(process: Process) -> bool:
    """Whether a process spends more of its CPU in the kernel than in its own code."""
    return (known(process.cpu_system) or 0.0) > (known(process.cpu_user) or 0.0)


def _cpu(process: Process, limits: Limits) -> Severity:
    return limits.kernel_cpu.grade(known(process.cpu) or 0.0)


def called(calls: Sequence[Syscall]) -> list[Called]:
    """The system calls of one process added up over its threads, the most expensive first."""
    groups: dict[str, list[Syscall]] = {}
    for call in calls:
        groups.setdefault(call.name, []).append(call)
    added = [
        Called(
            name,
            round(sum(known(call.cpu) or 0.0 for call in group), 4),
            Share(sum(call.agreement.seen for call in group), sum(call.agreement.of for call in group)),
            tuple(call.id for call in group),
        )
        for name, group in groups.items()
    ]
    return sorted(added, key=lambda one: (-one.cpu, -one.share.seen, one.name))


def _finding(process: Process, calls: Sequence[Called], limits: Limits) -> Finding:
    cpu, system = known(process.cpu) or 0.0, known(process.cpu_system) or 0.0
    who = naming.who(process, process.pid)
    top = calls[:NAMED]
    if top:
        what = "in " + ", ".join(f"{call.name} ({call.share})" for call in top)
    else:
        what = "but in which system call could not be seen"
    return Finding(
        rule="cpu.kernel-time",
        key=f"cpu.kernel-time:{naming.stable(process)}/{top[0].name if top else 'unseen'}",
        severity=_cpu(process, limits),
        subject=who,
        summary=f"{who} burns {naming.cores(cpu)}, {system:.2f} of them in the kernel, {what}",
        evidence=(process.id, *(identity for call in top for identity in call.ids[:1])),
        threshold=limits.kernel_cpu.crossed("kernel.kernel_cpu", cpu),
        confidence=str(top[0].share) if top else None,
        next_step=_next_step(top[0].name) if top else "count its system calls with perf trace, which stops nothing",
        by_hand=(f"pidstat -u -p {process.pid} 1 2", f"perf trace -s -p {process.pid} -- sleep 1"),
    )


# What it mostly means when one call takes the CPU.
_MEANINGS = (
    (
        "read, write, pread, pwrite, readv, writev, sendto, recvfrom, sendmsg, recvmsg, sendfile, splice",
        "see how much it moves per call: many small reads or writes want a buffer or batches",
    ),
    ("futex, futex_wait, futex_wake", "look for a lock that many threads want: their stacks show where they take it"),
    (
        "poll, ppoll, select, pselect6, epoll_wait, epoll_pwait, epoll_pwait2, io_uring_enter",
        "look for a loop that polls with a time-out of zero, or a descriptor that is always ready and never read",
    ),
    ("sched_yield, nanosleep, clock_nanosleep", "look for a loop that waits by yielding or by very short sleeps"),
    (
        "page fault, mmap, munmap, brk, madvise, mremap, mprotect",
        "see whether it returns memory to the kernel and takes it again all the time: allocator settings, huge pages",
    ),
    (
        "open, openat, openat2, stat, fstatat, statx, access, faccessat, readlink, readlinkat, getdents64, close",
        "see which files it opens or looks for again and again: perf trace -p shows the paths",
    ),
    (
        "clone, clone3, fork, vfork, execve, wait4, exit_group",
        "see which processes or threads it starts again and again",
    ),
    ("fsync, fdatasync, sync, msync", "see how often it flushes to the disk"),
    ("interrupt", "see which device interrupts: /proc/interrupts and /proc/softirqs"),
)


def _next_step(name: str) -> str:
    for names, meaning in _MEANINGS:
        if name in names.split(", "):
            return meaning
    return f"see with which arguments it calls {name} so often: perf trace -p shows them"
