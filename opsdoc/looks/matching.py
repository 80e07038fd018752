"""CPU and stacks matched by thread id: integers, exactly, and never text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from opsdoc.looks import quotas, sampling
from opsdoc.looks.quotas import Looked
from opsdoc.looks.sampling import Sample, Usage, usage_of
from opsdoc.looks.stacks import Partial, Seen
from opsdoc.looks.watched import Watched
from opsdoc.model import Frame, Observation, Point, ProbeError, Share, Unknown, Unseen, known
from opsdoc.parsers.procfs import Stat
from opsdoc.signals.kernel import Syscall
from opsdoc.signals.origin import first_app
from opsdoc.signals.processes import Process, Role, Thread

Mask = Callable[[str], str]

_STATES = {"R": "running", "S": "sleeping", "D": "waiting for a device", "T": "stopped", "t": "traced", "Z": "ended"}


class Match(NamedTuple):
    """What all dumps together say of a thread. `path` has one entry a dump: the code it was seen in, or None."""

    seen: Seen
    frame: Frame | None
    path: tuple[Frame | None, ...]

    @property
    def agreement(self) -> Share:
        """In how many dumps the thread was in the code that it was in most."""
        return Share(sum(_same(frame, self.frame) for frame in self.path), len(self.path))


def process(
    stat: Stat, rate: Usage | None, one: Watched | None, booted: int, mask: Mask, children: float | None = None
) -> Process:
    """A process with its CPU (`rate` is None if it ended meanwhile), and with what its details told if watched.

    `children` is the CPU of its children that ended, where that was measured.
    """
    ended = Unknown("it ended within the window")
    details = one.details if one is not None else {}
    not_watched = Unknown("it was not among the hottest, which were looked into")
    unknown = {name: Unknown(reason) for name, reason in details.get("unknown", {}).items()}
    argv = details.get("argv")
    name = mask(stat.name)
    command = unknown.get("cmdline", not_watched) if argv is None else " ".join(argv) or f"[{name}]"
    return Process(
        subject=f"{stat.pid} {name if isinstance(command, Unknown) else command}",
        cpu=ended if rate is None else rate.cpu,
        pid=stat.pid,
        ppid=stat.ppid,
        name=name,
        command=command,
        user=details.get("user") or not_watched,
        runtime=(one.runtime if one is not None else None) or unknown.get("maps", not_watched),
        container=details.get("container", not_watched),
        cgroup=one.cgroup[-1].value["path"] if one is not None and one.cgroup else not_watched,
        started=sampling.started_at(stat, booted),
        cpu_user=ended if rate is None else round(rate.user, 4),
        cpu_system=ended if rate is None else round(rate.system, 4),
        children_cpu=children,
        threads=stat.threads,
        memory=not_watched if details.get("memory_bytes") is None else details["memory_bytes"],
        state=_STATES.get(stat.state, stat.state),
    )


def cores(thread: Thread) -> float:
    """The CPU of a thread to rank it by."""
    return known(thread.cpu) or 0.0


def threads(one: Watched, mask: Mask) -> Iterator[Thread | Unseen]:
    """The threads of a process that used CPU, hottest first, each with its stack; and the dumps that were no use."""
    lively = one.lively()
    dumps: list[dict[int, Seen]] = []
    failed: ProbeError | None = None
    for dump in one.dumps:
        try:
            dumps.append(one.threads_in(dump))
        except ProbeError as error:
            failed = error
    told = any(blind.subject == f"{one.subject}: stacks" for blind in one.unseen)
    cut = next((dump.reason for dump in dumps if isinstance(dump, Partial)), "")
    if failed is not None and not told:
        yield failed.unseen(f"{one.subject}: stacks")
    elif cut:
        yield Unseen(subject=f"{one.subject}: stacks", reason="malformed", detail=cut)
    no_stacks = Unknown(cut or (_why_no_stacks(one) if failed is None or told else failed.detail))
    for tid in lively:
        match = _match(dumps, one.ids_there.get(tid, tid))
        bare = thread(one, one.samples[-1].stats[tid], mask)
        role, frames = _role_and_frames(one, match, bool(dumps) and not cut, no_stacks)
        if match is None:
            bare = bare.replaced(role=role, frames=frames, samples=_history(one, tid, None))
            yield _sampled(bare, one, mask)
            continue
        yield seen_as(bare, match.seen, one.stacks.source if one.stacks is not None else "", mask).replaced(
            role=role,
            frames=frames,
            agreement=match.agreement if match.frame else None,
            samples=_history(one, tid, match),
        )


def thread(one: Watched, stat: Stat, mask: Mask) -> Thread:
    """A thread with its CPU, as the kernel tells it."""
    rate = one.rates.get(stat.pid)
    there = one.ids_there.get(stat.pid)
    one_sample = Unknown("CPU needs two samples: --window 2s")
    name = mask(stat.name)
    return Thread(
        subject=_thread_subject(stat.pid, there, name),
        cpu=one_sample if rate is None else rate.cpu,
        pid=one.pid,
        tid=stat.pid,
        tid_hex=f"{stat.pid if there is None else there:#x}",
        ns_tid=there if there is not None else (Unknown("no NSpid was read") if one.in_container else None),
        name=name,
        state=_STATES.get(stat.state, stat.state),
        cpu_user=one_sample if rate is None else round(rate.user, 4),
        cpu_system=one_sample if rate is None else round(rate.system, 4),
    )


def seen_as(bare: Thread, seen: Seen, source: str, mask: Mask) -> Thread:
    """A thread of the kernel as the runtime knows it: its full name, its state, its stack and how that was taken."""
    name = mask(seen.name)
    there = bare.ns_tid if isinstance(bare.ns_tid, int) else None
    return bare.replaced(
        subject=_thread_subject(bare.tid, there, name),
        name=name,
        state=seen.state or bare.state,
        role=seen.role,
        source=source,
        frames=Unknown(seen.doubt) if seen.doubt else seen.frames,
    )


def from_dump(tid: int, seen: Seen, pid: int | None, source: str, mask: Mask) -> Thread:
    """A thread as a dump alone tells of it, live or saved (no `pid`); the id is the one that the dump prints."""
    measured = "" if pid is None else ": --window 2s measures it"
    name = mask(seen.name)
    return Thread(
        subject=_thread_subject(tid, None, name),
        cpu=Unknown(f"a dump does not tell what a thread uses now{measured}"),
        pid=pid,
        tid=tid,
        tid_hex=f"{tid:#x}",
        name=name,
        state=seen.state or (Unknown("the dump does not tell") if seen.role == "app" else None),
        role=seen.role,
        source=source,
        frames=Unknown(seen.doubt) if seen.doubt else seen.frames,
    )


def _thread_subject(tid: int | Unknown, there: int | None, name: str) -> str:
    """Decimal and hex side by side; the hex is of the id that the target's own dump prints."""
    if isinstance(tid, Unknown):
        return name
    return f"{tid} {tid if there is None else there:#x} {name}"


