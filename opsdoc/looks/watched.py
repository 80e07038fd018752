"""A process under watch: what is known of it, and what was taken of it in the window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from opsdoc.clients import proc
from opsdoc.host import Answer, Host
from opsdoc.looks.sampling import Sample, Usage, usage
from opsdoc.looks.stacks import Seen, Stacks
from opsdoc.model import ProbeError, Unseen
from opsdoc.parsers.procfs import Stat, parse_status

if TYPE_CHECKING:  # imported when perf was needed
    from opsdoc.looks.native import Sampled

DETAILED = 50  # processes of a ranking that are looked into: with -n 0 there may be thousands, all of them idle
PATIENCE = 2.0  # seconds for the details of a process: one that holds its memory map locked must not stop the run
LIVELY = 0.005  # cores: a thread below one clock tick in two seconds did nothing that is worth a stack


class Dump(NamedTuple):
    """A dump as it came, when it was asked for and how long it took (seconds)."""

    raw: bytes
    at: float
    took: float


@dataclass(slots=True, eq=False, repr=False)
class Watched:
    """One process under watch. The first and the last of its samples are of all its threads."""

    stat: Stat
    details: Mapping[str, Any] = field(default_factory=dict)
    stacks: Stacks | None = None
    given_up: bool = False  # whether its runtime tells stacks, but not to us
    every: int = 1  # rounds from dump to dump
    samples: list[Sample] = field(default_factory=list)
    dumps: list[Dump] = field(default_factory=list)
    complement: Any = None  # what the dumps could not tell: see Stacks.complement
    perf: Mapping[int, Sampled] = field(default_factory=dict)  # what perf saw, by thread id
    views: Mapping[int, Mapping[str, Any]] = field(default_factory=dict)  # what the kernel tells, where perf cannot
    heap: list[Answer[Any]] = field(default_factory=list)  # a JVM's counters at both ends of the window
    cgroup: list[Answer[Any]] = field(default_factory=list)  # its quota and how often it was throttled, likewise
    unseen: list[Unseen] = field(default_factory=list)
    rates: Mapping[int, Usage] = field(default_factory=dict)  # CPU by thread over all that was watched, hottest first
    in_container: bool = False  # whether its threads have other ids inside
    _read: dict[int, tuple[Any, dict[int, Seen]]] = field(default_factory=dict)
    ids_there: dict[int, int] = field(default_factory=dict)  # thread ids in the innermost pid namespace

    @property
    def pid(self) -> int:
        return self.stat.pid

    @property
    def subject(self) -> str:
        return f"process {self.pid} {self.stat.name}"

    @property
    def runtime(self) -> str | None:
        """The runtime as `procfs.runtime_of` names it, `kernel`, or None if it could not be seen."""
        if self.pid == 2 or self.stat.ppid == 2:
            return "kernel"
        runtime: str | None = self.details.get("runtime")
        return runtime

    def lively(self) -> list[int]:
        """The threads that used any CPU, hottest first."""
        return [tid for tid, rate in self.rates.items() if rate.cpu >= LIVELY]

    def there(self, tids: Sequence[int]) -> dict[int, int]:
        """The ids that the process itself has for threads."""
        return {tid: self.ids_there.get(tid, tid) for tid in tids}

    def threads_in(self, dump: Dump) -> dict[int, Seen]:
        """All threads of a dump by the ids that the process itself has; raises ProbeError.

        A dump is taken apart once, whoever asks: that of a JVM with 400 threads takes 8 ms.
        """
        if self.stacks is None:
            return {}
        known = self._read.get(id(dump))
        if known is None or known[0] is not self.complement:
            known = self._read[id(dump)] = (self.complement, self.stacks.read(dump.raw, None, self.complement))
        return known[1]

    def rates_so_far(self) -> dict[int, Usage]:
        """CPU by thread since the watch began, hottest first; nothing before the second sample."""
        return usage(self.samples[0], self.samples[-1]) if len(self.samples) > 1 else {}


def look_into(host: Host, stats: Sequence[Stat]) -> list[Watched]:
    """Processes with their details and the way to their stacks."""
    watched = [Watched(stat) for stat in stats]
    answers = host.gather([proc.Details(one.pid) for one in watched], within=PATIENCE)
    for one, answer in zip(watched, answers, strict=True):
        if isinstance(answer, ProbeError):
            answer.hint = ""
            one.unseen.append(answer.unseen(one.subject))
            continue
        one.details = answer.value
        status = one.details["status"]
        one.in_container = bool(status) and len(parse_status(status).ids) > 1
        one.stacks = stacks_for(one.runtime, one.pid, one.stat.started)
        if unknown := one.details["unknown"]:
            detail = "; ".join(unknown.values())
            one.unseen.append(Unseen(subject=one.subject, reason="denied", detail=detail, hint=one.details["hint"]))
    return watched


def stacks_for(runtime: str | None, pid: int, started: int) -> Stacks | None:
    """The way to take stacks of a runtime, or None where opsdoc knows none."""
    # Imported here: a box without a JVM need not pay for what reads its dumps.
    if runtime == "jvm":
        from opsdoc.looks.java_stacks import HotspotStacks

        return HotspotStacks(pid, started)
    if runtime is not None and runtime.startswith("python"):
        from opsdoc.looks.python_stacks import PythonStacks

        return PythonStacks(pid, started)
    return None


def find_ids_there(host: Host, one: Watched, tids: Sequence[int]) -> None:
    """Learn the ids that threads of a process in a container have inside."""
    if one.in_container:
        pairs = host.ask(proc.ContainerIds(one.pid, tuple(tids))).value
        one.ids_there.update({here: there for here, there in pairs})  # noqa: C416 - lists after a replay
