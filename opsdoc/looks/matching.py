"""CPU and stacks matched by thread id: integers, exactly, and never text."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from opsdoc.looks import sampling
from opsdoc.looks.sampling import Usage, usage_of
from opsdoc.looks.stacks import Seen
from opsdoc.looks.watch import Watched
from opsdoc.model import Frame, Point, ProbeError, Share, Unknown, Unseen, known
from opsdoc.parsers.procfs import Stat
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
    wanted = {one.ids_there.get(tid, tid) for tid in lively}
    dumps: list[dict[int, Seen]] = []
    reason = ""
    for dump in one.dumps:
        try:
            dumps.append(one.stacks.read(dump.raw, wanted, one.complement) if one.stacks is not None else {})
        except ProbeError as error:
            reason = error.detail
    if reason:
        yield Unseen(subject=f"{one.subject}: stacks", reason="malformed", detail=reason)
    no_stacks = Unknown(reason or _why_no_stacks(one))
    for tid in lively:
        match = _match(dumps, one.ids_there.get(tid, tid))
        bare = thread(one, one.samples[-1].stats[tid], mask)
        role, frames = _role_and_frames(one, match, bool(dumps), no_stacks)
        if match is None:
            yield dataclasses.replace(bare, role=role, frames=frames, samples=_history(one, tid, None))
            continue
        yield dataclasses.replace(
            seen_as(bare, match.seen, one.stacks.source if one.stacks is not None else "", mask),
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
    return dataclasses.replace(
        bare,
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


def cut(thread: Thread, frames: int) -> Thread:
    """A thread with that many frames of its stack, the innermost first; 0 leaves all."""
    if not frames or not isinstance(thread.frames, tuple):
        return thread
    return dataclasses.replace(thread, frames=thread.frames[:frames])


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
        return "kernel", Unknown("a kernel thread has no stack that opsdoc reads")
    if dumped:  # the runtime does not know this thread: a library made it
        return "native", Unknown("the runtime's dump does not list this thread: it runs native code")
    if one.runtime is not None and one.stacks is None and not one.unseen:
        return "native", no_stacks
    return no_stacks, no_stacks


def _why_no_stacks(one: Watched) -> str:
    if one.unseen:
        return one.unseen[-1].detail
    if one.stacks is None:
        return f"opsdoc takes no stacks of a {one.runtime} program"
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
