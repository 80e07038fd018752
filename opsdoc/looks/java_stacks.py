"""Stacks of a JVM: its thread dump over the attach socket."""

from __future__ import annotations

import re
from collections.abc import Container
from typing import Any

from opsdoc.clients import Question
from opsdoc.clients.hotspot import OpenSocket, ThreadDump
from opsdoc.looks.stacks import Seen, Stacks
from opsdoc.model import Frame
from opsdoc.parsers import hotspot_dump
from opsdoc.parsers.hotspot_dump import JavaThread
from opsdoc.signals.origin import classify
from opsdoc.signals.processes import Role


class HotspotStacks(Stacks):
    """Through the JVM's attach socket."""

    source = "thread dump over the attach socket"

    def prepare(self) -> Question[Any]:
        return OpenSocket(self.pid, self.started)

    def question(self) -> Question[bytes]:
        return ThreadDump(self.pid, self.started)

    def read(self, dump: bytes, only: Container[int] | None, complement: Any = None) -> dict[int, Seen]:  # noqa: ARG002
        return java_threads(dump, only)


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
