"""Stacks of a JVM: its thread dump over the attach socket, and on Java 21 its own list of virtual threads."""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

from opsdoc.clients import Question
from opsdoc.clients.hotspot import OpenSocket, ThreadDump
from opsdoc.looks.stacks import Partial, Seen, Stacks
from opsdoc.model import Frame, Malformed
from opsdoc.parsers import hotspot_dump
from opsdoc.parsers.hotspot_dump import JavaThread
from opsdoc.signals.origin import classify
from opsdoc.signals.processes import Role

if TYPE_CHECKING:  # imported when it is needed
    from opsdoc.parsers.java_threads import ListedThread, ListedThreads

Collector = Literal["serial", "parallel", "g1", "z", "shenandoah", "unknown"]

_CUT_SHORT = "the thread dump was cut short: threads are missing from it"
_CARRYING = b"   Carrying virtual thread #"


class HotspotStacks(Stacks):
    """Through the JVM's attach socket."""

    source = "thread dump over the attach socket, at a safepoint"
    pauses = True

    def prepare(self) -> Question[Any]:
        return OpenSocket(self.pid, self.started)

    def question(self) -> Question[bytes]:
        return ThreadDump(self.pid, self.started)

    def costly(self, names: Sequence[str]) -> bool:
        """Serial and Parallel wait for a counted loop to end: 0.7 s for each of the safepoints of one dump."""
        return collector(names) in ("serial", "parallel", "unknown")

    def at_work(self, seen: Seen) -> bool:
        """What stands against a thread's stack in one dump stands against it in the next, too."""
        return seen.role != "app" or seen.state == "RUNNABLE" or seen.doubt is not None

    def complement(self, dumps: Sequence[bytes], tids: Container[int]) -> Question[Any] | None:
        """Ask for the virtual threads if a thread carried one and no dump showed what that does."""
        untold: set[int] = set()
        told: set[int] = set()
        for dump in dumps:
            if _CARRYING not in dump:
                continue
            try:
                threads = hotspot_dump.parse(dump, tids).threads
            except Malformed:  # `read` tells of it
                continue
            for thread in threads:
                if thread.carrying is not None and thread.tid is not None and thread.tid in tids:
                    (told if thread.mounted else untold).add(thread.tid)
        if untold <= told:
            return None
        from opsdoc.clients.virtual_threads import VirtualThreads

        return VirtualThreads(self.pid, self.started)

    def read(self, dump: bytes, only: Container[int] | None, complement: Any = None) -> dict[int, Seen]:
        return java_threads(dump, only, complement)


# ── roles ────────────────────────────────────────────────────────────────────────────────────────

# Names that HotSpot gives to its own threads: read from dumps of 11, 17, 21 and 25 with each collector, those of 8 from
# its sources. The Java threads of an application carry a number (`#23`); of the VM's only the compilers do, and those
# never have a frame.
_VM_ROLES: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(r"C[12] CompilerThread\d+|Sweeper thread|JVMCI.*"), "jit"),
    (
        re.compile(
            r"(?:Par)?GC Thread#\d+|GC task thread#\d+.*|Gang worker#\d+.*|G1 .*|Shenandoah.*"
            r"|CMS Main Thread|Concurrent Mark-Sweep GC.*|[XZ][A-Z][A-Za-z]*(?:#\d+)?"
        ),
        "gc",
    ),
)

# One thread that each collector has from its beginning to its end, by its name of 15 characters. Serial has none, nor
# has Epsilon, which never collects. Before Java 9 the kernel knows all threads of the VM as `java`.
_BY_THREAD: tuple[tuple[frozenset[str], Collector], ...] = (
    (frozenset({"G1 Main Marker"}), "g1"),
    (frozenset({"ZDirector", "XDirector"}), "z"),
    (frozenset({"Shenandoah GC T"}), "shenandoah"),
    (frozenset({"CMS Main Thread"}), "unknown"),
    (frozenset({"GC Thread#0", "ParGC Thread#0"}), "parallel"),
    (frozenset({"VM Thread"}), "serial"),
)


def collector(names: Iterable[str]) -> Collector:
    """The garbage collector of a JVM, by the names that the kernel has for its threads (`/proc/PID/task/*/comm`)."""
    present = frozenset(names)
    return next((kind for marks, kind in _BY_THREAD if marks & present), "unknown")