def _sampled(bare: Thread, one: Watched, mask: Mask) -> Thread:
    """A thread that no dump knows, with the stack that perf saw most, or else with what the kernel tells."""
    tid = known(bare.tid)
    sampled, view = one.perf.get(tid or 0), one.views.get(tid or 0)
    if sampled is not None and sampled.frames and not isinstance(bare.role, Unknown):
        frames = tuple(frame._replace(function=mask(frame.function)) for frame in sampled.frames)
        bare = bare.replaced(frames=frames, agreement=sampled.agreement, source="perf record")
    return bare if view is None else _by_kernel(bare, view)


def without_dump(one: Watched, tids: Sequence[int], sample: Sample, mask: Mask) -> Iterator[Thread]:
    """Threads of a process that tells no stacks, by what perf saw of them or the kernel tells."""
    for tid in tids:
        bare = thread(one, sample.stats[tid], mask)
        role: Role = "kernel" if one.runtime == "kernel" else "native"
        yield _sampled(bare.replaced(role=role, frames=Unknown(_why_no_stacks(one))), one, mask)


def _by_kernel(bare: Thread, view: Mapping[str, Any]) -> Thread:
    """A thread with what the kernel tells of it: what it waits in, and its stack in the kernel."""
    from opsdoc.looks import native
    from opsdoc.parsers.syscalls import stack_frames

    doing = native.explain(view)
    frames: tuple[Frame, ...] | Unknown | None = bare.frames
    if isinstance(doing, str) and doing.startswith(
        "runs"
    ):  # its kernel stack is that of the interrupt that we met it in
        frames = Unknown("it runs, and the kernel does not tell where; perf does")
    elif stack := stack_frames(view["stack"] or ""):
        frames = tuple(Frame(place.symbol, place.dso, None, "runtime") for place in stack)
    elif "stack" in view["unknown"]:
        frames = Unknown(view["unknown"]["stack"])
    source = "wchan, syscall and stack of /proc/PID/task/TID"
    return bare.replaced(kernel=doing, frames=frames, source=source)


