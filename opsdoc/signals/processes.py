"""Processes, their threads, and the code that these run: what is measured of them."""

from __future__ import annotations

from typing import ClassVar, Literal

from opsdoc.model import Frame, Observation, Point, Share, Unknown, measure

Role = Literal["app", "gc", "jit", "vm", "native", "kernel"]


class Process(Observation):
    """A process and the CPU it used in the window."""

    kind: ClassVar[str] = "process"
    cpu: float | Unknown = measure("CPU", "cores", "main")
    pid: int = measure("pid", "id")
    ppid: int | None = measure("parent", "id")
    name: str = measure("name")
    command: str | Unknown = measure("command line", "command")
    user: str | Unknown = measure("user", "", "line")
    runtime: str | Unknown = measure("runtime", "", "line")
    container: str | Unknown | None = measure("container", "", "line")
    cgroup: str | Unknown | None = measure("cgroup")
    started: str | Unknown = measure("started", "time")
    cpu_user: float | Unknown = measure("user CPU", "cores")
    cpu_system: float | Unknown = measure("system CPU", "cores")
    children_cpu: float | Unknown | None = measure("CPU of children that ended", "cores")
    threads: int | Unknown = measure("threads", "count")
    memory: int | Unknown = measure("memory", "bytes", "line")
    state: str | Unknown = measure("state")


class Thread(Observation):
    """A thread, the CPU it used in the window, and what it was seen doing."""

    kind: ClassVar[str] = "thread"
    cpu: float | Unknown | None = measure("CPU", "cores", "main")
    pid: int | None = measure("pid", "id")
    tid: int | Unknown = measure("thread id", "id")
    tid_hex: str | None = measure("in hex", "hex")
    ns_tid: int | Unknown | None = measure("id in the container", "id")
    name: str = measure("name")
    state: str | Unknown | None = measure("state", "", "line")
    agreement: Share | Unknown | None = measure("same code in", "", "line")
    role: Role | Unknown | None = measure("role")
    cpu_user: float | Unknown | None = measure("user CPU", "cores")
    cpu_system: float | Unknown | None = measure("system CPU", "cores")
    kernel: str | Unknown | None = measure("kernel says", "", "line")
    source: str | None = measure("how the stack was taken")
    samples: tuple[Point, ...] = measure("over the window", "cores", default=())
    frames: tuple[Frame, ...] | Unknown | None = measure("stack")


class Code(Observation):
    """The CPU of all threads of a process that were seen in the same code, or in the same role."""

    kind: ClassVar[str] = "code"
    cpu: float = measure("CPU", "cores", "main")
    pid: int = measure("pid", "id")
    threads: int = measure("threads", "count", "line")
    agreement: Share | None = measure("seen there in", "", "line")
    role: Role | Unknown | None = measure("role")
    frame: Frame | None = measure("code")
    tids: tuple[int, ...] = measure("thread ids", "id", default=())
