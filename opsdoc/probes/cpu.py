"""The whole way: from the box to the hottest processes, threads, stacks, code and cause."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from opsdoc.clients.proc import gone
from opsdoc.host import Host
from opsdoc.looks import matching, sampling, touches, watch
from opsdoc.looks.sampling import Sample
from opsdoc.looks.watched import DETAILED, Watched, look_into
from opsdoc.model import Interrupted, Observation, TimedOut, Total, Unseen, Window
from opsdoc.options import Duration, Opt, PauseBudget, Rows, WindowLength
from opsdoc.parsers.procfs import Stat
from opsdoc.probes import probe
from opsdoc.signals import box, cpu_cause, gc, hot, kernel, quota
from opsdoc.signals.box import Box
from opsdoc.signals.heap import Heap
from opsdoc.signals.kernel import Syscall
from opsdoc.signals.processes import Code, Process, Thread
from opsdoc.signals.quota import Quota

LOOK = 0.3  # seconds of the window that tell which processes to watch: 30 clock ticks
WORTH_WATCHING = 0.05  # cores


@probe(
    judges=(box, quota, gc, hot, kernel),
    observes=(Box, Process, Heap, Quota, Thread, Code, Syscall),
    precedence=cpu_cause.PRECEDENCE,
    example="opsdoc cpu -o hot.html",
    touches=touches.OF_STACKS + touches.OF_COUNTERS,
)
def cpu(
    host: Host,
    *,
    pid: Annotated[int | None, Opt("look at this process and its children only", metavar="PID")] = None,
    window: WindowLength = Duration(2),
    rows: Rows = 5,
    pause_budget: PauseBudget = Duration(0.25),
    dumps: Annotated[int, Opt("how many stack samples of each process (0 = as few as tell enough)", metavar="N")] = 0,
) -> Iterator[Observation | Unseen | Total | Window]:
    """Find what burns the CPU: process, thread, code and cause, in one measuring window."""
    box_before, first = sampling.box_sample(host), sampling.processes(host)
    if pid is not None and pid not in first.stats:
        raise gone(pid)
    watched: list[Watched] = []
    try:
        host.sleep(min(LOOK, window / 4))
        watched = watch.begin(host, _suspects(first, sampling.processes(host), pid, rows), dumps)
        yield from watch.follow(host, watched, first.at + window, pause_budget, dumps)
    except (Interrupted, TimedOut) as error:
        yield Unseen(subject="threads and stacks", reason=error.reason, detail="the window was cut short")
    last, box_after = sampling.processes(host), sampling.box_sample(host)

    yield Window(seconds=round(last.at - first.at, 3))
    yield sampling.box(box_before, box_after, sampling.accounted(first, last), sampling.ended(first, last))
    processes = _processes(host, first, last, watched, pid, rows, box_after.booted)
    yield from processes
    if pid is None:
        yield Total(kind="process", number=len(last.stats) - 1)
    threads: list[Thread] = []
    for one in watched:
        for item in matching.threads(one, host.redactor.text):
            if isinstance(item, Unseen):
                yield item
            else:
                threads.append(item)
        yield from one.unseen
    yield from matching.counters(watched, host.redactor.text)
    threads.sort(key=lambda thread: -matching.cores(thread))
    codes = hot.codes(threads, processes)
    yield from threads[: rows or None]
    yield Total(kind="thread", number=len(threads))
    yield from (code for place, code in enumerate(codes) if not rows or place < rows or code.role != "app")
    yield Total(kind="code", number=len(codes))
    yield from matching.syscalls(watched, host.redactor.text)
    if pid is not None and pid not in last.stats and not threads:
        raise gone(pid)  # nothing is known of the one that was asked for, which must not look like nothing wrong


def _suspects(first: Sample, second: Sample, pid: int | None, rows: int) -> list[Stat]:
    """The processes to watch: the hottest of the first look; the one that was asked for in any case."""
    rates = sampling.others(second, sampling.usage(first, second))
    family = _family(second.stats, pid)
    hottest = [p for p, rate in rates.items() if p in family and rate.cpu >= WORTH_WATCHING]
    if pid is not None and pid in second.stats:
        hottest = [pid, *(p for p in hottest if p != pid)]
    return [second.stats[p] for p in hottest[: rows or None]]


def _family(stats: Mapping[int, Stat], pid: int | None) -> set[int]:
    """A process and all that descend from it; everybody if none is named."""
    if pid is None:
        return set(stats)
    family, born = set[int](), {pid}
    while born:
        family |= born
        born = {p for p, stat in stats.items() if stat.ppid in born} - family
    return family


def _processes(
    host: Host, first: Sample, last: Sample, watched: Sequence[Watched], pid: int | None, rows: int, booted: int
) -> list[Process]:
    """The hottest processes over the whole window, those that ended meanwhile, and the parent of the short-lived."""
    rates = sampling.others(last, sampling.usage(first, last))
    family = _family(last.stats, pid)
    pids = [p for p in rates if p in family][: rows or None]
    if pid is None:
        pids = sampling.with_busy_parent(pids, first, last)
    elif pid in rates and pid not in pids:
        pids.append(pid)
    by_pid = {one.pid: one for one in watched}
    others = look_into(host, [last.stats[p] for p in pids[:DETAILED] if p not in by_pid])
    by_pid |= {one.pid: one for one in others}
    mask = host.redactor.text
    ended = [one for one in watched if one.pid not in last.stats]
    return [
        *(
            matching.process(last.stats[p], rates[p], by_pid.get(p), booted, mask, sampling.reaped(p, first, last))
            for p in pids
        ),
        *(matching.process(one.stat, None, one, booted, mask) for one in ended),
    ]