def java_role(thread: JavaThread) -> Role:
    """What a thread of a JVM is there for."""
    for pattern, role in _VM_ROLES:
        if pattern.fullmatch(thread.name) and (thread.number is None or (role == "jit" and not thread.frames)):
            return role
    return "vm" if thread.number is None else "app"


# ── threads ──────────────────────────────────────────────────────────────────────────────────────


def java_threads(dump: bytes, only: Container[int] | None = None, listed: bytes | None = None) -> dict[int, Seen]:
    """A HotSpot dump by OS thread id; `listed` is the JVM's own JSON dump of its threads, if it was asked for.

    A dump without its end is `Partial`, without the thread that it ends in unless the user's own code was reached.
    Raises Malformed for what is no dump and for one that was cut short before any thread that is wanted.
    """
    parsed = hotspot_dump.parse(dump, only)
    wanted = [(t.tid, t) for t in parsed.threads if t.tid is not None and (only is None or t.tid in only)]
    virtual = _listed(listed, {t.carrying for _, t in wanted if t.carrying is not None and not t.mounted})
    cut = None if parsed.complete or dump.endswith(b"\n\n") else parsed.threads[-1:]
    seen: dict[int, Seen] = {} if parsed.complete else Partial().because(_CUT_SHORT)
    for tid, thread in wanted:
        role, frames = java_role(thread), classify(thread.frames, "java")
        if tid in parsed.ambiguous:
            doubt = "more than one thread of the dump claims this id: a thread's name may hold whole lines"
            seen[tid] = Seen(thread.name, None, "app", (), doubt)
        elif cut and thread is cut[0] and role == "app" and all(frame.origin != "app" for frame in frames):
            continue
        elif thread.carrying is not None:
            seen[tid] = _carrier(thread, thread.carrying, virtual)
        else:
            seen[tid] = Seen(thread.name, thread.state, role, frames)
    if not seen and not parsed.complete:
        raise Malformed(_CUT_SHORT)
    return seen


# ── virtual threads ──────────────────────────────────────────────────────────────────────────────


def _listed(listed: bytes | None, numbers: Collection[int]) -> ListedThreads | str:
    """The virtual threads of these numbers, or why they are not known."""
    if listed is None or not numbers:
        return "the thread dump of this Java does not tell the stack of {}"
    from opsdoc.parsers import java_threads as parser

    try:
        return parser.parse(listed, numbers)
    except Malformed as error:
        return error.detail.replace("{", "{{").replace("}", "}}")


def _carrier(thread: JavaThread, number: int, virtual: ListedThreads | str) -> Seen:
    """What a thread does that carries a virtual one: the code of that, and never the scheduler's beneath it."""
    one = None if isinstance(virtual, str) else virtual.threads.get(number)
    name = f"{thread.name} carrying {(one.name if one else '') or f'#{number}'}"
    if thread.mounted:
        return Seen(name, _state(thread.mounted), "app", classify(thread.mounted, "java"))
    doubt = virtual if isinstance(virtual, str) else _doubt(thread, one, virtual.complete)
    if one is None or doubt:
        return Seen(name, None, "app", (), doubt.format(f"the virtual thread #{number} that it carried"))
    return Seen(name, "RUNNABLE", "app", classify(one.frames, "java"))


def _doubt(thread: JavaThread, one: ListedThread | None, complete: bool) -> str:
    """Why what the JVM listed, which was after the dump, does not tell what the thread did in it."""
    if one is None:
        return "{} had ended when its stack was asked for" if complete else "the JVM has too many threads to find {}"
    if one.carrier not in (None, thread.number):
        return "{} had moved to another thread when its stack was asked for"
    if not one.frames:
        return "{} was between two states when its stack was asked for"
    if one.state not in (None, "RUNNABLE") or _state(one.frames) is None:
        return "{} was waiting when its stack was asked for"
    return ""


def _state(frames: Sequence[Frame]) -> str | None:
    """The state of a mounted virtual thread, which no dump tells: it runs unless it is about to leave its carrier."""
    innermost = frames[0].function if frames else ""
    leaves = innermost.startswith("java.lang.VirtualThread.") and innermost != "java.lang.VirtualThread.run"
    return None if leaves else "RUNNABLE"