def counters(watched: Sequence[Watched], mask: Mask) -> Iterator[Observation | Unseen]:
    """The heaps and the quotas of the processes under watch, over the window."""
    for one in watched:
        if len(one.heap) == 2:
            from opsdoc.looks.heaps import heap

            own = sum(dump.took for dump in one.dumps)
            yield heap(one.pid, f"heap of {one.pid} {mask(one.stat.name)}", one.heap[0], one.heap[1], own)
    looked = [Looked(one.pid, mask(one.stat.name), one.cgroup[0], one.cgroup[-1]) for one in watched if one.cgroup]
    used = {one.pid: sum(rate.cpu for rate in one.rates.values()) for one in watched}
    yield from quotas.quotas([one for one in looked if one.earlier is not one.later], used)
    yield from quotas.blind(looked)


def syscalls(watched: Sequence[Watched], mask: Mask) -> Iterator[Syscall]:
    """The system calls that the threads sampled by perf were in, each with its part of the CPU."""
    for one in watched:
        for tid, sampled in one.perf.items():
            if tid not in one.rates:
                continue
            for name, share in sampled.syscalls:
                yield Syscall(
                    subject=f"{name} of {tid} {mask(one.stat.name)}",
                    pid=one.pid,
                    tid=tid,
                    name=name,
                    cpu=round(one.rates[tid].cpu * share.seen / max(1, share.of), 4),
                    agreement=share,
                )


def cut(thread: Thread, frames: int) -> Thread:
    """A thread with that many frames of its stack, the innermost first; 0 leaves all."""
    if not frames or not isinstance(thread.frames, tuple):
        return thread
    return thread.replaced(frames=thread.frames[:frames])


def _match(dumps: Sequence[dict[int, Seen]], tid_there: int) -> Match | None:
    """The code in which most dumps saw a thread: those in which it was running, if there are any."""
    seen = [dump.get(tid_there) for dump in dumps]
    found = [one for one in seen if one is not None]
    if not found:
        return None
    running = [one for one in found if one.state == "RUNNABLE"] or found
    places = Counter(_place(first_app(one.frames)) for one in running)
    place = places.most_common(1)[0][0]
    best = next(one for one in reversed(running) if _place(first_app(one.frames)) == place)
    return Match(best, first_app(best.frames), tuple(first_app(one.frames) if one else None for one in seen))


def _place(frame: Frame | None) -> tuple[str, str | None] | None:
    """The same function of the same file is the same code, whatever the line."""
    return None if frame is None else (frame.function, frame.file)


def _same(one: Frame | None, other: Frame | None) -> bool:
    return one is not None and _place(one) == _place(other)


def _role_and_frames(
    one: Watched, match: Match | None, dumped: bool, no_stacks: Unknown
) -> tuple[Role | Unknown, tuple[Frame, ...] | Unknown]:
    if match is not None:
        seen = match.seen
        return seen.role, Unknown(seen.doubt) if seen.doubt else seen.frames
    if one.runtime == "kernel":
        return "kernel", no_stacks
    if dumped:  # the runtime does not know this thread: a library made it
        return "native", Unknown("the runtime's dump does not list this thread: it runs native code")
    if one.runtime is not None and one.stacks is None and not one.unseen:
        return "native", no_stacks
    return no_stacks, no_stacks


def _why_no_stacks(one: Watched) -> str:
    if one.unseen:
        return one.unseen[-1].detail
    if one.stacks is None:
        return "perf has no sample of it" if one.perf else f"a {one.runtime} program tells no stacks without perf"
    return "no dump was taken"


def _history(one: Watched, tid: int, match: Match | None) -> tuple[Point, ...]:
    """The thread's CPU from sample to sample, each point labelled with the code that the nearest dump saw."""
    having = [sample for sample in one.samples if tid in sample.stats]
    labels = list(zip(one.dumps, match.path, strict=False)) if match is not None else []
    points = []
    for earlier, later in pairwise(having):
        within = [frame for dump, frame in labels if earlier.at - 1e-9 <= dump.at < later.at and frame]
        label = within[-1].function if within else None
        points.append(Point(round(later.at, 3), usage_of(tid, earlier, later).cpu, label))
    return tuple(points)
