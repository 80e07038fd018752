"""Whether the machine is short of CPU at all, and who takes it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from opsdoc.model import Observation, Unknown, measure


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
    pressure: float | None | Unknown = measure("CPU pressure, 10 s", "ratio")
    io_pressure: float | None | Unknown = measure("I/O pressure, 10 s", "ratio")
