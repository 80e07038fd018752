"""`top -Hp PID` over an interval: the hottest threads, the main thread among them with its own CPU."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from opsdoc.clients.proc import gone
from opsdoc.host import Host
from opsdoc.looks import matching, sampling, watched
from opsdoc.model import Observation, Total, Unseen, Window
from opsdoc.options import Duration, Opt, Rows, WindowLength
from opsdoc.probes import probe
from opsdoc.signals import cpu_cause, hot
from opsdoc.signals.processes import Process, Thread


@probe(judges=(hot,), observes=(Process, Thread), precedence=cpu_cause.PRECEDENCE, example="opsdoc threads 2609")
def threads(
    host: Host,
    *,
    pid: Annotated[int, Opt("the process", metavar="PID", positional=True)],
    window: WindowLength = Duration(2),
    rows: Rows = 5,
) -> Iterator[Observation | Unseen | Total | Window]:
    """Rank the threads of a process by the CPU they use now, as `top -Hp` does."""
    booted, before = sampling.box_sample(host).booted, sampling.processes(host)
    if pid not in before.stats:
        raise gone(pid)
    (one,) = watched.look_into(host, [before.stats[pid]])
    first = sampling.threads(host, pid)
    yield from sampling.let_pass(host, window)
    last, after = sampling.threads(host, pid), sampling.processes(host)
    one.rates = sampling.usage(first, last)
    watched.find_ids_there(host, one, list(one.rates)[: rows or None])
    yield Window(seconds=round(last.at - first.at, 3))
    if pid in after.stats:
        rate = sampling.usage_of(pid, before, after)
        yield matching.process(after.stats[pid], rate, one, booted, host.redactor.text)
    for tid in list(one.rates)[: rows or None]:
        yield matching.thread(one, last.stats[tid], host.redactor.text)
    yield Total(kind="thread", number=len(one.rates))
    yield from one.unseen
