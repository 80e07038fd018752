"""The watch over the hottest processes: CPU, stacks and counters of the same window."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from opsdoc.clients import Question
from opsdoc.clients.cgroup import Cgroup
from opsdoc.host import Answer, Host
from opsdoc.looks import dark, dumps, quotas, sampling
from opsdoc.looks.sampling import usage
from opsdoc.looks.watched import PATIENCE, Watched, find_ids_there, look_into
from opsdoc.model import Interrupted, ProbeError, TimedOut, Unseen
from opsdoc.parsers.procfs import Stat

ROUNDS = 10  # looks at the watched threads in a window
DUMP_EVERY = 2  # rounds: one dump by py-spy costs 40 ms of CPU
MANY, LIKELY = 100, 64  # threads: of more than that, so many may be hot
FOLLOWED = 16  # threads of a process whose CPU is followed from round to round


def begin(host: Host, stats: Sequence[Stat], most: int = 0) -> list[Watched]:
    """Put processes under watch: their details, the first sample of their threads, their stacks within reach.

    `most` is how many dumps of each will be wanted, as in `follow`.
    """
    watched = look_into(host, stats)
    for one in watched:
        _sample(host, one)
    _read_counters(host, watched)
    dumps.prepare(host, watched)
    ways = Counter(type(one.stacks) for one in watched)
    for one in watched:
        if one.stacks is not None:
            one.every = ways[type(one.stacks)] * (1 if most > ROUNDS // DUMP_EVERY else DUMP_EVERY)
    return watched


def follow(host: Host, watched: Sequence[Watched], ends: float, budget: float, most: int = 0) -> Iterator[Unseen]:
    """Look at the watched threads again and again until the run's clock reads `ends`, and at all of them at the end.

    `budget` is how long each process may stand still for it, in seconds; `most` how many dumps of each are taken (0:
    as few as tell enough). A run that is interrupted or late ends the window early, which is yielded.
    """
    interval = (ends - host.now()) / ROUNDS
    perf: Callable[[], None] | None = None
    try:
        for number in range(ROUNDS):
            next_round = min(host.now() + interval, ends)
            dumps.take(host, [one for one in watched if dumps.wanted(one, number, budget, most)])
            if number:
                _sample_busiest(host, watched, number)
            if number == 1:
                perf = dark.start(host, watched, ends)
            if host.now() < next_round:
                host.sleep(next_round - host.now())
            if host.now() >= ends:
                break
    except (Interrupted, TimedOut) as error:
        yield Unseen(subject="the rest of the window", reason=error.reason, detail="the window was cut short")
    for one in watched:
        _sample(host, one)
        one.rates = one.rates_so_far()
        find_ids_there(host, one, one.lively())
    _read_counters(host, watched)
    dumps.complete(host, watched)
    if perf is not None:
        perf()


def _read_counters(host: Host, watched: Sequence[Watched]) -> None:
    """The heap of each JVM and the quota of each cgroup, as they stand now."""
    asked: list[tuple[Watched, list[Answer[Any]], Question[Any]]] = []
    for one in watched:
        if not one.cgroup or quotas.limited(one.cgroup[0].value):
            asked.append((one, one.cgroup, Cgroup(one.pid)))
        if one.runtime == "jvm":
            from opsdoc.clients.hsperf import PerfData

            asked.append((one, one.heap, PerfData(one.pid, one.stat.started)))
    answers = host.gather([question for _, _, question in asked], within=PATIENCE)
    for (one, kept, _), answer in zip(asked, answers, strict=True):
        if isinstance(answer, Answer):
            kept.append(answer)
        elif kept is one.heap and all(blind.detail != answer.detail for blind in one.unseen):
            one.unseen.append(answer.unseen(f"{one.subject}: heap"))  # a box without cgroups lacks nothing


def _sample(host: Host, one: Watched, tids: tuple[int, ...] = ()) -> None:
    try:
        one.samples.append(sampling.threads(host, one.pid, tids))
    except ProbeError as error:
        error.hint = ""  # `opsdoc top` would not bring a process back that ended meanwhile
        if all((blind.subject, blind.reason) != (one.subject, error.reason) for blind in one.unseen):
            one.unseen.append(error.unseen(one.subject))


def _sample_busiest(host: Host, watched: Sequence[Watched], number: int) -> None:
    for one in watched:
        _sample(host, one, _busiest(one))
        if number == 1:  # from now on it is known which threads are hot
            find_ids_there(host, one, list(one.rates_so_far())[:FOLLOWED])


def _busiest(one: Watched) -> tuple[int, ...]:
    """The threads to follow: none known (which asks for all) until there are two samples.

    Of thousands it is guessed who may be hot, by their states and by what they have used in their lives: to look at
    20,000 threads takes 0.3 s.
    """
    if len(one.samples) > 1:
        return tuple(list(usage(*one.samples[:2]))[:FOLLOWED])
    stats = one.samples[0].stats if one.samples else {}
    if len(stats) <= MANY:
        return ()
    likely = sorted(stats.values(), key=lambda stat: (stat.state != "R", -stat.used))
    return tuple(stat.pid for stat in likely[:LIKELY])
