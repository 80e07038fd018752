"""`top -c` over an interval: the hottest processes with their command lines."""

from __future__ import annotations

from collections.abc import Iterator

from opsdoc.host import Host
from opsdoc.looks import matching, sampling, watched
from opsdoc.model import Observation, Total, Unseen, Window
from opsdoc.options import Duration, Rows, WindowLength
from opsdoc.probes import probe
from opsdoc.signals import box, cpu_cause, hot
from opsdoc.signals.box import Box
from opsdoc.signals.processes import Process


@probe(judges=(box, hot), observes=(Box, Process), precedence=cpu_cause.PRECEDENCE, example="opsdoc top -n 10")
def top(
    host: Host, *, window: WindowLength = Duration(2), rows: Rows = 5
) -> Iterator[Observation | Unseen | Total | Window]:
    """Rank the processes by the CPU they use now, as `top -c` does."""
    box_before, first = sampling.box_sample(host), sampling.processes(host)
    yield from sampling.let_pass(host, window)
    last, box_after = sampling.processes(host), sampling.box_sample(host)
    rates = sampling.usage(first, last)
    ranked = list(sampling.others(last, rates))[: rows or None]
    looked_into = {one.pid: one for one in watched.look_into(host, [last.stats[p] for p in ranked[: watched.DETAILED]])}
    yield Window(seconds=round(last.at - first.at, 3))
    yield sampling.box(box_before, box_after, sampling.accounted(first, last), sampling.ended(first, last))
    for pid in ranked:
        yield matching.process(
            last.stats[pid],
            rates[pid],
            looked_into.get(pid),
            box_after.booted,
            host.redactor.text,
            sampling.reaped(pid, first, last),
        )
    yield Total(kind="process", number=len(last.stats) - 1)
    for one in looked_into.values():
        yield from one.unseen
