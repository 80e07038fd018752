"""What burns the CPU: processes, threads, and the code they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from opsdoc.model import Finding, Frame, Limit, Observation, Severity, Share, Unknown, Unseen, known
from opsdoc.signals import gc, kernel, naming
from opsdoc.signals.origin import first_app
from opsdoc.signals.processes import Code, Process, Role, Thread

WITH_CODE = ("app", "native")  # the roles of which the code matters; of the others it is their meaning that does
NEARLY_ALL = 0.8  # of a process's CPU: what explains that much is not spread over many places


class Limits(NamedTuple):
    """From which CPU on it matters, in cores."""

    thread_cpu: Limit = Limit(
        0.5, 0.9, "cores", "a thread that keeps a core to itself cannot go faster: it is the bottleneck of its work"
    )
    code_cpu: Limit = Limit(0.5, 0.9, "cores", "many lukewarm threads in the same code cost as much as one hot thread")
    process_cpu: Limit = Limit(0.5, 0.9, "cores", "as for a thread, where the threads could not be seen")


class _RoleRule(NamedTuple):
    """What it means that the threads of a role burn the CPU."""

    rule: str
    words: str
    next_step: str


# The application's own code is judged by the code it is in; every other role has one meaning. What collectors and
# compilers mean is judged in gc.py, beside the heap.
_ROLE_RULES: Mapping[str, _RoleRule] = {
    "gc": _RoleRule("cpu.gc", "GC", ""),
    "jit": _RoleRule("cpu.jit", "JIT", ""),
    "vm": _RoleRule("cpu.vm", "JVM's own threads", "look for very frequent safepoints: -Xlog:safepoint"),
    "native": _RoleRule(
        "cpu.native",
        "native code",
        "sample it with perf; a native library's thread pool (BLAS, gRPC, compression) is the usual cause",
    ),
    "kernel": _RoleRule("cpu.kernel-thread", "a kernel thread", ""),
}


def codes(threads: Sequence[Thread], processes: Sequence[Process]) -> list[Code]:
    """The CPU of the threads added up by the code they were in, or by their role, hottest first."""
    names = {process.pid: f"{process.pid} {process.name}" for process in processes}
    groups: dict[tuple[object, ...], list[Thread]] = {}
    for thread in threads:
        frame = first_app(known(thread.frames) or ())
        place = (frame.function, frame.file) if frame and thread.role in WITH_CODE else None
        alone = thread.tid if place is None and thread.role not in ("gc", "jit", "vm", "native") else None
        groups.setdefault((thread.pid, str(thread.role), place, alone), []).append(thread)
    found = [_code(group, names.get(group[0].pid or 0, f"pid {group[0].pid}")) for group in groups.values()]
    return sorted(found, key=lambda code: -code.cpu)


def _code(group: Sequence[Thread], process: str) -> Code:
    first = group[0]
    frame = first_app(known(first.frames) or ()) if first.role in WITH_CODE else None
    shares = [thread.agreement for thread in group if isinstance(thread.agreement, Share)]
    return Code(
        subject=str(frame) if frame else f"{_role_words(first.role)} of {process}",
        cpu=round(sum(known(thread.cpu) or 0.0 for thread in group), 4),
        pid=first.pid or 0,
        threads=len(group),
        agreement=Share(sum(s.seen for s in shares), sum(s.of for s in shares)) if shares else None,
        role=first.role,
        frame=frame,
        tids=tuple(thread.tid for thread in group if isinstance(thread.tid, int)),
    )


def _role_words(role: Role | Unknown | None) -> str:
    if role is None or isinstance(role, Unknown):
        return "unseen code"
    return _ROLE_RULES[role].words if role in _ROLE_RULES else "application code"


def judge(observations: Sequence[Observation], unseen: Sequence[Unseen], limits: Limits) -> Iterator[Finding]:
    """Name the code that burns the CPU, or the role that its threads have, or the process if no more could be seen."""
    facts = _Facts(observations)
    worst: dict[int | None, Severity] = {}
    explained: dict[int | None, float] = {}  # the most that one finding explains of a process's CPU, in cores
    for pid, cpu, finding in _of_code_and_threads(facts, limits):
        explained[pid] = max(explained.get(pid, 0.0), cpu)
        if finding is not None:
            worst[pid] = max(worst.get(pid, Severity.OK), finding.severity)
            yield finding
    for process in facts.processes:
        if explained.get(process.pid, 0.0) >= NEARLY_ALL * (known(process.cpu) or 0.0) > 0:
            continue  # else a thread just below its limit would lose the headline to the process just above it
        for finding in _judge_process(process, facts, limits):
            if finding.severity > worst.get(process.pid, Severity.OK):
                yield finding
    yield from _ruled_out(facts, limits)


def _of_code_and_threads(facts: _Facts, limits: Limits) -> Iterator[tuple[int | None, float, Finding | None]]:
    """Process, the CPU of it that is explained, and the finding; none for what gc.py and kernel.py judge."""
    for code in facts.codes:
        if gc.explains(code, facts.all) or _is_kernel_time(code, facts):
            yield code.pid, code.cpu, None
            continue
        for finding in _judge_code(code, facts, limits):
            yield code.pid, code.cpu, finding
    if not facts.codes:
        for thread in facts.threads:
            for finding in _judge_thread(thread, facts, limits):
                yield thread.pid, 0.0, finding


def _is_kernel_time(code: Code, facts: _Facts) -> bool:
    """Whether it is in no code but the kernel's, which kernel.py judges by its system calls."""
    process = facts.process(code.pid)
    return code.role == "native" and code.frame is None and process is not None and kernel.mostly_in_kernel(process)


