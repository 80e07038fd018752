"""Processes under watch: the CPU and the stacks of their threads, taken in the same window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from opsdoc.clients import proc
from opsdoc.host import Answer, Host
from opsdoc.looks import sampling
from opsdoc.looks.sampling import Sample, Usage, usage
from opsdoc.looks.stacks import Stacks
from opsdoc.model import Interrupted, ProbeError, TimedOut, Unseen
from opsdoc.parsers.procfs import Stat, parse_status

ROUNDS = 10  # looks at the watched threads in a window
DUMP_EVERY = 2  # rounds: a dump stops a JVM for 7 to 20 ms, and one by py-spy costs 40 ms of CPU
DETAILED = 50  # processes of a ranking that are looked into: with -n 0 there may be thousands, all of them idle
FOLLOWED = 16  # threads of a process whose CPU is followed from round to round
LIVELY = 0.005  # cores: a thread below one clock tick in two seconds did nothing that is worth a stack


class Dump(NamedTuple):
    """A dump as it came, when it was asked for and how long it took (seconds)."""

    raw: bytes
    at: float
    took: float


@dataclass(slots=True)
class Watched:
    """One process under watch. The first and the last of its samples are of all its threads."""

    stat: Stat
    details: Mapping[str, Any] = field(default_factory=dict)
    stacks: Stacks | None = None
    every: int = DUMP_EVERY
    samples: list[Sample] = field(default_factory=list)
    dumps: list[Dump] = field(default_factory=list)
    complement: Any = None  # what the last dump could not tell: see Stacks.complement
    unseen: list[Unseen] = field(default_factory=list)
    rates: Mapping[int, Usage] = field(default_factory=dict)  # CPU by thread over all that was watched, hottest first
    in_container: bool = False  # whether its threads have other ids inside
    ids_there: Mapping[int, int] = field(default_factory=dict)  # thread ids in the innermost pid namespace

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

    def wants_dump(self, number: int, budget: float) -> bool:
        """Whether a dump is due in a round: the first always, more only when they fit into the budget for pauses."""
        if self.stacks is None or number % self.every:
            return False
        took = [dump.took for dump in self.dumps]
        return not took or sum(took) + max(took) <= budget


def look_into(host: Host, stats: Sequence[Stat]) -> list[Watched]:
    """Processes with their details and the way to their stacks."""
    watched = [Watched(stat) for stat in stats]
    for one, answer in zip(watched, host.gather([proc.Details(one.pid) for one in watched]), strict=True):
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


def begin(host: Host, stats: Sequence[Stat]) -> list[Watched]:
    """Put processes under watch: their details, the first sample of their threads, their stacks within reach."""
    watched = look_into(host, stats)
    for one in watched:
        _sample(host, one)
    _prepare(host, watched)
    ways = Counter(type(one.stacks) for one in watched)
    for one in watched:
        if one.stacks is not None:
            one.every = DUMP_EVERY * ways[type(one.stacks)]
    return watched


def follow(host: Host, watched: Sequence[Watched], ends: float, budget: float) -> Iterator[Unseen]:
    """Look at the watched threads again and again until the run's clock reads `ends`, and at all of them at the end.

    `budget` is how long each process may stand still for it, in seconds. A run that is interrupted or late ends the
    window early, which is yielded.
    """
    interval = (ends - host.now()) / ROUNDS
    try:
        for number in range(ROUNDS):
            next_round = host.now() + interval
            _dump(host, [one for one in watched if one.wants_dump(number, budget)])
            if number:
                for one in watched:
                    _sample(host, one, _busiest(one))
            if host.now() < min(next_round, ends):
                host.sleep(min(next_round, ends) - host.now())
            if host.now() >= ends:
                break
    except (Interrupted, TimedOut) as error:
        yield Unseen(subject="the rest of the window", reason=error.reason, detail="the window was cut short")
    for one in watched:
        _sample(host, one)
        if len(one.samples) > 1:
            one.rates = usage(one.samples[0], one.samples[-1])
        find_ids_there(host, one, one.lively())
    _complete(host, watched)


def find_ids_there(host: Host, one: Watched, tids: Sequence[int]) -> None:
    """Learn the ids that threads of a process in a container have inside."""
    if one.in_container:
        pairs = host.ask(proc.ContainerIds(one.pid, tuple(tids))).value
        one.ids_there = {here: there for here, there in pairs}  # noqa: C416 - pairs are lists after a replay


def _prepare(host: Host, watched: Sequence[Watched]) -> None:
    asked = [(one, question) for one in watched if one.stacks and (question := one.stacks.prepare()) is not None]
    for (one, _), answer in zip(asked, host.gather([question for _, question in asked]), strict=True):
        if isinstance(answer, ProbeError):
            _give_up(one, answer)


def _dump(host: Host, due: Sequence[Watched]) -> None:
    answers = host.gather([one.stacks.question() for one in due if one.stacks is not None])
    for one, answer in zip(due, answers, strict=True):
        if isinstance(answer, Answer):
            one.dumps.append(Dump(answer.value, answer.at, answer.took))
        else:
            _give_up(one, answer)


def _complete(host: Host, watched: Sequence[Watched]) -> None:
    """Ask for what the dumps could not tell of the threads that used CPU."""
    asked = []
    for one in watched:
        if one.stacks is not None and one.dumps:
            tids = {one.ids_there.get(tid, tid) for tid in one.lively()}
            question = one.stacks.complement([dump.raw for dump in one.dumps], tids)
            if question is not None:
                asked.append((one, question))
    for (one, _), answer in zip(asked, host.gather([question for _, question in asked]), strict=True):
        if isinstance(answer, Answer):
            one.complement = answer.value
        else:
            one.unseen.append(answer.unseen(f"{one.subject}: stacks"))


def _give_up(one: Watched, error: ProbeError) -> None:
    """No more dumps of a process; those taken before the failure stay."""
    one.unseen.append(error.unseen(f"{one.subject}: stacks"))
    one.every = ROUNDS + 1
    if not one.dumps:
        one.stacks = None


def _sample(host: Host, one: Watched, tids: tuple[int, ...] = ()) -> None:
    try:
        one.samples.append(sampling.threads(host, one.pid, tids))
    except ProbeError as error:
        error.hint = ""  # `opsdoc top` would not bring a process back that ended meanwhile
        if all(blind.reason != error.reason for blind in one.unseen):
            one.unseen.append(error.unseen(one.subject))


def _busiest(one: Watched) -> tuple[int, ...]:
    """The threads to follow: none known (which asks for all) until there are two samples of all."""
    return tuple(list(usage(*one.samples[:2]))[:FOLLOWED]) if len(one.samples) > 1 else ()
