"""Stacks of a process, whatever its runtime: how to take them, and what each thread was seen doing."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Container
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from opsdoc.clients import Question
from opsdoc.clients.hotspot import OpenSocket, ThreadDump
from opsdoc.clients.pyspy import PythonDump
from opsdoc.model import Frame, Unsupported
from opsdoc.parsers import hotspot_dump, pyspy
from opsdoc.parsers.hotspot_dump import JavaThread
from opsdoc.parsers.pyspy import PythonThread
from opsdoc.signals.origin import classify
from opsdoc.signals.processes import Role


class Seen(NamedTuple):
    """What a thread was seen doing in one dump. `frames` are innermost first.

    `doubt` says why the dump cannot be believed about this thread; then there are no frames.
    """

    name: str
    state: str | None
    role: Role
    frames: tuple[Frame, ...]
    doubt: str | None = None


@dataclass(frozen=True, slots=True)
class Stacks(ABC):
    """How the stacks of one process are taken; `started` (ticks after boot) proves that it is the same process."""

    source: ClassVar[str]

    pid: int
    started: int

    def prepare(self) -> Question[Any] | None:
        """What must be asked once before the first dump."""
        return None

    @abstractmethod
    def question(self) -> Question[bytes]:
        """One dump."""

    @abstractmethod
    def read(self, dump: bytes, only: Container[int] | None) -> dict[int, Seen]:
        """The threads of a dump by the thread id that it names; raises Malformed or Unsupported."""


class HotspotStacks(Stacks):
    """Through the JVM's attach socket."""

    source = "thread dump over the attach socket"

    def prepare(self) -> Question[Any]:
        return OpenSocket(self.pid, self.started)

    def question(self) -> Question[bytes]:
        return ThreadDump(self.pid, self.started)

    def read(self, dump: bytes, only: Container[int] | None) -> dict[int, Seen]:
        return java_threads(dump, only)


class PythonStacks(Stacks):
    """Through py-spy, without stopping the process."""

    source = "py-spy dump --nonblocking"

    def question(self) -> Question[bytes]:
        return PythonDump(self.pid)

    def read(self, dump: bytes, only: Container[int] | None) -> dict[int, Seen]:
        seen = python_threads(pyspy.parse_json(dump))
        if not seen:
            raise Unsupported("py-spy gives no thread ids for this Python without stopping it (3.10 and older)")
        return {tid: thread for tid, thread in seen.items() if only is None or tid in only}


def stacks_for(runtime: str | None, pid: int, started: int) -> Stacks | None:
    """The way to take stacks of a runtime, or None where opsdoc knows none."""
    if runtime == "jvm":
        return HotspotStacks(pid, started)
    if runtime is not None and runtime.startswith("python"):
        return PythonStacks(pid, started)
    return None


# ── what the dumps say ───────────────────────────────────────────────────────────────────────────

# Names that HotSpot gives to its own threads. The Java threads of an application carry a number (`#23`); of the VM's
# only the compilers do, and those never have a frame.
_VM_ROLES: tuple[tuple[re.Pattern[str], Role], ...] = (
    (re.compile(r"C[12] CompilerThread\d+|Sweeper thread|JVMCI.*"), "jit"),
    (re.compile(r"GC Thread#\d+|G1 .*|ParGC.*|Concurrent Mark-Sweep GC.*|Z[A-Z].*|Shenandoah.*|XWorker.*"), "gc"),
)


def java_threads(dump: bytes, only: Container[int] | None = None) -> dict[int, Seen]:
    """A HotSpot dump by OS thread id."""
    parsed = hotspot_dump.parse(dump, only)
    seen = {}
    for thread in parsed.threads:
        if thread.tid is None or (only is not None and thread.tid not in only):
            continue
        if thread.tid in parsed.ambiguous:
            doubt = "more than one thread of the dump claims this id: a thread's name may hold whole lines"
            seen[thread.tid] = Seen(thread.name, None, "app", (), doubt)
        else:
            seen[thread.tid] = Seen(thread.name, thread.state, java_role(thread), _java_frames(thread))
    return seen


def java_role(thread: JavaThread) -> Role:
    """What a thread of a JVM is there for."""
    for pattern, role in _VM_ROLES:
        if pattern.fullmatch(thread.name) and (thread.number is None or (role == "jit" and not thread.frames)):
            return role
    return "vm" if thread.number is None else "app"


def _java_frames(thread: JavaThread) -> tuple[Frame, ...]:
    return classify(thread.mounted or thread.frames, "java")


def python_threads(threads: tuple[PythonThread, ...]) -> dict[int, Seen]:
    """A py-spy dump by OS thread id; threads without one are left out."""
    return {
        thread.tid: Seen(
            thread.name or f"thread {thread.tid}",
            None,
            "app",
            classify(thread.frames, "python"),
        )
        for thread in threads
        if thread.tid is not None
    }