class _Facts:
    """The observations of one invocation, sorted by kind."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        self.all = observations
        self.processes = [o for o in observations if isinstance(o, Process)]
        self.threads = [o for o in observations if isinstance(o, Thread)]
        self.codes = [o for o in observations if isinstance(o, Code)]

    def process(self, pid: int | None) -> Process | None:
        return next((process for process in self.processes if process.pid == pid), None)

    def evidence(self, code: Code) -> tuple[str, ...]:
        """The process, the code, and those of its threads that are shown."""
        process = self.process(code.pid)
        threads = [thread.id for thread in self.threads if thread.pid == code.pid and thread.tid in code.tids]
        return (*([process.id] if process else []), *([code.id] if code.threads > 1 else []), *threads[:3])


def _judge_code(code: Code, facts: _Facts, limits: Limits) -> Iterator[Finding]:
    process, threads = facts.process(code.pid), facts.threads
    who = naming.who(process, code.pid)
    hottest = next((thread for thread in threads if thread.pid == code.pid and thread.tid in code.tids), None)
    many = code.threads > 1
    name, limit = ("hot.code_cpu", limits.code_cpu) if many else ("hot.thread_cpu", limits.thread_cpu)
    severity = limit.grade(code.cpu)
    if severity is Severity.OK:
        return
    rule, what, next_step = _cause(code, hottest)
    subject = who + ("" if many or hottest is None else f" · thread {hottest.subject}")
    by = f"{code.threads} threads" if many else f"thread {hottest.name}" if hottest else "one thread"
    yield Finding(
        rule=rule,
        key=f"{rule}:{naming.stable(process)}/{code.frame.function if code.frame else _role_words(code.role)}",
        severity=severity,
        subject=subject,
        summary=f"{who} burns {naming.cores(code.cpu)} {what}, by {by}",
        evidence=facts.evidence(code),
        threshold=limit.crossed(name, code.cpu),
        confidence=str(code.agreement) if code.agreement else None,
        next_step=next_step,
        by_hand=naming.by_hand(process, hottest),
    )


def _cause(code: Code, hottest: Thread | None) -> tuple[str, str, str]:
    """The rule, the words for what is burnt, and the next step."""
    if code.role is None or isinstance(code.role, Unknown):
        return (
            "cpu.hot-thread",
            "in code that could not be seen",
            "run the command under 'unseen', which shows the stack",
        )
    if code.role == "native" and code.frame:
        return _native(code, code.frame)
    if code.role in _ROLE_RULES:
        meant = _ROLE_RULES[code.role]
        next_step = _kernel_thread(hottest) if code.role == "kernel" else meant.next_step
        return meant.rule, f"in {meant.words}", next_step
    if code.frame is None:
        why = hottest.frames.reason if hottest and isinstance(hottest.frames, Unknown) else "its stack was empty"
        return "cpu.hot-thread", f"in code that could not be seen ({why})", "take the stack again, or sample with perf"
    moved = "many short tasks, or a loop" if code.threads > 1 else "a loop"
    where = code.frame.file if code.frame.line is None else f"{naming.short(code.frame.file)}:{code.frame.line}"
    return (
        "cpu.app-code",
        f"in {code.frame.function} ({where})",
        f"read {where} for {moved}: it was on top in {code.agreement or 'the dump'}{_bias(hottest)}",
    )


def _bias(thread: Thread | None) -> str:
    """What must be known of where a stack was taken."""
    if thread is None or not (thread.source or "").endswith("safepoint"):
        return ""
    return "; a dump shows the nearest safepoint, so look at what it calls, too"


def _native(code: Code, frame: Frame) -> tuple[str, str, str]:
    where = f"{frame.function} ({frame.file})" if frame.file else frame.function
    seen = f"it was on top in {code.agreement}" if code.agreement else "it was on top"
    if frame.origin == "app":
        return "cpu.native", f"in native code, {where}", f"read {frame.function} for a loop: {seen} of perf"
    pool = "a library's thread pool often has its size from the environment (OMP_NUM_THREADS, OPENBLAS_NUM_THREADS)"
    return "cpu.native", f"in native code, {where}", f"see what calls {frame.file}: {seen} of perf; {pool}"


# Kernel threads by the beginning of their names, and what it means that one is hot.
_KERNEL_THREADS: tuple[tuple[str, str], ...] = (
    ("ksoftirqd", "it handles soft interrupts, mostly packets: spread the queues of the network card over more CPUs"),
    ("kswapd", "it frees memory: see what fills the memory (free -m, vmstat 1), not at code"),
    ("kcompactd", "it makes room for huge pages: see /proc/buddyinfo and transparent_hugepage"),
    ("khugepaged", "it makes huge pages: see transparent_hugepage/khugepaged"),
    ("kworker", "it does deferred work of drivers and file systems: perf record -g shows for which"),
    ("jbd2", "it writes a file system's journal: see who calls fsync"),
    ("rcu_", "it ends grace periods: see for many short-lived processes or cgroups"),
    ("migration", "it moves tasks between CPUs: see for pinned tasks and cpusets"),
    ("irq/", "it handles interrupts of the device in its name: see /proc/interrupts"),
    ("nvme", "it serves a disk: see iostat -x 1"),
    ("md", "it serves a RAID: see /proc/mdstat for a rebuild"),
    ("z_", "it serves ZFS: see zpool status and arcstat"),
)


def _kernel_thread(thread: Thread | None) -> str:
    name = thread.name if thread else ""
    for beginning, meaning in _KERNEL_THREADS:
        if name.startswith(beginning):
            return meaning
    return "see which device or subsystem it serves: perf record -g of it shows its functions"


def _judge_thread(thread: Thread, facts: _Facts, limits: Limits) -> Iterator[Finding]:
    cpu = known(thread.cpu)
    if cpu is None or (severity := limits.thread_cpu.grade(cpu)) is Severity.OK:
        return
    process = facts.process(thread.pid)
    yield Finding(
        rule="cpu.hot-thread",
        key=f"cpu.hot-thread:{naming.stable(process)}/{thread.name}",
        severity=severity,
        subject=f"{naming.who(process, thread.pid or 0)} · thread {thread.subject}",
        summary=f"thread {thread.name} ({thread.tid}, {thread.tid_hex}) of pid {thread.pid} burns {naming.cores(cpu)}",
        evidence=(thread.id,),
        threshold=limits.thread_cpu.crossed("hot.thread_cpu", cpu),
        next_step=f"see what it runs: opsdoc stack {thread.pid} --tid {thread.tid}",
        by_hand=naming.by_hand(process, thread),
    )


def _judge_process(process: Process, facts: _Facts, limits: Limits) -> Iterator[Finding]:
    cpu = known(process.cpu)
    if cpu is None or (severity := limits.process_cpu.grade(cpu)) is Severity.OK:
        return
    who = naming.who(process, process.pid)
    codes = [code for code in facts.codes if code.pid == process.pid]
    spread = f", spread over {len(codes)} places: {codes[0].subject} has {naming.cores(codes[0].cpu)}" if codes else ""
    yield Finding(
        rule="cpu.hot-process",
        key=f"cpu.hot-process:{naming.stable(process)}",
        severity=severity,
        subject=who,
        summary=f"{who} burns {naming.cores(cpu)}{spread}",
        evidence=(process.id, *(code.id for code in codes[:3])),
        threshold=limits.process_cpu.crossed("hot.process_cpu", cpu),
        next_step=(
            f"look longer: opsdoc cpu --pid {process.pid} --window 10s -n 20"
            if codes
            else f"see which thread and which code: opsdoc cpu --pid {process.pid}"
        ),
        by_hand=("top -c", f"top -Hp {process.pid}"),
    )


def _ruled_out(facts: _Facts, limits: Limits) -> Iterator[Finding]:
    """What was looked at and is not the cause."""
    ranked: list[Process | Thread] = [*facts.processes, *facts.threads]
    for hottest in ranked[:1]:
        used = known(hottest.cpu)
        if used is not None and limits.process_cpu.grade(used) is Severity.OK:
            words = f"hottest {hottest.kind} {_id_and_name(hottest)} at {naming.cores(used)}"
            yield _fine(f"cpu.hot-{hottest.kind}", words, (hottest.id,))


def _id_and_name(one: Process | Thread) -> str:
    return f"{one.pid} {one.name}" if isinstance(one, Process) else one.subject


def _fine(rule: str, summary: str, evidence: tuple[str, ...] = ()) -> Finding:
    return Finding(
        rule=rule, key=f"{rule}:box", severity=Severity.OK, subject="this machine", summary=summary, evidence=evidence
    )
